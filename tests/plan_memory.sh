#!/usr/bin/env bash
# What jobs of the released SeedVR2 take of a 16 GB GPU that is described, not there: tests/plan_memory.sh [BUILD_DIR].
# Weights are holes in files of the released sizes; nothing is computed. And how long any of a job's launches lasts on a small
# card: a display's driver ends a program whose kernel runs for 2 s, and 0.5 s are taken for the most that a desktop bears.
set -u
cd "$(dirname "$0")/.." || exit 1
build=$PWD/${1:-build}
work=$build/tests/plan_memory
rm -rf "$work"
mkdir -p "$work"
cd "$work" || exit 1
upres=$build/upres
. ../../../tests/checks.sh
card=sm_120:70:2.452:896:16

"$build/tests/synth" seedvr2_vae vae.safetensors --type f16 --sparse >/dev/null || fail "weights" "synth gave $?"

latents() { # HEIGHT WIDTH: five of them, in a file of zeros
    local bytes=$((16 * 5 * $1 * $2 * 4)) head
    head=$(printf '{"latent":{"dtype":"F32","shape":[16,5,%d,%d],"data_offsets":[0,%d]}}' "$1" "$2" "$bytes")
    printf '%b' "\\x$(printf %x ${#head})\\0\\0\\0\\0\\0\\0\\0$head" >latents.safetensors
    truncate -s $((8 + ${#head} + bytes)) latents.safetensors
}

plan() { # OPTION...: planned, and the bytes of the GPU in $peak
    "$upres" plan decode -m vae.safetensors -i latents.safetensors -o out.safetensors --device $card "$@" >plan.out 2>plan.err
    local status=$?
    peak=$(sed -n 's/^GPU peak .*(\([0-9]*\) bytes)$/\1/p' plan.out)
    return $status
}

# The card's 16e9 bytes less a tenth and 512 MiB can be had.
within() { # NAME MIB
    if [ "${peak:-0}" -gt 0 ] && [ "$peak" -le $(($2 * 1048576)) ]; then ok "$1: $((peak / 1048576)) MiB"; else
        fail "$1" "${peak:-no} bytes: $(tail -n 1 plan.err)"; fi
}

said() { # NAME PATTERN
    if grep -Eq "$2" plan.out; then ok "$1"; else fail "$1" "the plan does not say $2: $(cat plan.out plan.err)"; fi
}

latents 90 160
plan --precision bf16
within "1280x720 in bf16" 12288
said "1280x720 in bf16 is untiled" '^decode +untiled'

latents 135 240
plan --precision int8
within "1920x1080 in int8" 12800 # what is free of 16 GB beside a desktop, less a tenth
said "1920x1080 in int8 is untiled" '^decode +untiled'
plan --precision int8 --memory 40G
if [ "${peak:-0}" -gt $((13 * 1024 * 1048576)) ]; then ok "with more memory it takes more, and fewer steps"; else
    fail "with more memory" "${peak:-no} bytes"; fi
plan --precision int8 --memory 10G
within "1920x1080 within 10 GiB" 10240
said "tiles were chosen for it" 'tiles of [0-9]+ .*chosen to stay under 10.0 GiB'

latents 270 480
plan --precision int8
within "3840x2160 in int8" 13218
said "3840x2160 picks tiles" '^decode +tiles of [0-9]+, overlap 128'
said "and says so" 'tiles of [0-9]+ .*chosen to stay under 12.9 GiB; tiled results differ slightly'
refused "3840x2160 untiled is refused" 33 "needs [0-9.]+ GiB .*12.9 GiB can be had.*--vae-tile auto" \
    plan decode -m vae.safetensors -i latents.safetensors -o out.safetensors --device $card --precision int8 --vae-tile off
# A card of few multiprocessors, with room for everything at once. Launches in pieces are under 0.4 s by a guess that is high.
short() { # NAME ARGUMENT...
    local name=$1 longest
    shift
    "$upres" plan "$@" --memory 1900G >plan.out 2>plan.err
    longest=$(sed -n 's/^longest kernel: [a-z0-9_]*, \([0-9.e-]*\) s$/\1/p' plan.out)
    if awk "BEGIN { exit !(${longest:-9} > 0.001 && ${longest:-9} < 0.5) }"; then ok "$name: $longest s"; else
        fail "$name" "the longest launch takes ${longest:-?} s: $(tail -n 1 plan.err)"; fi
}

small=sm_86:20:1.5:224:2000
for network in seedvr2_7b flashvsr_dit flashvsr_lq tcdecoder text; do
    "$build/tests/synth" $network $network.safetensors --type bf16 --sparse >/dev/null || fail "$network" "synth gave $?"
done
"$build/tests/synth" text prompt.safetensors --set name=posi_prompt --set length=512 --set text=4096 --sparse >/dev/null
# 960x540, a picture without its pixels
frame=iVBORw0KGgoAAAANSUhEUgAAA8AAAAIcCAIAAAC2P1AsAAAACElEQVR4nAMAAAAAAUgGidIAAAAASUVORK5CYII=
mkdir in && for i in {10..90}; do echo $frame | base64 -d >in/$i.png; done
for precision in fp32 bf16 int8; do
    latents 270 480
    short "the longest launch of 3840x2160 untiled in $precision" decode -m vae.safetensors -i latents.safetensors \
        -o out.safetensors --device $small --precision $precision --vae-tile off
    short "of 81 frames of 1920x1080 by 7B in $precision" -i in -m vae.safetensors -m seedvr2_7b.safetensors \
        -m text.safetensors --resolution 1080 --batch-size 81 --device $small --precision $precision --vae-tile off
    short "of FlashVSR to 3840x2160 in $precision" -i in -m flashvsr_dit.safetensors -m flashvsr_lq.safetensors \
        -m tcdecoder.safetensors -m prompt.safetensors --scale 4 --device $small --precision $precision
done
# How many pairs of blocks attention sees is known beforehand, and counted.
work() { # ARGUMENT...: whole TFLOP
    "$upres" plan -i in -m flashvsr_dit.safetensors -m flashvsr_lq.safetensors -m tcdecoder.safetensors -m prompt.safetensors \
        --scale 2 --device $small "$@" 2>plan.err | sed -n 's/^work *\([0-9]*\).*/\1/p'
}
all=$(work --sparse-ratio dense --local-range 99) near=$(work --sparse-ratio dense --local-range 5) few=$(work --sparse-ratio 0.5)
if [ "${few:-0}" -gt 0 ] && [ "${near:-0}" -gt "$few" ] && [ "${all:-0}" -gt "$near" ]; then
    ok "attention that sees less is less work: $all, $near, $few TFLOP"; else
    fail "attention's work" "all pairs ${all:-?}, near ones ${near:-?}, few ${few:-?} TFLOP: $(tail -n 1 plan.err)"; fi
rm -f ./*.safetensors
finish
