#!/usr/bin/env bash
# Golden cases on the emulated GPU: tests/cuda_goldens.sh BUILD PRECISION... runs those that take seconds there, in each precision,
# as another part each time. All cases: build/tests/goldens --device cuda --precision P FOLDER.
set -u
cd "$(dirname "$0")/.." || exit 1
build=$1
shift
export UPRES_CUDA_DRIVER=$PWD/$build/tests/emulator/libcuda.so.1

cases=(
    seedvr2_vae/{layer_attention,layer_causal_conv_oneshot,layer_causal_conv_stream,layer_down_spatial,layer_down_temporal}
    seedvr2_vae/{layer_norm_silu,layer_posterior,layer_resnet_shortcut,layer_up_spatial,layer_up_temporal_stream}
    seedvr2_vae/{enc_image_odd,enc_4f,dec_image_1x1}
    seedvr2_dit/{windows,a3_single_frame,a3_time_windows,a7_small_signal,b7_head128,s3_three_steps,s7_guidance}
    seedvr2_pipeline/{run_seven,run_image,tile_decode_odd,color_single_lab,noise}
    flashvsr/{constants,mask_block,mask_half,lq_v11,color,tiles}
    tcdecoder/{one_latent,fold_5}
    wan_vae/enc_one_frame
)
paths=()
for name in "${cases[@]}"; do paths+=("tests/data/goldens/$name.safetensors"); done

passed=0 failed=0 skipped=0
if "$build/upres" selftest --device cuda:0 'modulation/*' 2>&1 | grep -q 'install NVRTC'; then
    for precision in "$@"; do
        for name in "${cases[@]}"; do
            echo "skip $precision $name: upres was built without NVRTC, and there is none here"
            skipped=$((skipped + 1))
        done
    done
    echo "0 passed, 0 failed, $skipped skipped"
    exit 0
fi
parts=(120 89 80 90)
for precision in "$@"; do
    sm=${parts[0]}
    parts=("${parts[@]:1}" "$sm")
    closing=
    while read -r line; do
        echo "$precision sm_$sm: $line"
        closing=$line
    done < <(UPRES_EMULATOR="sm=$sm" "$build/tests/goldens" --device cuda --precision "$precision" "${paths[@]}" 2>&1)
    if [[ $closing =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped$ ]]; then
        passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2])) skipped=$((skipped + BASH_REMATCH[3]))
    else
        echo "FAIL $precision: no closing line"
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
