#!/bin/sh
# The demo: constructed weights, the sample frames enlarged 4 times, and how close that comes to the originals. Called by
# `./build.sh demo`, which has built the command before.
#
#     demo/run.sh seedvr2|flashvsr
set -eu
cd "$(dirname "$0")/.."

family=${1:-seedvr2}
upres=build/upres
case $family in
seedvr2)
    out=build/demo
    options="--scale 4 --batch-size 5 --color none --seed 42"
    ;;
flashvsr)
    out=build/demo/flashvsr
    options="--scale 4 --color none"
    ;;
*)
    echo "demo/run.sh: no family '$family' is known; seedvr2 and flashvsr can be shown" >&2
    exit 2
    ;;
esac
mkdir -p "$out"

# enlarge FOLDER OPTION...: the sample frames, into the folder.
enlarge() {
    folder=$1
    shift
    # shellcheck disable=SC2086
    "$upres" -i demo/lr -o "$folder" -m "$out/weights.safetensors" $options --overwrite "$@"
}

# mean_psnr FOLDER: against the originals, mean over the frames, in dB.
mean_psnr() {
    "$upres" compare "$1" demo/hr --json | sed -n 's/.*"mean_psnr":\([0-9.]*\).*/\1/p'
}

"$upres" demo-weights "$family" -o "$out/weights.safetensors" --overwrite
enlarge "$out/out"
# No share of the networks' result leaves the resized input, which is bicubic.
enlarge "$out/bicubic" --strength 0 -q
"$upres" compare "$out/bicubic" "$out/out" -o "$out/bicubic-upres.png" --overwrite >/dev/null

echo "pictures: $out/out; below: the PSNR against demo/hr, and the first frame, bicubic beside upres"
LC_ALL=C printf 'PSNR upres %.2f dB bicubic %.2f dB\n' "$(mean_psnr "$out/out")" "$(mean_psnr "$out/bicubic")"
echo "$out/bicubic-upres.png"
