#!/usr/bin/env bash
# What jobs of the released SeedVR2 take of a 16 GB GPU that is described, not there: tests/plan_memory.sh [BUILD_DIR]. Weights are
# holes in files of the released sizes; nothing is computed.
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
rm -f vae.safetensors latents.safetensors
finish
