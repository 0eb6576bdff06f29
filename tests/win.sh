#!/usr/bin/env bash
# upres for Windows, as ./build.sh win made it, under wine: tests/win.sh [BUILD_DIR [all]]
#
# BUILD_DIR: build/win. Without `all` a selection that takes a minute. Test programs run as they are, with the emulated GPU
# as nvcuda.dll; then the command works on files, and its results must be this system's bit for bit. Ends in "N passed, N
# failed, N skipped"; without wine every test is skipped by name. UPRES_NVRTC_WINDOWS: the path of an nvrtc64_130_0.dll (of
# the wheel nvidia-cuda-nvrtc for Windows, say), for the tests that compile kernels; without it they are skipped.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${1:-build/win}
tier=${2:-short}
work=$build/tests/work
logs=$build/tests/logs
mkdir -p "$work" "$logs"
export LC_ALL=C.UTF-8 WINEDEBUG=-all WINEPREFIX=$PWD/$build/wine WINEDLLOVERRIDES=mscoree,mshtml=
export UPRES_CACHE_DIR=none UPRES_NVRTC=${UPRES_NVRTC_WINDOWS:-none} UPRES_CUDA_DRIVER=none
emulated=$build/tests/emulator/nvcuda.dll
passed=0 failed=0 skipped=0

tell() { # ok|FAIL|skip NAME [WHY]
    printf '%-4s %s%s\n' "$1" "$2" "${3:+: $3}"
    case $1 in ok) passed=$((passed + 1)) ;; FAIL) failed=$((failed + 1)) ;; skip) skipped=$((skipped + 1)) ;; esac
}

wine=
for w in wine wine64 /usr/lib/wine/wine64; do
    if [ -z "$wine" ] && command -v "$w" >/dev/null; then wine=$w; fi
done
# Its server ends soon after the last program, and may be gone just when the next one asks for it: kept until this ends.
for server in wineserver /usr/lib/wine/wineserver; do
    if [ -n "$wine" ] && command -v "$server" >/dev/null && "$server" -p; then
        trap '"$server" -k' EXIT
        break
    fi
done
# The first start makes the prefix, which takes longest; a machine may have a wine that cannot.
if [ -n "$wine" ] && ! timeout 300 "$wine" "$build/upres.exe" --version >"$logs/start.txt" 2>&1; then
    tell FAIL "upres.exe --version" "$(tail -n 1 "$logs/start.txt")"
fi

# program NAME [ARGUMENT...]: a test program, its closing line counted, what failed shown.
program() {
    local name=$1 log=$logs/${1//\//_}.txt closing status
    if [ -z "$wine" ]; then
        tell skip "$name" "there is no wine"
        return
    fi
    shift
    timeout --kill-after=10 "${SECTION_SECONDS:-600}" "$wine" "$build/tests/$name.exe" "$@" >"$log" 2>&1
    status=$?
    closing=$(tail -n 1 "$log" | tr -d '\r')
    if [[ ! $closing =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped$ ]]; then
        tell FAIL "$name" "no closing line, exit status $status: $closing"
        return
    fi
    passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2])) skipped=$((skipped + BASH_REMATCH[3]))
    echo "$name${*:+ $*}: $closing"
    grep -B 4 '^FAIL' "$log" | head -n 40
    grep '^skip' "$log" | cut -c 1-100
    if [ "$status" != 0 ] && [ "${BASH_REMATCH[2]}" = 0 ]; then tell FAIL "$name" "exit status $status after a clean closing line"; fi
}

# gpu SETTINGS COMMAND...: with the emulated GPU.
gpu() {
    local settings=$1
    shift
    UPRES_CUDA_DRIVER=$emulated UPRES_EMULATOR=$settings "$@"
}

# Without PTX built in (no NVRTC when upres was built) there is nothing the emulated GPU could run.
built_in=
grep -qa '^\.target sm_80' "$build/upres.dll" && built_in=yes

# on_gpu SETTINGS NAME ARGUMENT...: a test program on the emulated GPU.
on_gpu() {
    local settings=$1 name=$2
    shift
    if [ -n "$built_in" ]; then gpu "$settings" program "$@"; else tell skip "$name on the emulated GPU" "upres was built without NVRTC"; fi
}

upres() { timeout 600 "$wine" "$build/upres.exe" "$@"; }

exports() {
    local objdump=${CROSS:-x86_64-w64-mingw32}-objdump
    if ! command -v "$objdump" >/dev/null; then
        tell skip "upres.dll exports what runtime/upres.sym lists" "there is no $objdump"
        return
    fi
    "$objdump" -p "$build/upres.dll" | awk '/Ordinal\/Name Pointer/ { on = 1 } on && /\[ *[0-9]+\]/ { print $NF } /^$/ { on = 0 }' |
        sort >"$work/exported"
    if grep -v '^#' runtime/upres.sym | grep . | sort | cmp -s - "$work/exported"; then
        tell ok "upres.dll exports what runtime/upres.sym lists"
    else
        tell FAIL "upres.dll exports what runtime/upres.sym lists" "see $work/exported"
    fi
    if "$objdump" -p "$build/upres.exe" "$build/upres.dll" "$emulated" | grep 'DLL Name' |
        grep -Eiv 'KERNEL32|msvcrt|SHELL32|upres\.dll|api-ms-win' >"$work/imported"; then
        tell FAIL "nothing but Windows' own libraries is needed" "$(tr -s '\t\n' ' ' <"$work/imported")"
    else
        tell ok "nothing but Windows' own libraries is needed"
    fi
}

# same NAME A B: pictures equal to the last bit. By this system's command, or that of Windows.
same() {
    local command=upres
    if [ -x build/upres ]; then command=build/upres; fi
    if $command compare "$2" "$3" --json 2>"$work/said" | grep -q '"identical":true'; then
        tell ok "$1"
    else
        tell FAIL "$1" "$(head -n 1 "$work/said")"
    fi
}

# enlarge NAME FRAMES OUTPUT WEIGHTS OPTION...: here and there, and the pictures must be the same.
enlarge() {
    local name=$1 frames=$2 out=$3 weights=$4
    shift 4
    rm -rf "$out" "$out.here"
    if ! upres -i "$frames" -o "$out" -m "$weights" --scale 4 --color none -q "$@" 2>"$work/said"; then
        tell FAIL "$name" "$(tail -n 1 "$work/said")"
    elif [ ! -x build/upres ]; then
        tell skip "$name: bits as here" "there is no build/upres"
    elif ! build/upres -i "$frames" -o "$out.here" -m "$weights" --scale 4 --color none -q "$@" 2>"$work/said"; then
        tell FAIL "$name" "build/upres: $(tail -n 1 "$work/said")"
    else
        same "$name: bits as here" "$out" "$out.here"
    fi
}

command_works() {
    local frames=tests/data/tiny/lr names="$work/Wörter и 言葉"
    if [ -z "$wine" ]; then
        for name in "demo weights" "names beyond the code page" "seedvr2" "flashvsr" "stopped and refused"; do
            tell skip "$name" "there is no wine"
        done
        return
    fi
    rm -rf "$names" && mkdir -p "$names"
    if upres demo-weights seedvr2 -o "$work/w.safetensors" --overwrite 2>"$work/said" >/dev/null &&
        { [ ! -x build/upres ] || build/upres demo-weights seedvr2 -o "$work/w.here" --overwrite >/dev/null; } &&
        { [ ! -x build/upres ] || cmp -s "$work/w.safetensors" "$work/w.here"; }; then
        tell ok "demo weights"
    else
        tell FAIL "demo weights" "$(tail -n 1 "$work/said")"
    fi
    enlarge seedvr2 "$frames" "$work/sv" "$work/w.safetensors"
    # by names that no code page has, each part of the command; then over what is there, and refused
    cp "$work/w.safetensors" "$names/вес.safetensors" && cp -r "$frames" "$names/画"
    if upres -i "$names/画/%06d.png" -o "$names/aus" -m "$names/вес.safetensors" --scale 4 --color none -q 2>"$work/said" &&
        upres -i "$names/画" -o "$names/aus" -m "$names/вес.safetensors" --scale 4 --color none -q --overwrite \
            2>"$work/said" && ! find "$names" -name '*.part' | grep -q .; then
        same "names beyond the code page, files replaced" "$names/aus" "$work/sv"
    else
        tell FAIL "names beyond the code page, files replaced" "$(tail -n 1 "$work/said")"
    fi
    upres -i "$names/画" -o "$names/aus" -m "$names/вес.safetensors" --scale 4 >/dev/null 2>"$work/said"
    if [ $? = 2 ] && grep -q '画\|aus' "$work/said"; then
        tell ok "what is there is not replaced unasked"
    else
        tell FAIL "what is there is not replaced unasked" "$(tail -n 1 "$work/said")"
    fi
    if upres info "$names/вес.safetensors" --json --checksums >"$work/info" 2>"$work/said" && ! grep -q $'\r' "$work/info" &&
        { [ ! -x build/upres ] || build/upres info "$names/вес.safetensors" --json --checksums | cmp -s - "$work/info"; }; then
        tell ok "info: the same bytes"
    else
        tell FAIL "info: the same bytes" "$(tail -n 1 "$work/said")"
    fi
    if [ -z "$built_in" ]; then
        tell skip "selftest on the emulated GPU" "upres was built without NVRTC"
    elif gpu sm=120 upres selftest --device cuda:0 'modulation/*' >"$work/said" 2>&1 && grep -q '4 ok, 0 failed' "$work/said"; then
        tell ok "selftest on the emulated GPU"
    else
        tell FAIL "selftest on the emulated GPU" "$(tail -n 1 "$work/said")"
    fi
    [ "$tier" = all ] || return
    upres demo-weights flashvsr -o "$work/f.safetensors" --overwrite >/dev/null
    enlarge flashvsr "$frames" "$work/fv" "$work/f.safetensors"
    # here with the driver of this system: equal bits from equal PTX
    rm -rf "$work/gpu" "$work/gpu.here"
    if [ -z "$built_in" ] || [ ! -e build/tests/emulator/libcuda.so.1 ]; then
        tell skip "seedvr2 on the emulated GPU: bits as here" "no NVRTC, or no build/tests/emulator/libcuda.so.1"
    elif gpu sm=120 upres -i "$frames" -o "$work/gpu" -m "$work/w.safetensors" --scale 4 -q --device cuda --precision bf16 --memory 8G 2>"$work/said" &&
        UPRES_EMULATOR=sm=120 UPRES_CUDA_DRIVER=$PWD/build/tests/emulator/libcuda.so.1 build/upres -i "$frames" \
            -o "$work/gpu.here" -m "$work/w.safetensors" --scale 4 -q --device cuda --precision bf16 --memory 8G 2>"$work/said"; then
        same "seedvr2 on the emulated GPU: bits as here" "$work/gpu" "$work/gpu.here"
    else
        tell FAIL "seedvr2 on the emulated GPU: bits as here" "$(tail -n 1 "$work/said")"
    fi
}

exports
command_works
program emulator/test_core
program kernels
program decoders
program pipeline
program api "$build"
program weight_room
program cuda_driver
on_gpu sm=120 kernels --device cuda 'dev_*'
if [ "$tier" = all ]; then
    program emulator/test_driver
    program loader
    program stream
    program cuda_cache
    if [ -n "$built_in" ]; then program cuda_device; else tell skip cuda_device "upres was built without NVRTC"; fi
    program goldens tests/data/goldens
    for sm in 80 120; do SECTION_SECONDS=3600 on_gpu "sm=$sm" kernels --device cuda; done
fi
for name in cli demo flashvsr selftest e2e ptx_checks sass_checks fuzz; do
    if [ "$tier" = all ]; then tell skip "$name" "asks this system's shell or tools, and is run here alone"; fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
