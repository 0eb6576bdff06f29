#!/usr/bin/env bash
# A small piece of the demo end to end on the emulated GPU, beside the CPU: tests/cuda_demo.sh [BUILD_DIR]
set -u
cd "$(dirname "$0")/.." || exit 1
build=${1:-build}
work=$build/tests/cuda_demo
. tests/gpu_jobs.sh

upscale() { # OUTPUT OPTION...: or, with verb=plan before it, what that would take
    local out=$1
    shift
    "$upres" ${verb:-} -i tests/data/tiny/lr -o "$out" -m "$work/weights.safetensors" --scale 4 --color none "$@"
}

figure() { # A B NAME: of upres compare
    "$upres" compare "$1" "$2" --json | sed 's/"frames".*//' | sed -n "s/.*\"$3\":\([0-9.]*\).*/\1/p"
}

figures() { # NAME EXPRESSION-OF-AWK
    holds "$1: $2" awk "BEGIN { exit !($2) }"
}

"$upres" demo-weights seedvr2 -o "$work/weights.safetensors" >/dev/null || tell FAIL "demo weights"
upscale "$work/cpu" --device cpu -q || tell FAIL "on the cpu"
own=$(figure "$work/cpu" tests/data/tiny/hr mean_psnr)
need_kernels
# What a described GPU is planned to hold is what the emulated one held, to 3 in 100: the kernels' constants are not planned.
planned=$(verb=plan upscale "$work/none" --device sm_89:128:2.52:1008:16 --precision bf16 | sed -n 's/^GPU peak.*(\([0-9]*\) bytes)$/\1/p')
if UPRES_EMULATOR="sm=89,report=$work/bf16.report,calls=$work/bf16.calls" upscale "$work/bf16" --device cuda --precision bf16 -v 2>"$work/log"; then
    tell ok "bf16 on the emulated GPU: $(grep -o 'device cuda.*' "$work/log")"
    figures "mean difference from the CPU's fp32" "$(figure "$work/cpu" "$work/bf16" mean_abs) <= 1.0"
    figures "largest difference" "$(figure "$work/cpu" "$work/bf16" max_abs) <= 8"
    used=$(reported bf16 "memory of device 0 at most")
    figures "memory used over memory planned" "$used / ${planned:-0.001} > 0.97 && $used / ${planned:-0.001} < 1.03"
    # The clip is one batch: of its five pictures all but the last, and the first of its two latents.
    holds "results waited for while the networks' next step was given out: $(behind bf16), 5 at least" test "$(behind bf16)" -ge 5
    figures "PSNR against the originals, beside the CPU's $own" "($(figure "$work/bf16" tests/data/tiny/hr mean_psnr) - $own)^2 <= 0.1^2"
else
    tell FAIL "bf16 on the emulated GPU: $(tail -n 1 "$work/log")"
fi
# In fp32 a whole picture's way, with colours, noise over the input and dithering: the CPU's codes, but for the few that lie so
# near a step that the last bits of the networks' sums decide (5 of 23040 when this was written).
mkdir -p "$work/one"
cp tests/data/tiny/lr/000001.png "$work/one/"
picture() { # OUTPUT OPTION...
    local out=$1
    shift
    "$upres" -i "$work/one" -o "$out" -m "$work/weights.safetensors" --scale 2 --input-noise 0.2 --strength 0.8 \
        --dither tpdf -q "$@"
}
for color in lab wavelet_adaptive; do # the latter needs hsv and wavelet as well
    picture "$work/cpu_$color" --device cpu --color $color
    UPRES_EMULATOR="sm=80" picture "$work/fp32_$color" --device cuda --precision fp32 --color $color
    figures "fp32, $color: largest difference from the CPU" "$(figure "$work/cpu_$color" "$work/fp32_$color" max_abs) <= 1"
    figures "fp32, $color: mean difference from the CPU" "$(figure "$work/cpu_$color" "$work/fp32_$color" mean_abs) <= 0.001"
done
finish
