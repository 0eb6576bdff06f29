#!/usr/bin/env bash
# Runs every test program in build/ and adds up their closing lines. `tests/run.sh` is the short tier, `tests/run.sh all`
# also the long one. Called by build.sh, which has built build/ before.
#
# A test program ends its output with the line "N passed, N failed, N skipped". One that does not, because it crashed or
# hung, counts as one failed test and is named.
set -u
cd "$(dirname "$0")/.." || exit 1

tier=${1:-short}
shared=${UPRES_SHARED:-../shared}
export UPRES_SHARED=$shared
export UPRES_CACHE_DIR=$PWD/build/tests/cache # of compiled kernels
export UPRES_CUDA_DRIVER=none # the CPU, whatever this machine has; GPU sections name a driver of their own
logs=build/tests/logs
mkdir -p "$logs"
rm -f "$logs"/*.done # of a run before

passed=0 failed=0 skipped=0
broken=() # names of the sections with failures

add() { # PASSED FAILED SKIPPED
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

# Sections run side by side, as many as there are processors; most keep one busy. What they print comes in their order.
sections=() # names of those begun
shown=0     # of them

# section NAME COMMAND...: run it, show its output, count its closing line.
section() {
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n; done
    show_done
    sections+=("$1")
    run_section "$@" &
}

log_of() { echo "$logs/${1//[^A-Za-z0-9_.-]/_}.txt"; } # NAME

run_section() { # NAME COMMAND...
    local log began=$SECONDS status
    log=$(log_of "$1")
    shift
    rm -f "$log.done"
    timeout --kill-after=10 "${SECTION_SECONDS:-900}" "$@" >"$log" 2>&1
    status=$?
    echo "$status $((SECONDS - began))" >"$log.done"
}

# Those that have ended, up to the first that has not.
show_done() {
    while [ "$shown" -lt ${#sections[@]} ] && [ -s "$(log_of "${sections[shown]}").done" ]; do
        show_section "${sections[shown]}"
        shown=$((shown + 1))
    done
}

show_section() { # NAME
    local name=$1 log closing status seconds
    log=$(log_of "$name")
    read -r status seconds <"$log.done"
    echo
    echo "== $name"
    cat "$log"
    closing=$(tail -n 1 "$log")
    if [[ $closing =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped$ ]]; then
        add "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}" "${BASH_REMATCH[3]}"
        if [ "${BASH_REMATCH[2]}" != 0 ]; then
            broken+=("$name")
        elif [ "$status" != 0 ]; then
            add 0 1 0
            broken+=("$name: exit status $status after a clean closing line")
        fi
    else
        add 0 1 0
        broken+=("$name: no closing line, exit status $status")
    fi
    echo "== $name: $seconds s"
}

# absent NAME WHY: one test skipped by name.
absent() {
    echo
    echo "== $1"
    echo "skip $1: $2"
    add 0 0 1
}

# program NAME [ARGUMENT...]: a test program of the build tree.
program() {
    local name=$1
    shift
    section "$name" "build/tests/$name" "$@"
}

# sanitized NAME [ARGUMENT...]: the same from the sanitizers' tree. Leaks are found too.
sanitized() {
    local name=$1
    shift
    if [ -n "$sanitizers" ]; then
        section "asan $name" env UBSAN_OPTIONS=print_stacktrace=1 "build/asan/tests/$name" "$@"
    else
        absent "asan $name" "${CC:-cc} has no sanitizers here"
    fi
}

# golden_areas PREFIX PROGRAM-AND-ENVIRONMENT...: all areas of the shared golden cases.
golden_areas() {
    local prefix=$1 area
    shift
    for area in formats seedvr2_vae seedvr2_dit seedvr2_pipeline flashvsr tcdecoder wan_vae; do
        if [ -d "$shared/goldens/$area" ]; then
            section "$prefix $area" "$@" "$shared/goldens/$area"
        else
            absent "$prefix $area" "$shared/goldens/$area is not there; UPRES_SHARED names the folder that holds goldens/"
        fi
    done
}

has_cpu() { # of UPRES_CPU's values
    case $1 in
    scalar) true ;;
    avx2) grep -qw avx2 /proc/cpuinfo 2>/dev/null ;;
    avx512) grep -qw avx512f /proc/cpuinfo 2>/dev/null ;;
    esac
}

headers() {
    local ok=0 bad=0 none=0
    if "${CC:-cc}" -std=c99 -pedantic -Wall -Wextra -Werror -I. -fsyntax-only tests/header.c; then
        echo "ok   header in C99" && ok=$((ok + 1))
    else
        echo "FAIL header in C99" && bad=$((bad + 1))
    fi
    if ! command -v "${CXX:-g++}" >/dev/null; then
        echo "skip header in C++: no ${CXX:-g++}" && none=$((none + 1))
    elif "${CXX:-g++}" -pedantic -Wall -Wextra -Werror -I. -fsyntax-only tests/header.cpp; then
        echo "ok   header in C++" && ok=$((ok + 1))
    else
        echo "FAIL header in C++" && bad=$((bad + 1))
    fi
    echo "$ok passed, $bad failed, $none skipped"
}
export -f headers

# The golden runner itself: results with a figure changed must fail.
wrong_goldens() {
    local closing
    closing=$(build/tests/goldens tests/data/goldens_bad | tail -n 1)
    if [ "$closing" = "0 passed, 2 failed, 0 skipped" ]; then
        echo "ok   changed results are noticed"
        echo "1 passed, 0 failed, 0 skipped"
    else
        echo "FAIL changed results: the runner ended in '$closing', expected 0 passed, 2 failed"
        echo "0 passed, 1 failed, 0 skipped"
    fi
}
export -f wrong_goldens

# What Windows gets, built by mingw-w64 and run under wine: a part of what `./build.sh win all` runs.
windows() {
    local cross=x86_64-w64-mingw32
    if ! command -v $cross-gcc >/dev/null || ! command -v wine >/dev/null; then
        absent windows "there is no $cross-gcc or no wine"
    elif ! printf '#include <zlib.h>\n' | $cross-gcc -E - >/dev/null 2>&1; then
        absent windows "there is no zlib for $cross-gcc (libz-mingw-w64-dev)"
    else
        section windows bash -c "make -s -j$(nproc) B=build/win CC=$cross-gcc && bash tests/win.sh build/win"
    fi
}

# The sanitizers' tree: only what is run from it.
sanitizers=
if echo 'int main(void) { return 0; }' |
    "${CC:-cc}" -fsanitize=address,undefined -x c -o "$logs/sanitizer" - 2>/dev/null; then
    sanitizers=yes
    echo "== build with sanitizers"
    programs=(upres tests/loader tests/api tests/kernels tests/decoders tests/goldens
        tests/emulator/test_core tests/emulator/test_driver tests/cuda_driver tests/cuda_cache)
    make -s -j"$(nproc)" B=build/asan SANITIZE=address,undefined "${programs[@]/#/build/asan/}" ||
        { add 0 1 0 && broken+=("build with sanitizers"); }
fi

section headers bash -c headers
program loader
program kernels
program pipeline
program flash_share
program decoders
program api build
program stream
program emulator/test_core
program emulator/test_driver
program cuda_driver
program cuda_cache
program cuda_device
program weight_room
program memory_limit
program predict
program ptx_checks
program bench_cases
program sass_checks
section cli bash tests/cli.sh build
section demo bash tests/demo.sh build
section flashvsr bash tests/flashvsr.sh build
section selftest bash tests/selftest.sh build
section bench bash tests/bench.sh build
windows
section "plan memory" bash tests/plan_memory.sh build
section "cuda kernels" bash tests/cuda.sh build 80 89 90 120
section "cuda goldens" bash tests/cuda_goldens.sh build fp32 bf16 int8
section "cuda demo" bash tests/cuda_demo.sh build
section "cuda several" bash tests/cuda_several.sh build
section "cuda memory" bash tests/cuda_memory.sh build
sanitized loader
sanitized kernels
sanitized decoders
sanitized emulator/test_core
sanitized emulator/test_driver
sanitized cuda_driver
sanitized cuda_cache
sanitized api build/asan
program goldens tests/data/goldens
section "wrong goldens" bash -c wrong_goldens
golden_areas goldens build/tests/goldens
program e2e build

if [ "$tier" = all ]; then
    SECTION_SECONDS=7200
    for cpu in scalar avx2 avx512; do
        if has_cpu $cpu; then
            golden_areas "goldens $cpu" env UPRES_CPU=$cpu build/tests/goldens
            section "e2e $cpu" env UPRES_CPU=$cpu build/tests/e2e build
        else
            absent "goldens $cpu" "this CPU has no $cpu"
        fi
    done
    for area in seedvr2_vae seedvr2_dit flashvsr tcdecoder wan_vae; do
        for precision in fp32 bf16 int8; do
            if [ -d "$shared/goldens/$area" ]; then
                section "cuda goldens $area $precision" env UPRES_CUDA_DRIVER=build/tests/emulator/libcuda.so.1 \
                    build/tests/goldens --device cuda --precision $precision "$shared/goldens/$area"
            else
                absent "cuda goldens $area $precision" "$shared/goldens/$area is not there"
            fi
        done
    done
    section "cuda memory all" bash tests/cuda_memory.sh build all
    section "cuda several all" bash tests/cuda_several.sh build all
    sanitized stream
    sanitized goldens tests/data/goldens
    golden_areas "asan goldens" build/asan/tests/goldens
fi

wait
show_done
echo
echo "all tests: $SECONDS s"
[ ${#broken[@]} = 0 ] || printf 'FAILED: %s\n' "${broken[@]}"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
