#!/usr/bin/env bash
# A small piece of the demo end to end on the emulated GPU, beside the CPU: tests/cuda_demo.sh [BUILD_DIR]
set -u
cd "$(dirname "$0")/.." || exit 1
build=${1:-build}
upres=$build/upres
work=$build/tests/cuda_demo
rm -rf "$work"
mkdir -p "$work"
passed=0 failed=0

tell() { # ok|FAIL TEXT
    echo "$1 $2"
    if [ "$1" = ok ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

upscale() { # OUTPUT OPTION...: or, with verb=plan before it, what that would take
    local out=$1
    shift
    "$upres" ${verb:-} -i tests/data/tiny/lr -o "$out" -m "$work/weights.safetensors" --scale 4 --color none "$@"
}

figure() { # A B NAME: of upres compare
    "$upres" compare "$1" "$2" --json | sed 's/"frames".*//' | sed -n "s/.*\"$3\":\([0-9.]*\).*/\1/p"
}

holds() { # NAME EXPRESSION-OF-AWK
    if awk "BEGIN { exit !($2) }"; then tell ok "$1: $2"; else tell FAIL "$1: not $2"; fi
}

"$upres" demo-weights seedvr2 -o "$work/weights.safetensors" >/dev/null || tell FAIL "demo weights"
upscale "$work/cpu" --device cpu -q || tell FAIL "on the cpu"
own=$(figure "$work/cpu" tests/data/tiny/hr mean_psnr)
export UPRES_CUDA_DRIVER=$PWD/$build/tests/emulator/libcuda.so.1
if "$upres" selftest --device cuda:0 'modulation/*' 2>&1 | grep -q 'install NVRTC'; then
    echo "skip the emulated GPU: upres was built without NVRTC, and there is none here"
    echo "$passed passed, $failed failed, 1 skipped"
    exit $((failed > 0))
fi
# What a described GPU is planned to hold is what the emulated one held, to 3 in 100: the kernels' constants are not planned.
planned=$(verb=plan upscale "$work/none" --device sm_89:128:2.52:1008:16 --precision bf16 | sed -n 's/^GPU peak.*(\([0-9]*\) bytes)$/\1/p')
if UPRES_EMULATOR="sm=89,report=$work/report" upscale "$work/bf16" --device cuda --precision bf16 -v 2>"$work/log"; then
    tell ok "bf16 on the emulated GPU: $(grep -o 'device cuda.*' "$work/log")"
    holds "mean difference from the CPU's fp32" "$(figure "$work/cpu" "$work/bf16" mean_abs) <= 1.0"
    holds "largest difference" "$(figure "$work/cpu" "$work/bf16" max_abs) <= 8"
    used=$(awk -F '\t' '$1 == "memory of device 0 at most" { print $2 }' "$work/report")
    holds "memory used over memory planned" "$used / ${planned:-0.001} > 0.97 && $used / ${planned:-0.001} < 1.03"
    holds "PSNR against the originals, beside the CPU's $own" "($(figure "$work/bf16" tests/data/tiny/hr mean_psnr) - $own)^2 <= 0.1^2"
else
    tell FAIL "bf16 on the emulated GPU: $(tail -n 1 "$work/log")"
fi
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
