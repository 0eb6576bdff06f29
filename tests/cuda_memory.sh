#!/usr/bin/env bash
# Memory of a GPU job, on the emulated driver: tests/cuda_memory.sh [BUILD_DIR [all]]. What is planned is what is used, and
# memory that cannot be mapped, or is missing in a batch begun ahead, makes the job smaller or ends it in a sentence. all: where
# less is to be had, weights are streamed and the pixels stay the same; whatever allocation fails; after the first batches
# nothing is allocated any more.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${1:-build}
tier=${2:-short}
work=$build/tests/cuda_memory
. tests/gpu_jobs.sh
need_kernels
mkdir "$work/one" "$work/several"
cp tests/data/tiny/lr/000001.png "$work/one/"
cp tests/data/tiny/lr/00000[1-5].png "$work/several/"

gpu_run() { # NAME SETTINGS OPTION...
    run "$@" --device cuda
}

planned() { # NAME: bytes of arena, weights and pictures, as the log of -v tells them
    sed -n 's/.*memory of the GPU: networks \(.*\), weights \(.*\), pictures \([^;]*\);.*/\1 \2 \3/p' "$work/$1.log" |
        awk 'BEGIN { unit["bytes"] = 1; unit["KiB"] = 1024; unit["MiB"] = 1048576 } { print $1 * unit[$2] + $3 * unit[$4] + $5 * unit[$6] }'
}

as_planned() { # NAME: within 3 in 100
    awk -v planned="$(planned "$1")" -v used="$(reported "$1" "memory of device 0 at most")" \
        'BEGIN { exit !(planned > 0 && used >= planned * 0.97 && used <= planned * 1.03) }'
}

gpu_run roomy seed=1 -i "$work/one" --scale 2
holds "a picture" ends_with roomy 0
holds "it uses what was planned" as_planned roomy
holds "everything is given back" test "$(reported roomy "memory of device 0 at the end")" = 0
holds "two allocations of the device's memory: the networks', the pictures'" test "$(reported roomy cuMemAlloc_v2)" = 2

# Granules so small that the demo's memory is mapped, in two pieces, as a large job's is in granules of 2 MiB.
gpu_run mapped seed=1,granule=64K -i "$work/one" --scale 2
holds "mapped memory: the same pixels" same roomy mapped
holds "as planned" as_planned mapped
holds "it is mapped, in pieces" test "$(reported mapped cuMemAddressReserve)" = 1 -a "$(reported mapped cuMemMap)" = 2
once=(cuMemMap:2)
ever=(cuMemAddressReserve:1 cuMemCreate:2 cuMemMap:2 cuMemSetAccess:1)
[ "$tier" = short ] || once=("${ever[@]}")
for call in "${once[@]}"; do
    gpu_run "once_$call" "granule=64K,fail_call=$call" -i "$work/one" --scale 2
    holds "$call fails: planned again" says "once_$call" "trying with less"
    holds "to the same pixels" same roomy "once_$call"
done
for call in "${ever[@]}"; do
    gpu_run "ever_$call" "granule=64K,fail_call=$call+" -i "$work/one" --scale 2
    holds "$call and all after it: a sentence and exit code 33" ends_with "ever_$call" 33
    holds "planned again once" test "$(grep -c "trying with less" "$work/ever_$call.log")" = 1
done

# What is begun ahead: the second batch's encoder, when the first one's picture is on its way. It finds no memory.
begun_ahead() { # NAME CALL: which call of that function is the first for it, in job NAME, whose setting calls is NAME.calls
    awk -F '\t' -v what="$2" '{ n[$1]++ }
        $1 ~ /Synchronize$/ && $4 == 1 { if ($3 >= 20 && first) { print first; exit } leaves = first = 0 }
        leaves && $1 == what && !first { first = n[$1] }
        $1 == "cuMemcpyDtoHAsync_v2" { leaves = 1 }' "$work/$1.calls"
}

mkdir "$work/first_two"
cp tests/data/tiny/lr/00000[12].png "$work/first_two/"
pair=(-i "$work/first_two" --resolution 16 --batch-size 1)
gpu_run pair "seed=1,calls=$work/pair.calls" "${pair[@]}"
upload=$(begun_ahead pair cuMemcpyHtoDAsync_v2) kernel=$(begun_ahead pair cuLaunchKernel)
holds "a second batch is begun ahead: upload ${upload:-none}, kernel ${kernel:-none}" test -n "$upload" -a -n "$kernel"
gpu_run pair_once "seed=2,fail_call=cuMemcpyHtoDAsync_v2:${upload:-1}" "${pair[@]}"
holds "its upload fails: planned again" says pair_once "trying with less"
holds "to the same pixels" same pair pair_once
gpu_run pair_ever "seed=1,fail_call=cuLaunchKernel:${kernel:-1}+" "${pair[@]}"
holds "its kernel and all after it: a sentence and exit code 33" ends_with pair_ever 33
holds "planned again once" test "$(grep -c "trying with less" "$work/pair_ever.log")" = 1
holds "the picture that was on its way is whole, and alone" test "$(ls "$work/pair_ever")" = 000001.png -a \
    -z "$(cmp "$work/pair/000001.png" "$work/pair_ever/000001.png" 2>&1)"

gives_back() { # every job so far
    local report
    for report in "$work"/*.report; do
        holds "$(basename "$report" .report) gives back what it took" test -z "$(awk -F '\t' '/ end\t/ && $2 > 0' "$report")"
    done
}

if [ "$tier" = short ]; then
    gives_back
    finish
fi

gpu_run unmapped seed=1,granule=64K,mapping=0 -i "$work/one" --scale 2
holds "a device that maps none: the same pixels" same roomy unmapped
holds "of memory that is allocated" test "$(reported unmapped cuMemAddressReserve)" = 0 -a \
    "$(reported unmapped cuMemAlloc_v2)" = "$(reported roomy cuMemAlloc_v2)"

# What else finds no memory on the way: a stream, a kernel's code, an upload, a launch.
fails() { # NAME: what was to fail did
    says "$1" "as fail_[a-z]* asks"
}
for call in cuStreamCreateWithPriority:1 cuModuleLoadDataEx:3 cuMemcpyHtoDAsync_v2:5 cuLaunchKernel:30; do
    gpu_run "fails_$call" "fail_call=$call" -i "$work/one" --scale 2
    holds "$call fails" fails "fails_$call"
    holds "the same pixels" same roomy "fails_$call"
done
for n in 1 2 3 5; do
    gpu_run "fails_$n" "fail_alloc=$n" -i "$work/one" --scale 2
    holds "allocation $n fails" fails "fails_$n"
    holds "the same pixels" same roomy "fails_$n"
done
holds "allocation 1 failed, the device's: planned again" says fails_1 "trying with less"

gpu_run tight memory=12M -i "$work/one" --scale 2
holds "weights are streamed where not all fit" says tight "weights are streamed"
holds "nothing is tiled for it" says tight "decode untiled"
holds "the same pixels" same roomy tight
holds "what was planned is used" as_planned tight
# Beside what is planned lie the kernels' constants, some 10 KiB, in the tenth that is left free.
holds "the limit is kept" test "$(reported tight "memory of device 0 at most")" -le $((12 * 1048576 * 9 / 10 + 20480))

gpu_run least memory=9300K -i "$work/one" --scale 2
holds "the same pixels with hardly any weights kept" same roomy least

gpu_run nothing memory=5M -i "$work/one" --scale 2
holds "too little memory is a sentence and exit code 33" ends_with nothing 33
holds "which says what would help" says nothing "the GPU's memory.*use a smaller"

gpu_run large seed=1 -i "$work/one" --scale 4 --vae-tile 48 --vae-tile-overlap 16
gpu_run tiled memory=15M -i "$work/one" --scale 4 --vae-tile 48 --vae-tile-overlap 16
holds "tiles and streamed weights: the same pixels as tiles alone" same large tiled
holds "streamed there" says tiled "weights are streamed"

gpu_run auto memory=12M -i "$work/one" --scale 4
holds "tiles are chosen where streaming does not suffice" says auto "tiles chosen"
holds "and they fit" ends_with auto 0
holds "as planned" as_planned auto

# Jobs of 3, 4 and 5 batches of a picture, with all that is done to one on the GPU: what batches after the third ask of the driver.
whole_way=(--scale 1.25 --batch-size 1 --color lab --strength 0.8 --input-noise 0.2 --dither tpdf)
for n in 3 4 5; do
    mkdir "$work/first_$n"
    for i in $(seq $n); do cp "$work/several/00000$i.png" "$work/first_$n/"; done
    [ $n != 3 ] || gpu_run cold seed=1 -i "$work/first_$n" "${whole_way[@]}" # kernels that no cache holds yet are compiled here
    gpu_run "batches_$n" seed=1 -i "$work/first_$n" "${whole_way[@]}"
done

peak=$(UPRES_EMULATOR=sm=89,memory=512M "$upres" plan -m "$work/weights.safetensors" -i "$work/first_3" --precision bf16 --device cuda \
    "${whole_way[@]}" | sed -n 's/^GPU peak.*(\([0-9]*\) bytes)$/\1/p')
holds "upres plan tells what such a job uses" awk -v planned="${peak:-0}" -v used="$(reported batches_3 "memory of device 0 at most")" \
    'BEGIN { exit !(planned > 0 && used >= planned * 0.97 && used <= planned * 1.03) }'
holds "work on pictures takes its memory once" test "$(reported batches_3 cuMemAlloc_v2)" = 2

calls_of_batch() { # N: of batch N, a line of name and number for each function
    awk -F '\t' 'FNR == NR { before[$1] = $2; next } $1 ~ /^cu/ { print $1, $2 - before[$1] }' \
        "$work/batches_$(($1 - 1)).report" "$work/batches_$1.report"
}

in_batch() { # CALL: how often in batch 5
    awk -v what="$1" '$1 == what { print $2 }' "$work/calls_5"
}

calls_of_batch 4 >"$work/calls_4"
calls_of_batch 5 >"$work/calls_5"
for call in cuMemAlloc_v2 cuMemHostAlloc cuEventCreate cuStreamCreateWithPriority cuModuleLoadDataEx cuGraphInstantiateWithFlags; do
    holds "batches 4 and 5: no more of $call" test "$(reported batches_3 $call)" = "$(reported batches_5 $call)"
done
holds "batches 4 and 5 are the same calls, each as often" cmp -s "$work/calls_4" "$work/calls_5"
calls=$(awk '$1 !~ /^cuCtx/ { n += $2 } END { print n }' "$work/calls_5")
context_calls=$(awk '/^cuCtx/ { n += $2 } END { print n }' "$work/calls_5")
echo "driver calls of a batch of one picture: $calls and $context_calls that set the context, of the former:" \
    "$(awk '$2 > 0 && !/^cuCtx/ { printf "%s%s %d", n++ ? ", " : "", $1, $2 }' "$work/calls_5")"
# 56 when this was written, of some 440 kernels; lists of kernels are as long as the networks are deep, so the calls are few.
holds "few: no more than 64" test "$calls" -gt 0 -a "$calls" -le 64
# 20 when this was written: steps of encoder and decoder, a restoration, work of the pictures' device.
holds "the context is set by phases, not by calls: no more than 24" test "$context_calls" -gt 0 -a "$context_calls" -le 24
# By themselves go what differs from frame to frame (noise, dithering) and lists of less than four: 6 when this was written.
holds "networks go as graphs: at most 8 kernels by themselves" \
    test "$(in_batch cuGraphLaunch)" -gt 0 -a "$(in_batch cuLaunchKernel)" -le 8
gpu_run five "seed=1,calls=$work/five.calls" -i "$work/several" --scale 1 --batch-size 1
# Of batches of one picture each is waited for when the next one's encoder has been given work.
holds "results waited for while the next batch was begun: $(behind five), 4 at least" test "$(behind five)" -ge 4
for seed in 2 3 4; do
    gpu_run "five_$seed" seed=$seed -i "$work/several" --scale 1 --batch-size 1
    holds "the same pixels in the streams' order $seed" same five "five_$seed"
done
# Graphs are made from the third batch on.
for call in cuStreamBeginCapture_v2:1 cuStreamEndCapture:1 cuGraphInstantiateWithFlags:1 cuGraphLaunch:2; do
    gpu_run "fails_$call" "fail_call=$call" -i "$work/several" --scale 1 --batch-size 1
    holds "$call fails" fails "fails_$call"
    holds "the same pixels" same five "fails_$call"
done
# Of batches of three the encoder of the second is at work, with histories of its own, when the first one's decoder is closed.
gpu_run three "seed=1,calls=$work/three.calls" -i "$work/several" --scale 1 --batch-size 3
gpu_run three_2 seed=2 -i "$work/several" --scale 1 --batch-size 3
holds "batches of three, begun one in the other: the same pixels in another order" same three three_2
holds "results waited for while there was more to do: $(behind three), 5 at least" test "$(behind three)" -ge 5
gpu_run five_tight memory=11M -i "$work/several" --scale 1 --batch-size 1
holds "five batches with streamed weights: the same pixels" same five five_tight
holds "streamed from batch to batch" test "$(reported five_tight cuMemcpyHtoDAsync_v2)" -gt \
    $((2 * $(reported five cuMemcpyHtoDAsync_v2)))

gives_back
finish
