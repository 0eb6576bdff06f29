#!/usr/bin/env bash
# FlashVSR through the command: tests/flashvsr.sh BUILD_DIR. Narrow networks of random weights, made by the weight maker,
# in which everything has an effect; the demo's weights where a figure is known. Prints ok|FAIL|skip NAME lines and
# "N passed, N failed, N skipped".
set -u
. "$(dirname "$0")/checks.sh"
begin "${1:?usage: tests/flashvsr.sh BUILD_DIR}"
synth=$build/tests/synth
shared=${UPRES_SHARED:-$root/../shared}
case $shared in /*) ;; *) shared=$root/$shared ;; esac
unset NO_COLOR UPRES_CPU

if [ ! -x "$upres" ] || [ ! -x "$synth" ]; then
    fail build "$upres or $synth is not there"
    finish
fi

# ------------------------------------------------------------------------------------------------------ weights, clips

make_dit() { "$synth" flashvsr_dit "$1" --set dim=256 --set layers=2 --set hidden=64 --set text=48; }
make_lq() { "$synth" flashvsr_lq "$1" --set dim=256 --set hidden1=16 --set hidden2=24; }
make_decoder() { "$synth" tcdecoder "$1" --set widths=24,12,8,6; }
make_prompt() { "$synth" text "$1" --set name=posi_prompt --set length=20 --set text=48; }
for part in dit lq decoder prompt; do check "make $part" make_$part $part.safetensors; done
check "make the Wan VAE" "$synth" wan_vae wan.safetensors --set dim=8 --set layers=1
check "demo-weights" "$upres" demo-weights flashvsr -o demo.safetensors
refused "demo-weights, written before" 2 'demo.safetensors exists' demo-weights flashvsr -o demo.safetensors
refused "demo-weights of no family" 2 'wan.*seedvr2 and flashvsr' demo-weights wan -o out.safetensors
W=(-m dit.safetensors -m lq.safetensors -m decoder.safetensors -m prompt.safetensors)
Q=(--scale 1 --progress none)

# clip FOLDER FRAMES: a moving clip of any length, the sample frames over and over.
clip() {
    local n
    mkdir "$1"
    for ((n = 1; n <= $2; n++)); do
        ln -s "$root/demo/lr/$(printf %06d $(((n - 1) % 9 + 1))).png" "$1/$(printf %06d $n).png"
    done
}
clip five 5
clip long 60

# size FILE: WIDTHxHEIGHT of a PNG.
size() { od -An -tu1 -j16 -N8 "$1" | awk '{ print $3 * 256 + $4 "x" $7 * 256 + $8 }'; }

# sized NAME FOLDER WIDTHxHEIGHT: every picture in it.
sized() {
    local name=$1 folder=$2 want=$3 f
    for f in "$folder"/*.png; do
        if [ "$(size "$f")" != "$want" ]; then
            fail "$name" "$f is $(size "$f"), expected $want"
            return
        fi
    done
    ok "$name"
}

# differ NAME FOLDER FOLDER: no picture is the same in both.
differ() {
    local name=$1 a=$2 b=$3 f
    for f in "$a"/*.png; do
        if cmp -s "$f" "$b/${f##*/}"; then
            fail "$name" "$f is the same in $b"
            return
        fi
    done
    ok "$name"
}

# same_frames NAME FOLDER FOLDER FIRST LAST: these pictures are there and the same in both.
same_frames() {
    local name=$1 a=$2 b=$3 last=$5 n f
    for ((n = $4; n <= last; n++)); do
        f=$(printf %06d.png "$n")
        if ! cmp -s "$a/$f" "$b/$f"; then
            fail "$name" "$f differs or is missing"
            return
        fi
    done
    ok "$name"
}

# -------------------------------------------------------------------------------------------------------- weight files

# as_separate NAME -m FILE...: other files, the pixels of the separate safetensors.
as_separate() {
    local name=$1
    shift
    rm -rf other
    check "$name" "$upres" -i five -o other "$@" "${Q[@]}"
    same "$name: the same pixels" separate other
}

check "separate files" "$upres" -i five -o separate "${W[@]}" "${Q[@]}"
check "convert" "$upres" convert dit.safetensors lq.safetensors decoder.safetensors prompt.safetensors -o merged.gguf --type f32 -q
check "info of the merged file" "$upres" info merged.gguf
holds "it holds all parts" check.out 'recognised: flashvsr_dit' 'recognised: flashvsr_lq' 'recognised: tcdecoder' 'recognised: text'
as_separate "merged GGUF" -m merged.gguf
as_separate "files in another order" -m prompt.safetensors -m decoder.safetensors -m lq.safetensors -m dit.safetensors
make_dit flat.gguf >synth.out && make_lq flat-lq.gguf >synth.out && make_decoder flat-decoder.gguf >synth.out
as_separate "GGUF files with raw_shape" -m flat.gguf -m flat-lq.gguf -m flat-decoder.gguf -m prompt.safetensors
check "one GGUF of those" "$upres" convert flat.gguf flat-lq.gguf flat-decoder.gguf prompt.safetensors -o merged2.gguf --type f32 -q
as_separate "merged from GGUF" -m merged2.gguf
check "convert to half" "$upres" convert dit.safetensors lq.safetensors decoder.safetensors prompt.safetensors -o half.gguf -q
check "half weights" "$upres" -i five -o half -m half.gguf "${Q[@]}"
"$upres" compare separate half >compare.out
holds "half weights are near" compare.out '^mean PSNR ([3-9][0-9]\.[0-9]+|inf) dB'

check "released sizes, flat" "$synth" flashvsr_dit released.gguf --type f16 --sparse
check "info of released sizes" "$upres" info released.gguf --json
holds "five dimensions from 98304 elements" check.out '"name":"patch_embedding.weight","type":"F16","shape":\[1536,16,1,2,2\]'
rm -f released.gguf

for part in dit lq decoder prompt; do
    files=()
    for other in dit lq decoder prompt; do [ "$other" = "$part" ] || files+=(-m "$other.safetensors"); done
    refused "without the $part" 3 '.' -i five -o out "${files[@]}"
done
refused "two decoders" 3 'demo.safetensors' -i five -o out "${W[@]}" -m demo.safetensors
refused "full without a Wan VAE" 3 'Wan|VAE' -i five -o out "${W[@]}" --mode full
check "spare Wan VAE" "$upres" -i five -o spare "${W[@]}" -m wan.safetensors "${Q[@]}"
same "a spare part changes nothing" separate spare
check "full" "$upres" -i five -o full -m dit.safetensors -m lq.safetensors -m wan.safetensors -m prompt.safetensors --mode full "${Q[@]}"
differ "full is another decoder" separate full
sized "size of full" full 160x96

# ------------------------------------------------------------------------------------------------------------- options

# Refused before any weight is read: the file is not one.
echo nothing >nothing.gguf
early() { refused "$1 $2" 2 "$1" -i five -o out -m nothing.gguf "$1" "$2"; }
for v in fast '' tinylong; do early --mode "$v"; done
for v in 2 1.2 v1; do early --flashvsr-version $v; done
for v in 0 0.09 16.5 -1 nan full; do early --sparse-ratio $v; done
for v in 0 1 65 2.5 x; do early --kv-slices $v; done
for v in 0 2 10 257 -3 x; do early --local-range $v; done
for v in 32 96 256 0 x; do early --block-keys $v; done
for v in 8 31 16385 -1 x; do early --tile $v; done
refused "--tile-overlap without tiles" 2 '--tile-overlap' -i five -o out -m nothing.gguf --tile-overlap 8
refused "--tile-overlap above half" 2 '--tile-overlap' -i five -o out -m nothing.gguf --tile 64 --tile-overlap 40

# What another network takes is refused by name.
while read -r option value; do
    # shellcheck disable=SC2086
    refused "$option with FlashVSR" 2 "$option" -i five -o out "${W[@]}" $option $value
done <<'END'
--resolution 720
--fit area:640x360
--max-resolution 1000
--resize parity
--pad edge
--batch-size 9
--overlap 1
--blend linear
--uniform-batch
--prepend 2
--noise batch
--input-noise 0.1
--latent-noise 0.1
--steps 2
--guidance 2
--color lab
--color-scope batch
--alpha guided
--vae-tile 64
--scale 4.5
END
refused "bfloat16 on the CPU" 2 '--precision bf16' -i five -o out "${W[@]}" --precision bf16

# changes NAME OPTION...: each option has an effect on a clip of two chunks, in which the cache is read.
clip two 29
check "two chunks" "$upres" -i two -o plain "${W[@]}" "${Q[@]}" --sparse-ratio 0.2
changes() {
    local name=$1
    shift
    rm -rf changed
    check "$name" "$upres" -i two -o changed "${W[@]}" "${Q[@]}" --sparse-ratio 0.2 "$@"
    if diff -rq plain changed >diff.out; then fail "$name has an effect" "the pictures are the same"; else ok "$name has an effect"; fi
}
changes "another seed" --seed 1
changes "version 1" --flashvsr-version 1
changes "denser attention" --sparse-ratio dense
changes "fewer slices" --kv-slices 2
changes "narrow local range" --local-range 1
changes "half blocks" --block-keys 64
changes "wavelet" --color wavelet
changes "no colour" --color none
changes "half strength" --strength 0.5
rm -rf changed
check "the defaults, said" "$upres" -i two -o changed "${W[@]}" "${Q[@]}" --sparse-ratio 0.2 --mode tiny --seed 0 --color adain \
    --flashvsr-version 1.1 --kv-slices 3 --local-range 11 --block-keys 128 --alpha resize
same "tiny and the defaults: the same pixels" plain changed
rm -rf changed
check "one thread" "$upres" -i two -o changed "${W[@]}" "${Q[@]}" --sparse-ratio 0.2 --threads 1
same "one thread: the same pixels" plain changed

# ------------------------------------------------------------------------------------------- frames in, frames out

check "60 frames" "$upres" -i long -o whole "${W[@]}" "${Q[@]}"
if [ "$(names whole)" = "$(names long)" ]; then ok "60 frames out"; else fail "60 frames out" "$(names whole)"; fi
for count in 1 2 7 20 21 22 28 29 30 41 53; do
    clip short $count
    check "$count frames" "$upres" -i short -o counted "${W[@]}" "${Q[@]}"
    if [ "$(names counted)" = "$(names short)" ]; then ok "$count frames out"; else fail "$count frames out" "$(names counted)"; fi
    # A stream: a frame depends on no input after its own part of 8, whose network input ends 4 frames later. So what a
    # shorter clip gives is that of the longer one, up to the parts that saw the repeated last frame.
    settled=$((count < 25 ? 0 : (count - 25) / 8 * 8 + 21))
    same_frames "$settled of $count frames as in the longer clip" whole counted 1 $settled
    rm -rf short counted
done
check "a part of the clip" "$upres" -i long -o part "${W[@]}" "${Q[@]}" --frames 30-41
if [ "$(names part | wc -w)" = 12 ]; then ok "12 frames of it"; else fail "12 frames of it" "$(names part)"; fi
same_frames "the part: the same pixels" whole part 30 41

check "scale 1.37" "$upres" -i five -o odd "${W[@]}" --scale 1.37 --progress none
sized "160x96 by 1.37" odd 219x131
check "odd sizes" "$upres" -i odd -o odder "${W[@]}" --scale 1.1 --progress none
sized "219x131 by 1.1" odder 240x144
check "scale 2.5 of one picture" "$upres" -i odd/000001.png -o odd.png "${W[@]}" --scale 2.5 --progress none
if [ "$(size odd.png)" = 547x327 ]; then ok "219x131 by 2.5"; else fail "219x131 by 2.5" "$(size odd.png)"; fi
check "tiles" "$upres" -i odd -o tiled "${W[@]}" --scale 1.1 --tile 96 --tile-overlap 16 --progress none
sized "size of tiles" tiled 240x144
check "one tile" "$upres" -i odd -o tile "${W[@]}" --scale 1.1 --tile 256 --progress none
same "one tile: the same pixels" odder tile

# -------------------------------------------------------------------------------------------------------------- memory

# peak CLIP OPTION...: greatest resident size of a run, in KiB.
peak() {
    local clip=$1
    shift
    /usr/bin/time -f '%M' -o peak.out "$upres" -i "$clip" -o memory --progress none "$@" >run.out 2>&1 || echo 0 >peak.out
    rm -rf memory
    tail -n 1 peak.out
}

# near NAME GOT WANT SHARE: got and want, KiB, differ by no more than this share of want.
near() {
    if awk -v got="$2" -v want="$3" -v share="$4" \
        'BEGIN { exit !(got > 0 && got <= want * (1 + share) && got >= want * (1 - share)) }'; then
        ok "$1: $2 KiB, expected $3 KiB"
    else
        fail "$1" "$2 KiB, expected $3 KiB"
    fi
}

if [ -x /usr/bin/time ]; then
    clip 29 29
    clip 41 41
    few=$(peak 41 "${W[@]}" --scale 1)
    for frames in 101 401; do
        clip $frames $frames
        near "memory of $frames frames as of 41" "$(peak $frames "${W[@]}" --scale 1)" "$few" 0.02
    done
    check "plan" "$upres" plan -i 29 -m demo.safetensors --scale 4 --json
    planned=$(sed -n 's/.*"host_peak":\([0-9]*\).*/\1/p' check.out)
    near "memory as planned" "$(peak 29 -m demo.safetensors --scale 4)" $((${planned:-0} / 1024)) 0.1
    check "plan of some frames" "$upres" plan -i 29 -m demo.safetensors --scale 1 --frames 3-5,20 --json
    holds "of the chunks up to the last of them" check.out '"frames":4,"batches":1,"frames_computed":21'
    check "plan of later frames" "$upres" plan -i 29 -m demo.safetensors --scale 1 --frames 22 --json
    holds "and of all before them" check.out '"frames":1,"batches":2,"frames_computed":29'
else
    for name in "101 frames as of 41" "401 frames as of 41" "as planned"; do skip "memory $name" "no /usr/bin/time"; done
fi

# ------------------------------------------------------------------------------------------- the demo's weights: figures

# psnr NAME LR HR DECIBEL OPTION...: mean over the frames, within 0.1 dB.
psnr() {
    local name=$1 lr=$2 hr=$3 want=$4 got
    shift 4
    rm -rf figure
    check "$name" "$upres" -i "$lr" -o figure -m demo.safetensors --scale 4 --progress none "$@"
    got=$("$upres" compare figure "$hr" --json | sed -n 's/.*"mean_psnr":\([0-9.]*\).*/\1/p')
    if awk -v got="${got:-0}" -v want="$want" 'BEGIN { exit !(got >= want - 0.1 && got <= want + 0.1) }'; then
        ok "PSNR, $name: $got dB"
    else
        fail "PSNR, $name" "$got dB, expected $want dB within 0.1"
    fi
}

# The sample frames that come with the program: no reference knows them alone, this is what goes with the 21 frames'.
psnr "9 frames" "$root/demo/lr" "$root/demo/hr" 30.59 --color none
if [ -d "$shared/frames/bunny_lr" ]; then
    # What the float32 reference gives with these weights.
    frames=("$shared/frames/bunny_lr" "$shared/frames/bunny_hr")
    psnr "21 frames, bicubic" "${frames[@]}" 32.20 --strength 0
    psnr "21 frames" "${frames[@]}" 30.78 --color none
    psnr "21 frames, adain" "${frames[@]}" 30.78
    psnr "21 frames, wavelet" "${frames[@]}" 30.80 --color wavelet
else
    for name in bicubic none adain wavelet; do skip "21 frames, $name" "$shared/frames is not there; see UPRES_SHARED"; done
fi
finish
