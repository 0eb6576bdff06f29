#!/bin/sh
# The demo: constructed weights, the sample frames enlarged 4 times, and how close that comes to the originals. Called by
# `./build.sh demo`, which has built the command before.
set -eu
cd "$(dirname "$0")/.."

upres=build/upres
out=build/demo
mkdir -p "$out"

# mean_psnr FOLDER: against the originals, mean over the frames, in dB.
mean_psnr() {
    "$upres" compare "$1" demo/hr --json | sed -n 's/.*"mean_psnr":\([0-9.]*\).*/\1/p'
}

"$upres" demo-weights seedvr2 -o "$out/weights.safetensors" --overwrite
"$upres" -i demo/lr -o "$out/out" -m "$out/weights.safetensors" \
    --scale 4 --batch-size 5 --color none --seed 42 --overwrite
# No share of the networks' result leaves the resized input, which is bicubic.
"$upres" -i demo/lr -o "$out/bicubic" -m "$out/weights.safetensors" \
    --scale 4 --batch-size 5 --color none --strength 0 --overwrite -q
"$upres" compare "$out/bicubic" "$out/out" -o "$out/bicubic-upres.png" --overwrite >/dev/null

echo "pictures: $out/out; below: the PSNR against demo/hr, and the first frame, bicubic beside upres"
LC_ALL=C printf 'PSNR upres %.2f dB bicubic %.2f dB\n' "$(mean_psnr "$out/out")" "$(mean_psnr "$out/bicubic")"
echo "$out/bicubic-upres.png"
