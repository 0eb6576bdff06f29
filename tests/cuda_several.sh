#!/usr/bin/env bash
# Several GPUs on one job, on the emulated driver: tests/cuda_several.sh [BUILD_DIR [all]]. Batches, or the tiles of one batch, or
# those of a stream, that two devices share give the pixels of one in whatever order they work; a device that fails is named. How
# batches and tiles are joined is tested by tests/pipeline and tests/flash_share, with more devices and many more jobs.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${1:-build}
tier=${2:-short}
work=$build/tests/cuda_several_$tier
. tests/gpu_jobs.sh
need_kernels
mkdir "$work/clip" "$work/three" "$work/one"
cp demo/lr/00000[1-3].png "$work/clip/"
cp tests/data/tiny/lr/00000[1-3].png "$work/three/"
cp tests/data/tiny/lr/000001.png "$work/one/"

# Three batches: an odd one out.
batches=(-i "$work/clip" --resolution 16 --batch-size 1)
run alone seed=1 "${batches[@]}" --device cuda:0
for seed in 1 2 3; do
    run "two_$seed" "devices=2,seed=$seed" "${batches[@]}" --device cuda:1,cuda:0
    holds "three batches on two devices, seed $seed: the pixels of one" same alone "two_$seed"
done
holds "who did a batch is named" says two_1 'cuda:[01]: batch'
holds "the plan of each is told" says two_1 'memory of each GPU'
# Beside the two networks' memory and that of the results.
holds "source frames are resized on the GPUs" test "$(reported two_1 cuMemAlloc_v2)" -gt 3

# One batch: its tiles.
tiles=(-i "$work/one" --resolution 32 --vae-tile 32 --vae-tile-overlap 8)
run tiles_alone seed=1 "${tiles[@]}" --device cuda:0
run tiles_two devices=2,seed=2 "${tiles[@]}" --device cuda:0,cuda:1
holds "tiles of one picture on two devices: the pixels of one" same tiles_alone tiles_two
holds "there are tiles" says tiles_two 'decode in [2-9] tiles'

run tiles_chosen devices=2,seed=3 -i "$work/three" --resolution 32 --batch-size 1 --vae-tile 32 --vae-tile-overlap 8 --frames 1 \
    --device cuda:0,cuda:1
holds "of three batches one is asked for, whose tiles are shared: the pixels of one" same tiles_alone tiles_chosen
holds "no device has a batch of its own" test "$(grep -c 'cuda:[01]: batch' "$work/tiles_chosen.log")" = 0

# A device takes its memory in one piece: first the one, then the other.
run short devices=2,seed=1,fail_alloc=2 "${batches[@]}" --device cuda:0,cuda:1
holds "memory that one device lacks: all get a smaller plan" says short 'cuda:1.*trying with less on all of them'
holds "the same pixels with it" same alone short

run broken devices=2,fail_kernel=1 "${batches[@]}" --device cuda:0,cuda:1
holds "a device that fails ends the job and is named" says broken '^upres: cuda:1'
holds "failed while running: exit status" ends_with broken 1

run twice devices=2 "${batches[@]}" --device cuda:0,cuda:0
holds "a device named twice" says twice 'names cuda:0 twice'
run absent devices=2 "${batches[@]}" --device cuda:0,cuda:2
holds "a device that is not there" says absent 'cuda:2 cannot be used'
run mixed devices=2 "${batches[@]}" --device cuda:0,cpu
holds "the CPU among them" says mixed 'with commas between'
for refused in twice absent mixed; do holds "$refused: exit status" ends_with "$refused" 2; done

# FlashVSR, of narrow networks: its tiles. With `all` they overlap, more orders of work are tried, and a second chunk finds what the
# first has left on each device.
synth() { "$build/tests/synth" "$1" "$work/$1.safetensors" "${@:2}" >/dev/null; }
synth flashvsr_dit --set dim=128 --set layers=3 --set hidden=1024 --set text=16
synth flashvsr_lq --set dim=128 --set hidden1=8 --set hidden2=8
synth tcdecoder --set widths=8,4,4,4
synth text --set name=posi_prompt --set length=4 --set text=16
"$upres" convert "$work/"{flashvsr_dit,flashvsr_lq,tcdecoder,text}.safetensors -o "$work/flashvsr.gguf" --type f32 -q
weights=$work/flashvsr.gguf

frames=1 overlap=0 seeds=2
[ "$tier" = all ] && frames=22 overlap=24 seeds="2 3 4"
mkdir "$work/stream"
for ((n = 1; n <= frames; n++)); do
    cp "demo/lr/$(printf %06d $(((n - 1) % 9 + 1))).png" "$work/stream/$(printf %06d $n).png"
done
untiled=(-i "$work/stream" --scale 1)
stream=("${untiled[@]}" --tile 128 --tile-overlap $overlap)
run stream_alone seed=1 "${stream[@]}" --device cuda:0
for seed in $seeds; do
    run "stream_$seed" "devices=2,seed=$seed" "${stream[@]}" --device cuda:1,cuda:0
    holds "a stream's tiles on two devices, seed $seed: the pixels of one" same stream_alone "stream_$seed"
done
holds "there are tiles of the stream" says stream_2 '[23] tiles of 128'
run stream_short devices=2,seed=5,fail_alloc=2 "${stream[@]}" --device cuda:0,cuda:1
holds "a stream and memory that one device lacks: a smaller plan" says stream_short 'cuda:1.*trying with less on all of them'
holds "the stream's pixels with it" same stream_alone stream_short
run stream_broken devices=2,fail_kernel=1 "${stream[@]}" --device cuda:0,cuda:1
holds "a device that fails ends the stream and is named" says stream_broken '^upres: cuda:1'
holds "the stream failed while running: exit status" ends_with stream_broken 1

planned() { # NAME TEXT OPTION...: the plan says that
    UPRES_EMULATOR=sm=89,memory=512M,devices=2 "$upres" plan -m "$weights" --precision bf16 "${@:3}" >"$work/$1.log" 2>&1 &&
        says "$1" "$2"
}
holds "the plan of a stream on two devices" planned plan_tiles 'memory of each device, time of all' "${stream[@]}" --device cuda:0,cuda:1
holds "without tiles one device has work" planned plan_whole 'only cuda:1 has work' "${untiled[@]}" --device cuda:1,cuda:0

# The large decoder: its tiles, with what the first chunk has left of each on its device. Minutes each on the emulated ones.
if [ "$tier" = all ]; then
    synth wan_vae --set dim=8 --set layers=1
    weights=$work/full.gguf
    "$upres" convert "$work/"{flashvsr_dit,flashvsr_lq,wan_vae,text}.safetensors -o "$weights" --type f32 -q
    full=("${stream[@]}" --mode full)
    run full_alone seed=1 "${full[@]}" --device cuda:0
    run full_two devices=2,seed=2 "${full[@]}" --device cuda:1,cuda:0
    holds "--mode full on two devices: the pixels of one" same full_alone full_two
    holds "in that mode" says full_two 'mode full'
    holds "in tiles" says full_two '[23] tiles of 128'
    run full_broken devices=2,fail_kernel=1 "${full[@]}" --device cuda:0,cuda:1
    holds "a device that fails ends it and is named" says full_broken '^upres: cuda:1'
    holds "it failed while running: exit status" ends_with full_broken 1
fi

finish
