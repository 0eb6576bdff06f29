#!/usr/bin/env bash
# Several GPUs on one job, on the emulated driver: tests/cuda_several.sh [BUILD_DIR]. Batches, or the tiles of one batch, that two
# devices share give the pixels of one in whatever order they work; a device that fails is named. How batches are joined is
# tested by tests/pipeline, with more devices and many more jobs.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${1:-build}
work=$build/tests/cuda_several
. tests/gpu_jobs.sh
need_kernels
mkdir "$work/three" "$work/one"
cp tests/data/tiny/lr/00000[1-3].png "$work/three/"
cp tests/data/tiny/lr/000001.png "$work/one/"

# Three batches: an odd one out.
batches=(-i "$work/three" --resolution 16 --batch-size 1)
run alone seed=1 "${batches[@]}" --device cuda:0
for seed in 1 2 3; do
    run "two_$seed" "devices=2,seed=$seed" "${batches[@]}" --device cuda:1,cuda:0
    holds "three batches on two devices, seed $seed: the pixels of one" same alone "two_$seed"
done
holds "who did a batch is named" says two_1 'cuda:[01]: batch'
holds "the plan of each is told" says two_1 'memory of each GPU'

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

finish
