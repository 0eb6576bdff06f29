#!/usr/bin/env bash
# How close each precision comes to float32, in decibels of 8-bit pictures: tests/fidelity.sh [BUILD [DEVICE [PRECISION...]]]
#
# The golden decodes of the released size, held against the reference's results, and the demo, held against the CPU's. Luma
# (BT.601) is judged, all channels (rgb) are told beside it. A line a case, and the tests' closing line; exit 1: a goal was missed.
#
# The demo's autoencoder has fewer than 128 channels, so 8 bits are for its transformer at most: its figures are about bf16's.
#
# On a GPU that takes seconds. On the emulated one (UPRES_CUDA_DRIVER=BUILD/tests/emulator/libcuda.so.1) a decode takes ten minutes
# or more and the demo is a small piece of itself; UPRES_FIDELITY_CASES="full_dec_5f demo" names some of the cases.
set -u
export LC_ALL=C # figures with points
cd "$(dirname "$0")/.." || exit 1
build=${1:-build} device=${2:-cuda:0}
precisions=("${@:3}")
[ ${#precisions[@]} != 0 ] || precisions=(bf16 int8 fp8x3 fp8)
cases=${UPRES_FIDELITY_CASES:-full_dec_5f full_dec_9f demo}
golden=${UPRES_SHARED:-../shared}/goldens/seedvr2_vae
work=$build/tests/fidelity
frames=demo/lr
case ${UPRES_CUDA_DRIVER:-} in
*emulator*) frames=tests/data/tiny/lr ;;
esac
passed=0 failed=0 skipped=0

# Luma, decibels. What fp8 loses is its 3 bits of mantissa: blocks and scales change little.
goal() { # PRECISION
    case $1 in
    fp32) echo 90 ;;
    bf16) echo 47 ;;
    fp8x3) echo 48 ;;
    int8 | auto) echo 40 ;;
    fp8) echo 34 ;;
    esac
}

judge() { # PRECISION CASE LUMA RGB MAX
    local word=FAIL
    if awk "BEGIN { exit !(\"$3\" == \"inf\" || $3 + 0 >= $(goal "$1")) }"; then
        word=ok passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
    printf '%-4s %-6s %-12s luma %6.2f dB (goal %s)  rgb %6.2f dB  max %.0f of 255\n' "$word" "$1" "$2" "$3" "$(goal "$1")" "$4" "$5"
}

skip() { # PRECISION CASE WHY
    echo "skip $1 $2: $3"
    skipped=$((skipped + 1))
}

decode() { # PRECISION CASE
    local line
    if [ ! -f "$golden/$2.safetensors" ]; then
        skip "$1" "$2" "$golden/$2.safetensors is not there; UPRES_SHARED names the folder that holds goldens/"
        return
    fi
    line=$("$build/tests/goldens" --device "$device" --precision "$1" --fidelity "$golden/$2.safetensors" 2>&1)
    if [[ $line =~ rgb\ ([0-9.inf]+)\ dB\ luma\ ([0-9.inf]+)\ dB\ max\ ([0-9]+) ]]; then
        judge "$1" "$2" "${BASH_REMATCH[2]}" "${BASH_REMATCH[1]}" "${BASH_REMATCH[3]}"
    else
        echo "FAIL $1 $2: $line"
        failed=$((failed + 1))
    fi
}

upscale() { # OUTPUT OPTION...
    local out=$1
    shift
    [ -f "$work/weights.safetensors" ] || "$build/upres" demo-weights seedvr2 -o "$work/weights.safetensors" >/dev/null
    "$build/upres" -i "$frames" -o "$out" -m "$work/weights.safetensors" --scale 4 --color none -q "$@"
}

demo() { # PRECISION
    local figures
    [ -d "$work/cpu" ] || upscale "$work/cpu" --device cpu
    if ! upscale "$work/$1" --device "$device" --precision "$1"; then
        echo "FAIL $1 demo"
        failed=$((failed + 1))
        return
    fi
    figures=$("$build/upres" compare "$work/cpu" "$work/$1" --json)
    # The frames' mean over all channels: the stricter of the two figures.
    if [[ $figures =~ \"mean_psnr\":([0-9.]+|null).*\"max_abs\":([0-9.]+) ]]; then
        judge "$1" demo "${BASH_REMATCH[1]/null/inf}" "${BASH_REMATCH[1]/null/inf}" "${BASH_REMATCH[2]}"
    else
        echo "FAIL $1 demo: $figures"
        failed=$((failed + 1))
    fi
}

rm -rf "$work"
mkdir -p "$work"
for precision in "${precisions[@]}"; do
    for name in $cases; do
        if [ "$name" = demo ]; then demo "$precision"; else decode "$precision" "$name"; fi
    done
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
