#!/usr/bin/env bash
# The command as a user meets it: tests/cli.sh BUILD_DIR. Uses weights that the command makes itself and demo/lr; runs at
# scale 1, where the demo network is quick. Prints ok|FAIL|skip NAME lines and "N passed, N failed, N skipped".
set -u
. "$(dirname "$0")/checks.sh"
begin "${1:?usage: tests/cli.sh BUILD_DIR}"
unset NO_COLOR UPRES_CPU

if [ ! -x "$upres" ]; then
    fail build "$upres is not there"
    finish
fi

# ------------------------------------------------------------------------------------------------ usage, help, versions

"$upres" >bare.out 2>bare.err
rc=$?
if [ $rc = 2 ] && grep -q '^usage: upres' bare.err; then ok "bare command"; else fail "bare command" "exit code $rc"; fi
check "version" "$upres" --version
holds "version names a number" check.out '^upres [0-9]+\.[0-9]+\.[0-9]+'
check "devices" "$upres" --list-devices
holds "devices name the CPU" check.out 'cpu'
check "devices as JSON" "$upres" --list-devices --json
holds "a line a device" check.out '^\{"type":"result","verb":"list-devices","device":"cpu","name":"cpu.*"memory_bytes":[1-9][0-9]*,'
refused "an argument of a list" 2 '"--threads" after --list-devices' --list-devices --threads 2
check "help" "$upres" -h
for verb in upscale encode decode info convert plan compare bench selftest demo-weights completion; do check "help of $verb" "$upres" $verb -h; done
check "help of upscale, once more" "$upres" upscale -h
holds "help lists options with defaults" check.out '--batch-size N .*\[5\]' '--seed N .*\[42' '--vae-tile off\|auto\|N'
check "help of convert, once more" "$upres" convert -h
holds "help tells what the verb's output is" check.out '--output OUT.gguf +the file to write'
check "help of plan, once more" "$upres" plan -h
holds "help tells what a verb has no use for" check.out '--overwrite +not looked at' '--vae-decode-tile off\|auto\|N +of the decoder'
check "help of decode, once more" "$upres" decode -h
holds "help tells the verb's own default" check.out '--bits 8\|16 .*\[8\]' '--vae-encode-tile off\|auto\|N +not looked at'
refused "unknown verb" 2 'did you mean upscale' upsacle
refused "a shell that is none" 2 'give bash, zsh or fish' completion tcsh
refused "no shell" 2 'give bash, zsh or fish' completion
for shell in bash zsh fish; do
    check "completion of $shell" "$upres" completion $shell
    cp check.out completion.$shell
    if ! command -v $shell >/dev/null; then skip "completion of $shell is read by $shell, which is not there"
    elif $shell -n completion.$shell 2>check.err; then ok "completion of $shell is read by $shell"
    else fail "completion of $shell is read by $shell" "$(cat check.err)"; fi
done
completed() { # WORD...: what bash offers for the last one
    bash -c '. ./completion.bash; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _upres; echo "${COMPREPLY[*]}"' complete "$@"
}
offers() { # NAME WANTED WORD...
    local found
    found=$(completed "${@:3}")
    if [ "$2" = "$found" ]; then ok "$1"; else fail "$1" "\"$found\" instead of \"$2\""; fi
}
offers "verbs are completed" "decode demo-weights" upres de
offers "options are completed" "--color --color-scope" upres -i in --colo
offers "words are completed" "wavelet wavelet_adaptive" upres upscale --color wav
offers "values of a verb are completed" "q8_0" upres convert a --type q
offers "an option of another verb is not completed" "" upres info --col

# --------------------------------------------------------------------------------------------------- weights and frames

check "demo-weights" "$upres" demo-weights seedvr2 -o w.safetensors
refused "demo-weights of a folder" 1 'not a regular file' demo-weights seedvr2 -o .
refused "demo-weights of two families" 2 '"flashvsr".*one family' demo-weights seedvr2 flashvsr -o out
refused "demo-weights in 8 bits" 2 '"q8_0" for --type: expected one of f16, f32' demo-weights seedvr2 -o out --type q8_0
if [ ! -s w.safetensors ] || [ ! -d "$root/demo/lr" ]; then
    fail "weights and frames" "without them nothing more can be tested"
    finish
fi
mkdir in && cp "$root"/demo/lr/00000[1-7].png in/
mkdir two && cp in/000001.png in/000002.png two/
W=(-m w.safetensors)
Q=(--scale 1 --color none --progress none) # quick

# -------------------------------------------------------------------------------------------------------------- bad use

refused "no model" 2 'no weights.*-m' -i in -o out
refused "no input" 2 'no input.*-i' -o out "${W[@]}"
refused "no output" 2 'no output.*-o' -i in "${W[@]}"
refused "model missing" 3 'nosuch' -i in -o out -m nosuch
refused "model without a name" 2 '"" for --model' -i in -o out -m ''
refused "model a folder" 3 'in' -i in -o out -m in
refused "model twice" 3 'w.safetensors' -i in -o out "${W[@]}" -m w.safetensors
echo "<!DOCTYPE html><html></html>" >page.gguf
refused "model an HTML page" 3 'page.gguf' -i in -o out -m page.gguf
refused "input missing" 3 'nosuch.*no such' -i nosuch -o out "${W[@]}"
ln -s loop loop
refused "input a link to itself" 3 'loop: cannot be opened' -i loop -o out "${W[@]}"
refused "output missing its value" 2 '--output needs a value' -i in "${W[@]}" -o

range() { refused "$1 $2" 2 "\"$2\" for $1: expected" -i in -o out "${W[@]}" "$1" "$2"; }
for v in 0 -1 0.5 8.5 1e9 nan x ''; do range --scale "$v"; done
for v in 0 -1 15 16385 99999999999999999999 12x; do range --resolution $v; done
for v in 0 -5 1026; do range --batch-size $v; done
for v in 5 -1 1025; do range --overlap $v; done
for v in off8 31 33 100 -64; do range --vae-tile $v; done
range --vae-tile-overlap 12
range --vae-encode-tile 24
range --vae-decode-tile 40.5
range --fit 100x100
range --fit area:8x8
range --max-resolution 15
range --prepend 65
range --seed -1
range --seed 18446744073709551616
range --input-noise 1.5
range --latent-noise -0.1
range --steps 0
range --guidance 21
range --guidance-rescale 2
range --strength 1.01
range --color labb
range --alpha keep
range --dither floyd
range --threads 0
range --memory 12X
range --frames 3-1
range --frames 1,,2
range --noise white
range --device tpu
range --device cuda:0,cpu
range --device cuda:0,
range --precision fp4
range --bits 9
refused "10 bits in PNG" 2 '"10" for --bits.*16' -i in -o out "${W[@]}" --bits 10
refused "overlap as long as the batch" 2 '--overlap.*--batch-size 9' -i in -o out "${W[@]}" --batch-size 9 --overlap 9
refused "tile as small as its overlap" 2 'overlap 64.*tile of 64' -i in -o out "${W[@]}" --vae-tile 64 --vae-tile-overlap 64
refused "two sizes" 2 '--scale, --resolution and --fit' -i in -o out "${W[@]}" --scale 2 --resolution 64
refused "overwrite and skip" 2 'contradict' -i in -o out "${W[@]}" --overwrite --skip-existing
refused "unknown option" 2 'did you mean --batch-size' -i in -o out "${W[@]}" --batchsize 5
refused "flag with a value" 2 '--overwrite takes no value' -i in -o out "${W[@]}" --overwrite=yes
refused "option of another verb" 2 '--color is not an option of encode' encode -i in -o out.safetensors "${W[@]}" --color lab
refused "stray argument" 2 'stray' -i in -o out "${W[@]}" stray
for o in resume shard scene-cuts preview timings warmup; do
    refused "--$o of a later version" 2 "--$o is not in this version" -i in -o out "${W[@]}" --$o 2
done
for o in "mode tiny" "flashvsr-version 1" "sparse-ratio 1.5" "sparse-ratio dense" "kv-slices 2" "local-range 9" \
    "block-keys 64" "tile 64"; do
    refused "--$o with SeedVR2" 2 "--${o% *} is an option of FlashVSR.*SeedVR2" -i in -o out "${W[@]}" --${o% *} ${o#* }
done
refused "options of two systems" 2 '--batch-size.*SeedVR2.*--mode.*FlashVSR' -i in -o out -m nosuch --batch-size 5 --mode tiny
for o in "mode fast" "flashvsr-version 2" "sparse-ratio 0" "sparse-ratio 17" "kv-slices 1" "kv-slices 65" "local-range 10" \
    "local-range 0" "block-keys 100" "block-keys 32" "tile 16" "tile-overlap 24"; do
    refused "--$o" 2 "--${o% *}" -i in -o out -m nosuch --${o% *} ${o#* }
done
refused "tiles that overlap by more than half" 2 '--tile-overlap.*0 to 32' -i in -o out -m nosuch --tile 64 --tile-overlap 40
refused "CUDA without a driver" 2 'cuda:0 cannot be used.*--device cpu' -i in -o out "${W[@]}" --device cuda:0
refused "a device named twice" 2 'names cuda:1 twice' -i in -o out "${W[@]}" --device cuda:1,cuda:1
refused "several devices for encode" 2 'share an upscale alone' encode -i in -o out "${W[@]}" --device cuda:0,cuda:1
refused "a described device in a job" 2 'sm_120.*is for plan' -i in -o out "${W[@]}" --device sm_120:70:2.5:900:16
refused "a described device of no kind" 2 'sm_70.*describes no device' plan -i in "${W[@]}" --device sm_70:80:1.5:900:16
for p in fp8 fp8x3; do
    refused "precision $p before sm_120" 2 "--precision $p is not offered by devices before sm_120.*int8" plan -i in "${W[@]}" \
        --device sm_89:128:2.5:1008:24 --precision $p
done
refused "scores of fp8 in another precision" 2 '--fp8-scores says how --precision fp8 .* is int8; give' plan -i in "${W[@]}" \
    --device sm_120:70:2.452:896:16 --precision int8 --fp8-scores
refused "scores of fp8 where there are none" 2 'unknown option.*fp8-scores|--fp8-scores' decode -i in -o out "${W[@]}" --fp8-scores
for p in fp16 bf16 int8 fp8 fp8x3; do refused "precision $p on the CPU" 2 "--precision $p" -i in -o out "${W[@]}" --precision $p; done
export UPRES_CPU=sse9
refused "a set of instructions that is none" 2 "UPRES_CPU is 'sse9'; give scalar, avx2 or avx512" -i in -o out "${W[@]}" --device cpu
unset UPRES_CPU
refused "a pipe" 2 'not in this version' -i - -o out "${W[@]}"
refused "y4m" 2 'y4m.*in this version' -i in -o out.y4m "${W[@]}"
refused "frames past the end" 2 '--frames 8-9.*1 to 7' -i in -o out "${W[@]}" --frames 8-9

mkdir empty
refused "empty folder" 3 'empty.*no PNG' -i empty -o out "${W[@]}"
refused "output in the input" 2 'in/x.*lies in the input' -i in -o in/x "${W[@]}"
refused "output the input" 2 'lies in the input' -i in -o ./in/../in "${W[@]}"
ln -s in link
refused "output the input by a link" 2 'lies in the input' -i in -o link "${W[@]}"
refused "output the input picture" 2 'replace the input' -i in/000001.png -o in/000001.png "${W[@]}"
refused "output the side of a comparison" 2 'in/000001.png.*replace the input|lies in the input' compare in two -o in/000001.png --overwrite
refused "output in a compared folder" 2 'lies in the input' compare in two -o in/side.png
refused "output a compared frame of a pattern" 2 'two/000002.png would replace the input' compare two/%06d.png two/%06d.png \
    -o two/000002.png --overwrite
mkdir links && for i in 1 2; do ln -s ../two/00000$i.png links/; done
refused "output what the input links to" 2 'two/000001.png is the input links/000001.png' -i links -o two "${W[@]}" --overwrite
refused "many frames to a picture" 2 '7 frames' -i in -o out.png "${W[@]}"
refused "output a file" 1 'w.safetensors' -i in -o w.safetensors "${W[@]}"
refused "output's folder missing" 1 'nowhere' -i in -o nowhere/deep/out "${W[@]}"
refused "picture's folder missing" 1 'nowhere' -i in/000001.png -o nowhere/x.png "${W[@]}"
if [ "$(id -u)" = 0 ]; then
    skip "output not permitted" "root may write anywhere"
else
    mkdir locked && chmod 555 locked
    refused "output not permitted" 1 'locked' -i in -o locked/out "${W[@]}"
fi
mkdir there && cp in/000003.png there/
refused "existing output" 2 'there/000003.png exists already.*--overwrite.*--skip-existing' -i in -o there "${W[@]}"
refused "pattern without a number" 2 '%s' -i in/%s.png -o out "${W[@]}"
refused "pattern that fits nothing" 3 'no file fits' -i in/%03d.png -o out "${W[@]}"

mkdir gap && cp in/00000[1267].png gap/
refused "gap" 3 'frame 3 \(and 2 more\) is missing' -i gap -o out "${W[@]}"
mkdir double && cp in/000001.png double/1.png && cp in/000001.png double/01.png
refused "a number twice" 3 'both have the number 1' -i double -o out "${W[@]}"
mkdir nameless && cp in/000001.png nameless/a.png && cp in/000001.png nameless/b.png
refused "names without numbers" 3 'no number' -i nameless -o out "${W[@]}"

small=iVBORw0KGgoAAAANSUhEUgAAABQAAAAUCAIAAAAC64paAAABfUlEQVR42mNgYOcTlVHWMrSwd/MNiU7KLCiva+2ZPGvhivXb9h45fenmg+fvvv5h5hKUkFfTNbF28gwIj0vNKa5q7OifNpeBlUdYSlFD38zWxTsoMiE9r7SmuWvijPnL1m7Zfejkhev3nr75/IuRg19MVkXbyNLB3S80JjmrsKK+rXfK7EUM2M1csnrTzgPHz1298/jVxx//2XhFpJU0DcztXH2CoxIz8stqW7onzVywnAG7mSs3bN939MzlWw9fvP/2l4VbSFJBXc/UxtkrMCI+LbekuqlzwvR5S9cwYDdz3dY9h09dvHH/2dsvv5k4BcTlVHWMrRw9/MNiU7KLKhva+6bOWbxqIwN2MzfvOnji/LW7T15/+oknRBmwm7lj/7GzV24/evnh+z88IcpAZiyBQ5SBzFgChygDmbEEDlEGMmMJHKIMZMYSOEQZyIwlcIgykBlL4BBlIDOWwCHKQGYsgUOUgcxYAocoA5mxBA5RBjJjCRyiDGTGEjhEAXN3Ur9vJiYoAAAAAElFTkSuQmCC
huge=iVBORw0KGgoAAAANSUhEUgAATiAAAE4gCAIAAABsEtFuAAAAC0lEQVR42mNggAEAAAoAAewkA7kAAAAASUVORK5CYII=
# 16x16, RGBA, 16 bits, with gAMA and a text chunk
deep=iVBORw0KGgoAAAANSUhEUgAAABAAAAAQEAYAAABPYyMiAAAABGdBTUEAALGPC/xhBQAAAAt0RVh0VGl0bGUAc21hbGxPW6NeAAAB2klEQVR42jXOUZFYIRBFwUhAAhKQgAQkIAEJSEACEpCABCQgAQebVLbfVE2dz9t//vy7/u+DRk2atWjVpr//8zN06tKtR68+/T/9CwgAASAABIAAEACC8QAQAAJAAAgAASAAhA8QASJABIgAESACRIAIEAEiQASIABEgAkSA+AESQAJIAAkgASSABJAAEkACSAAJIAEkgASQPkAGyAAZIANkgAyQATJABsgAGSADZIAMkAHyBygABaAAFIACUAAKQAEoAAWgABSAAlAACkD5ABWgAlSAClABKkAFqAAVoAJUgApQASpABagfoAE0gAbQABpAA2gADaABNIAG0AAaQANoAO0DdIAO0AE6QAfoAB2gA3SADtABOkAH6AAdoH+AATAABsAAGAADYAAMgAEwAAbAABgAA2AAjA8wASbABJgAE2ACTIAJMAEmwASYABNgAkyA+QEWwAJYAAtgASyABbAAFsACWAALYAEsgAWwPsAG2AAbYANsgA2wATbABtgAG2ADbIANsAH2BzgAB+AAHIADcAAOwAE4AAfgAByAA3AADsD5ABfgAlyAC3ABLsAFuAAX4AJcgAtwAS7ABbgf4AE8gAfwAB7AA3gAD+ABPIAH8AAewAN4AL/9C02nbx8rNPZxAAAAAElFTkSuQmCC
mkdir mixed && cp in/000001.png mixed/ && echo $small | base64 -d >mixed/000002.png
refused "a frame of another size" 3 'mixed/000002.png: 20x20.*160x96' -i mixed -o out "${W[@]}"
echo $deep | base64 -d >deep.png
mkdir forms && cp mixed/000002.png forms/1.png && head -c 33 forms/1.png >forms/2.png
refused "a PNG cut short" 3 'forms/2.png' -i forms -o out "${W[@]}"
head -c -12 mixed/000002.png >forms/2.png
refused "a PNG without its end" 3 'forms/2.png.*ends before its IEND chunk' -i forms -o out "${W[@]}"
head -c -16 mixed/000002.png >forms/2.png
refused "a PNG that ends in a chunk" 3 'forms/2.png.*inside a chunk' -i forms -o out "${W[@]}"
{ head -c 33 mixed/000002.png; tail -c 12 mixed/000002.png; } >forms/2.png
refused "a PNG without pixels" 3 'forms/2.png.*holds no pixels' -i forms -o out "${W[@]}"
: >forms/2.png
refused "an empty picture" 3 'forms/2.png.*empty' -i forms -o out "${W[@]}"
echo "no picture" >forms/2.png
refused "no PNG" 3 'forms/2.png.*not a PNG' -i forms -o out "${W[@]}"
mkdir broken && cp in/000001.png in/000002.png broken/
printf 'XXXX' | dd of=broken/000002.png bs=1 seek=900 conv=notrunc 2>dd.err
refused "a PNG with a wrong checksum" 3 'broken/000002.png.*checksum' -i broken -o out "${W[@]}" "${Q[@]}"
echo $huge | base64 -d >huge.png
refused "a PNG header of 400 megapixels" 3 'huge.png: 20000x20000' -i huge.png -o out "${W[@]}"

# a weight file of another kind: one tensor nobody knows
printf '\100\0\0\0\0\0\0\0{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}          \0\0\0\0' >other.safetensors
refused "model without networks" 3 '.' -i in -o out -m other.safetensors
refused "decode without a tensor of latents" 3 'no tensor .latent' decode -i other.safetensors -o out -m other.safetensors
refused "encode without a VAE" 3 'no SeedVR2 VAE among' encode -i in -o out.safetensors -m other.safetensors
# weights with names spoilt, which takes the part away and leaves every offset as it was
LC_ALL=C sed 's/"pos_emb"/"pos_emx"/' w.safetensors >notext.safetensors
refused "text embedding missing" 3 'text' -i in -o out -m notext.safetensors
LC_ALL=C sed 's/"vae\.decoder/"vax.decoder/g' w.safetensors >encoder.safetensors
LC_ALL=C sed 's/"pos_emb"/"neg_emb"/' w.safetensors >negative.safetensors
refused "the negative text alone" 3 'no text embedding .*holds.* negative text' -i in -o out -m negative.safetensors
refused "upscale without a decoder" 3 'decoder' -i in -o out -m encoder.safetensors
refused "two VAEs" 3 'encoder.safetensors.*w.safetensors|w.safetensors.*encoder.safetensors' -i in -o out -m encoder.safetensors "${W[@]}"
# tensors that begin with a NaN: the file that holds each is named
header=$((8 + $(od -An -tu8 -N8 w.safetensors)))
begin_of() { # TENSOR: its first byte in w.safetensors
    echo $((header + $(head -c $header w.safetensors | LC_ALL=C grep -ao "\"$1\":{[^}]*" | sed 's/.*"data_offsets":\[\([0-9]*\),.*/\1/')))
}
damage() { # TENSOR
    cp w.safetensors damaged.safetensors
    printf '\377\177' | dd of=damaged.safetensors bs=1 seek="$(begin_of "$1")" conv=notrunc 2>dd.err
}
damage vae.encoder.conv_in.weight
refused "a weight that is no number, of a stage" 3 'damaged.safetensors: weight .*not finite.*damaged' encode -i in -o out.safetensors \
    -m damaged.safetensors
for name in vae.encoder.conv_in.weight vae.decoder.up_blocks.2.upsamplers.0.upscale_conv.bias pos_emb; do
    damage $name
    refused "no number in $name" 3 "damaged.safetensors: weight '$name' .*not finite.*damaged" -i in -o out -m damaged.safetensors "${Q[@]}"
done
{
    printf '\102\0\0\0\0\0\0\0{"pos_emb":{"dtype":"F16","shape":[8,64],"data_offsets":[0,1024]}}'
    tail -c +$(($(begin_of pos_emb) + 1)) damaged.safetensors | head -c 1024
} >text.safetensors
refused "no number in the second of two files" 3 "text.safetensors: weight 'pos_emb'" -i in -o out -m notext.safetensors -m text.safetensors "${Q[@]}"
refused "encode to a picture" 2 '.safetensors' encode -i in -o out.png "${W[@]}"
refused "encode of odd sizes" 2 '20x20.*multiples of 8' encode -i mixed/000002.png -o out.safetensors "${W[@]}"
refused "info of nothing" 2 'one weight file' info
refused "info of a missing file" 3 'nosuch' info nosuch
refused "info of a page" 3 'page.gguf' info page.gguf
refused "convert without output" 2 'no output' convert w.safetensors
refused "convert to an unknown type" 2 '"q4_0" for --type' convert w.safetensors -o out --type q4_0
refused "convert onto the input" 2 'replace the input' convert w.safetensors -o w.safetensors
ln w.safetensors hard.safetensors
refused "convert onto a link to the input" 2 'replace the input' convert w.safetensors -o hard.safetensors --overwrite
mkdir half && mv hard.safetensors half/w.gguf.part
"$upres" convert half/w.gguf.part -o half/w.gguf >refused.out 2>refused.err
rc=$?
if [ $rc = 2 ] && cmp -s w.safetensors half/w.gguf.part; then holds "convert a half-written file's name" refused.err 'w.gguf.part first'
else fail "convert a half-written file's name" "exit code $rc: $(cat refused.err)"; fi
rm -r half
refused "compare of one" 2 'two' compare in
refused "compare of unlike counts" 3 'two has 2' compare in two
refused "plan of no job" 2 'no job' plan downscale -i in "${W[@]}"

# ------------------------------------------------------------------------------------------------------- info, convert

check "info" "$upres" info w.safetensors
holds "info names what it recognised" check.out 'safetensors' 'recognised: seedvr2_vae' 'recognised: seedvr2_dit' 'recognised: text'
check "info --json" "$upres" info w.safetensors --json --checksums
cp check.out info.json
holds "info --json has its keys" info.json '^\{"file":"w.safetensors","container":"safetensors",.*"metadata":\{' \
    '"recognised":\[\{"network": *"seedvr2_dit",.*"widths":' '"tensors":\[\{"name":' '"crc32":"[0-9a-f]{8}"' '\]\}$'
if command -v python3 >/dev/null; then
    check "info --json is JSON" python3 -c 'import json, sys; json.load(open("info.json"))'
else
    skip "info --json is JSON" "no python3"
fi
check "info of a file with nothing known" "$upres" info other.safetensors --json
holds "nothing recognised is an empty list" check.out '"recognised":\[\]'
cp w.safetensors disguise.gguf
check "info of safetensors named .gguf" "$upres" info disguise.gguf --json
holds "the content decides" check.out '"container":"safetensors"'
check "convert" "$upres" convert w.safetensors -o w.gguf --type f32 -v
holds "convert tells what is in the files" check.err 'w.safetensors: seedvr2_vae: ' 'w.safetensors: text: ' 'w.gguf: written from 1 file as f32'
mkdir large # 2 GiB of zeros, more than are written before the signal is there
printf '\120\0\0\0\0\0\0\0%-80s' '{"x":{"dtype":"F16","shape":[1073741824],"data_offsets":[0,2147483648]}}' >large/in.safetensors
truncate -s $((88 + 2147483648)) large/in.safetensors
"$upres" convert large/in.safetensors -o large/out.gguf --type f32 2>stopped.err &
job=$!
for _ in $(seq 6000); do
    [ -e large/out.gguf.part ] && break
    sleep 0.01
done
kill -TERM $job
wait $job
rc=$?
if [ $rc = 143 ] && [ "$(names large)" = "in.safetensors " ]; then holds "convert stopped by SIGTERM" stopped.err 'large/out.gguf is not written'
else fail "convert stopped by SIGTERM" "exit code $rc, $(names large): $(tail -n 1 stopped.err)"; fi
rm -r large
check "info of the converted file" "$upres" info w.gguf
holds "the converted file holds all networks" check.out 'gguf' 'recognised: seedvr2_vae' 'recognised: seedvr2_dit' 'recognised: text'

# ------------------------------------------------------------------------------------------------------------- upscale

check "upscale" "$upres" -i in -o whole "${W[@]}" "${Q[@]}"
if [ "$(names whole)" = "$(names in)" ]; then ok "names are kept"; else fail "names are kept" "$(names whole)"; fi
holds "a closing line on stderr" check.err '^upres: 7 frames upscaled in .* peak memory'
check "upscale from safetensors named .gguf, one thread" "$upres" -i in -o renamed -m disguise.gguf "${Q[@]}" --threads 1
check "upscale with two threads" "$upres" -i in -o threads -m disguise.gguf "${Q[@]}" --threads 2
same "one thread and two" renamed threads
same "the same weights under another name" whole renamed
check "upscale from the converted file" "$upres" -i in -o gguf -m w.gguf "${Q[@]}"
same "the same weights in GGUF" whole gguf
check "first part" "$upres" -i in -o halves "${W[@]}" "${Q[@]}" --frames 1-4
check "second part" "$upres" -i in -o halves "${W[@]}" "${Q[@]}" --frames 5-99
holds "an end past the last frame is noted" check.err 'cut at the last frame, 7'
same "two parts and one run" whole halves
check "every third frame" "$upres" -i in -o steps "${W[@]}" "${Q[@]}" --frames 1,4-7:3
mkdir thirds && cp whole/000001.png whole/000004.png whole/000007.png thirds/ 2>/dev/null
same "a list of frames and one run" thirds steps

# stopped half way by a signal, then by SIGKILL, then finished
signalled() { # SIGNAL FRAME FOLDER OPTION...: sent when FOLDER has that frame; the exit code becomes rc
    local job
    "$upres" -i in -o "$3" "${W[@]}" "${Q[@]}" --batch-size 1 "${@:4}" >stopped.out 2>stopped.err &
    job=$!
    for _ in $(seq 600); do
        [ -e "$3/$2.png" ] && break
        sleep 0.1
    done
    kill -s "$1" $job 2>/dev/null
    wait $job 2>/dev/null
    rc=$?
}
for s in HUP:129:hung TERM:143:stopped; do
    IFS=: read -r signal code folder <<<"$s"
    signalled "$signal" 000002 "$folder" --json
    if [ $rc = "$code" ]; then
        holds "stopped by SIG$signal: $code" stopped.err 'stopped by a signal after [1-6] of 7 frames'
    else
        fail "stopped by SIG$signal: $code" "exit code $rc: $(tail -n 1 stopped.err)"
    fi
    if [ -z "$(find "$folder" -name '*.part' 2>&1)" ]; then ok "no half files by SIG$signal"
    else fail "no half files by SIG$signal" "$(names "$folder")"; fi
done
trap '' HUP # as nohup does
signalled HUP 000002 kept
trap - HUP
if [ $rc = 0 ]; then ok "a SIGHUP that is ignored"; else fail "a SIGHUP that is ignored" "exit code $rc: $(tail -n 1 stopped.err)"; fi
signalled KILL 000004 stopped --skip-existing
check "go on" "$upres" -i in -o stopped "${W[@]}" "${Q[@]}" --batch-size 1 --skip-existing --json
holds "the result counts what was kept" check.out '"type":"result".*"skipped":[1-6]'
rm -f stopped/*.part
check "a run in one piece" "$upres" -i in -o piece "${W[@]}" "${Q[@]}" --batch-size 1
same "killed, gone on, and one run" piece stopped
check "nothing left to do" "$upres" -i in -o stopped "${W[@]}" "${Q[@]}" --batch-size 1 --skip-existing
cp -r two spaced && mv spaced/000002.png spaced/000003.png
check "a gap that is allowed" "$upres" -i spaced -o gapped "${W[@]}" "${Q[@]}" --allow-gaps
check "overwrite" "$upres" -i spaced -o gapped "${W[@]}" "${Q[@]}" --allow-gaps --overwrite
check "pattern in, pattern out" "$upres" -i two/%06d.png -o pattern/p_%03d.png "${W[@]}" "${Q[@]}"
if [ "$(names pattern)" = "p_001.png p_002.png " ]; then ok "numbers are kept"; else fail "numbers are kept" "$(names pattern)"; fi
check "a picture to a picture" "$upres" -i two/000001.png -o picture.png "${W[@]}" "${Q[@]}"
check "quiet" "$upres" -i two/000001.png -o quiet.png "${W[@]}" "${Q[@]}" -q
if [ ! -s check.err ]; then ok "quiet says nothing"; else fail "quiet says nothing" "$(head -n 1 check.err)"; fi
check "verbose" "$upres" -i two/000001.png -o verbose.png "${W[@]}" "${Q[@]}" -v
holds "verbose tells the files" check.err 'w.safetensors'
check "progress as JSON on stdout" "$upres" -i two -o json "${W[@]}" --scale 1 --color none --batch-size 1 --json
holds "progress and result lines" check.out '^\{"type":"progress","phase":' '^\{"type":"result","verb":"upscale"'
"$upres" -i in -o out "${W[@]}" --scale 9 --json >error.out 2>error.err
holds "errors as JSON" error.out '^\{"type":"error","exit_code":2,"message":".*--scale'
check "16 bits with alpha" "$upres" -i deep.png -o deep_out.png "${W[@]}" --scale 2 --color none --progress none
if [ "$(od -An -tu1 -j16 -N10 deep_out.png 2>/dev/null | tr -s ' \n' ' ')" = " 0 0 0 32 0 0 0 32 16 6 " ]; then
    ok "depth, alpha and size"
else
    fail "depth, alpha and size" "$(od -An -tu1 -j16 -N10 deep_out.png 2>&1 | tr -s ' \n' ' ')"
fi
if LC_ALL=C grep -qa 'gAMA' deep_out.png && LC_ALL=C grep -qa 'tEXtTitle' deep_out.png; then
    ok "metadata is kept"
else
    fail "metadata is kept" "gAMA or tEXt is lost"
fi
{ cat deep.png && echo 'bytes behind its end'; } >behind.png
check "a PNG with bytes behind its end" "$upres" -i behind.png -o behind_out.png "${W[@]}" --scale 2 --color none --progress none
check "its pixels are the same" cmp deep_out.png behind_out.png
(
    trap '' XFSZ
    ulimit -f 4
    "$upres" -i two -o full "${W[@]}" "${Q[@]}" >full.out 2>/dev/null
    echo $? >full.rc
)
if [ "$(cat full.rc)" = 1 ] && [ ! -e full ]; then
    ok "disk full"
else
    fail "disk full" "exit code $(cat full.rc), $(names full)"
fi
"$upres" --version >/dev/full 2>/dev/null
rc=$?
if [ $rc = 1 ]; then ok "stdout full"; else fail "stdout full" "exit code $rc, expected 1"; fi

# ------------------------------------------------------------------------------------------------------ encode, decode

check "encode" "$upres" encode -i in -o lat.safetensors "${W[@]}" --progress none
check "decode to a file" "$upres" decode -i lat.safetensors -o frames.safetensors "${W[@]}" --progress none
check "decode to pictures" "$upres" decode -i lat.safetensors -o decoded "${W[@]}" --progress none
if [ "$(names decoded)" = "$(names in)" ]; then
    ok "decode drops what encode added"
else
    fail "decode drops what encode added" "$(names decoded)"
fi
check "info of latents" "$upres" info lat.safetensors --json --checksums
holds "latents" check.out '"name":"latent","type":"F32","shape":\[16,3,12,20\]' '"frames":"7"'
# gzip's trailer has the same CRC-32 over the same bytes
crc=$(tail -c 46080 lat.safetensors | gzip -c | tail -c 8 | od -An -tx4 -N4 | tr -d ' ')
holds "checksum" check.out "\"crc32\":\"$crc\""
check "info of frames" "$upres" info frames.safetensors --json
holds "frames" check.out '"name":"frames","type":"F32","shape":\[3,7,96,160\]'
check "encode of a file" "$upres" encode -i frames.safetensors -o again.safetensors "${W[@]}" --progress none
check "decode of the file" "$upres" decode -i again.safetensors -o decoded2 "${W[@]}" --progress none
check "decode in tiles" "$upres" decode -i lat.safetensors -o tiled "${W[@]}" --progress none --vae-tile 64 --vae-tile-overlap 16
check "compare" "$upres" compare decoded tiled
holds "tiles are near the whole" check.out '^mean PSNR ([3-9][0-9]\.[0-9]+|inf) dB'
# files opened in place of closed streams are not what is printed into
"$upres" encode -i in -o closed.safetensors "${W[@]}" -v <&- >&- 2>&-
if cmp -s lat.safetensors closed.safetensors; then ok "encode with closed streams"; else fail "encode with closed streams" "other latents"; fi
"$upres" encode -i in -o closed.safetensors "${W[@]}" -v --overwrite 2>&-
if cmp -s lat.safetensors closed.safetensors; then ok "encode with stderr closed"; else fail "encode with stderr closed" "other latents"; fi
cp lat.safetensors spoilt.safetensors # [16, 3, 12, 20]
printf '\0\0\300\177' | dd of=spoilt.safetensors bs=1 seek=$(($(wc -c <lat.safetensors) - 46080 + 4 * ((5 * 3 * 12 + 1) * 20 + 3))) \
    conv=notrunc 2>dd.err
refused "latents that are no numbers" 3 'spoilt.safetensors: tensor `latent` .*not finite, in frame 0 at \(3, 1\) of channel 5' decode \
    -i spoilt.safetensors -o out "${W[@]}"
refused "decode onto latents" 2 'replace the input' decode -i lat.safetensors -o lat.safetensors "${W[@]}" --overwrite
refused "decode, existing output" 2 'exists already' decode -i lat.safetensors -o frames.safetensors "${W[@]}"
check "decode, existing kept" "$upres" decode -i lat.safetensors -o frames.safetensors "${W[@]}" --skip-existing
check "encode with an encoder alone" "$upres" encode -i in -o alone.safetensors -m encoder.safetensors --progress none
if cmp -s lat.safetensors alone.safetensors; then ok "the same latents"; else fail "the same latents" "they differ"; fi
refused "decode without a VAE" 3 'no SeedVR2 VAE among' decode -i lat.safetensors -o out -m other.safetensors
refused "decode with an encoder alone" 3 'decoder' decode -i lat.safetensors -o out -m encoder.safetensors
refused "decode of frames" 3 'no tensor .latent' decode -i frames.safetensors -o out "${W[@]}"
printf '\130\0\0\0\0\0\0\0{"frames":{"dtype":"F32","shape":[3,1,2,2],"data_offsets":[0,48]}}                      ' >odd.safetensors
head -c 48 /dev/zero >>odd.safetensors
printf '\120\0\0\0\0\0\0\0{"frames":{"dtype":"F32","shape":[3,2,2],"data_offsets":[0,48]}}                ' >flat.safetensors
head -c 48 /dev/zero >>flat.safetensors
refused "encode of a tensor that is no clip" 3 'shape \[3, 2, 2\], expected \[C, T, H, W\]' encode -i flat.safetensors \
    -o out.safetensors "${W[@]}"
refused "encode of a file of odd sizes" 3 '2x2.*multiples of 8' encode -i odd.safetensors -o out.safetensors "${W[@]}"

# ------------------------------------------------------------------------------------------------- plan, compare, bench

check "plan" "$upres" plan -i in "${W[@]}" --scale 4
holds "plan's lines" check.out '160x96 -> 640x384' 'host peak +[0-9.]+ MiB \([0-9]+ bytes\)' \
    'next +--batch-size 9 would take [0-9.]+ MiB'
check "plan in tiles" "$upres" plan -i in "${W[@]}" --scale 4 --vae-tile 256
holds "plan's next setting without tiles" check.out 'next +--vae-tile off would take [0-9.]+ MiB'
(ulimit -v 200000 && "$upres" plan -i in "${W[@]}" --scale 4) >check.out 2>check.err
holds "a plan within the shell's limit of memory" check.out '^decode +tiles of [0-9]+'
check "plan of one batch" "$upres" plan -i in "${W[@]}" --scale 4 --batch-size 9
if grep -q '^next' check.out; then fail "nothing is larger than all frames together" "$(grep '^next' check.out)"; else ok "nothing is larger than all frames together"; fi
check "plan of some frames" "$upres" plan -i in "${W[@]}" --scale 4 --frames 6-99
holds "those of their batch" check.out '^frames +2 in 1 batches, 5 computed' 'next +--batch-size 9 would take [0-9.]+ MiB'
holds "the end is cut, as upscaling does" check.err 'cut at the last frame, 7'
refused "plan of no frames" 2 '--frames 8-9.*1 to 7' plan -i in "${W[@]}" --frames 8-9
refused "plan encode --frames" 2 'encode works on the whole input' plan encode -i in "${W[@]}" --frames 1
check "plan in little memory" "$upres" plan -i in "${W[@]}" --scale 4 --memory 120M
holds "what the next setting needs at least" check.out 'next +--vae-tile off needs at least [0-9.]+ MiB, but 120.0 can be had'
check "plan --json" "$upres" plan upscale -i in "${W[@]}" --scale 4 --json
holds "plan's object" check.out '^\{"type":"result","verb":"plan","job":"upscale".*"output_width":640.*"host_peak":[0-9]+.*"next":\{"option":"--batch-size 9","peak_bytes":[0-9]+,"fits":true\}.*\}$'
check "plan decode" "$upres" plan decode -i lat.safetensors "${W[@]}"
holds "plan decode has a peak" check.out 'host peak'
header='{"latent":{"dtype":"F32","shape":[1,1,2,2],"data_offsets":[0,16]}}'
{ printf '%b\0\0\0\0\0\0\0%s' "\\$(printf %o ${#header})" "$header" && head -c 16 /dev/zero; } >narrow.safetensors
refused "plan decode of latents the decoder does not take" 3 'narrow.* 1 channels, but the network takes 16' \
    plan decode -i narrow.safetensors "${W[@]}"
check "plan encode" "$upres" plan encode -i in "${W[@]}"
card=(--device sm_120:70:2.452:896:16 --precision int8)
check "plan for a GPU" "$upres" plan decode -i lat.safetensors "${W[@]}" "${card[@]}"
if grep -q none "${GEN:-$root/build/gen}/disassembler"; then
    holds "no time is predicted, and why" check.out '^model +no time is predicted: .*without a disassembler' '^work +[0-9.e-]+ TFLOP$'
else
    holds "kernels of a predicted time" check.out '^  decode +gemm_[a-z0-9_]+ +[0-9]+ +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9]+ %' \
        '^ +all +[0-9.]+ +[0-9.]+$' '^model +2.452 GHz, .*L2 [0-9]+ bytes'
    check "plan for a GPU --json" "$upres" plan decode -i lat.safetensors "${W[@]}" "${card[@]}" --json
    holds "kernels as objects" check.out '"model":"2.452 GHz.*"kernels":\[\{"phase":"decode","name":"[^"]+","launches":[0-9]'
    check "plan of pictures for a GPU" "$upres" plan -i in "${W[@]}" --scale 4 "${card[@]}"
    holds "source and result of each of 7 frames" check.out '^  pictures +color_to_lab +7 '
fi
check "compare with a picture of both" "$upres" compare in whole -o both.png
holds "compare's means" check.out '^000001.png PSNR' '^mean PSNR [0-9.]+ dB SSIM 0\.[0-9]+ over 7 frames' '^pooled PSNR'
if [ "$(od -An -tu1 -j18 -N2 both.png 2>/dev/null | tr -s ' ')" = " 1 68" ]; then ok "side by side"; else fail "side by side" "not 324 wide"; fi
check "compare --json" "$upres" compare in in --json
holds "compare's object" check.out '^\{"type":"result","verb":"compare","identical":true,"mean_psnr":null'

finish
