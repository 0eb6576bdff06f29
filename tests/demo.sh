#!/usr/bin/env bash
# The demo's promises: the figures of its weights for three batch sizes, and the same pixels from one run, two halves, and
# a run that was killed and started again.
#
#     tests/demo.sh [BUILD_DIR]
set -u
cd "$(dirname "$0")/.." || exit 1

build=${1:-build}
upres=$build/upres
work=$build/tests/demo
rm -rf "$work"
mkdir -p "$work"
weights=$work/weights.safetensors
passed=0 failed=0

ok() {
    echo "ok   $1"
    passed=$((passed + 1))
}

bad() { # NAME WHY
    echo "FAIL $1: $2"
    failed=$((failed + 1))
}

upscale() { # OUTPUT OPTION...
    local out=$1
    shift
    "$upres" -i demo/lr -o "$out" -m "$weights" --scale 4 --color none --seed 42 -q "$@"
}

# mean_psnr FOLDER: against the originals, mean over the frames, in dB.
mean_psnr() {
    "$upres" compare "$1" demo/hr --json | sed -n 's/.*"mean_psnr":\([0-9.]*\).*/\1/p'
}

# psnr_near BATCH EXPECTED: within 0.1 dB of what these weights give in the float32 reference, and not below bicubic.
psnr_near() {
    local name="PSNR of batches of $1" psnr
    upscale "$work/batch$1" --batch-size "$1" || { bad "$name" "upres failed" && return; }
    psnr=$(mean_psnr "$work/batch$1")
    if awk -v got="$psnr" -v want="$2" -v bicubic="$bicubic" \
        'BEGIN { exit !(got >= want - 0.1 && got <= want + 0.1 && got >= bicubic) }'; then
        ok "$name: $psnr dB"
    else
        bad "$name" "$psnr dB, expected $2 dB within 0.1 and no less than bicubic's $bicubic dB"
    fi
}

same() { # NAME FOLDER FOLDER
    if diff -rq "$2" "$3"; then ok "$1"; else bad "$1" "the pictures of $2 and $3 differ"; fi
}

finish() {
    echo "$passed passed, $failed failed, 0 skipped"
    exit $((failed > 0))
}

"$upres" demo-weights seedvr2 -o "$weights" || { bad "demo weights" "upres failed" && finish; }
upscale "$work/bicubic" --strength 0 || { bad "bicubic" "upres failed" && finish; }
bicubic=$(mean_psnr "$work/bicubic")
psnr_near 1 32.16
psnr_near 5 31.97
psnr_near 9 31.97

upscale "$work/halves" --frames 1-4 && upscale "$work/halves" --frames 5-9
same "two halves" "$work/batch5" "$work/halves"

"$upres" -i demo/lr -o "$work/killed" -m "$weights" --scale 4 --color none --seed 42 -q &
victim=$!
while kill -0 $victim 2>/dev/null && [ ! -e "$work/killed/000001.png" ]; do sleep 0.1; done
if kill -9 $victim 2>/dev/null; then
    wait $victim 2>/dev/null
    upscale "$work/killed" --skip-existing
    rm -f "$work/killed/"*.part
    same "killed and started again" "$work/batch5" "$work/killed"
else
    bad "killed and started again" "the run was over before it could be killed"
fi
finish
