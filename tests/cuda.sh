#!/usr/bin/env bash
# The CUDA device on the emulated driver: tests/cuda.sh BUILD SM... runs the kernel tests as each of these parts with the PTX
# built in, looks at which of its lines ran, and compares its results bit for bit with those of kernels that NVRTC makes (for
# the first and the last part).
# Ends in "N passed, N failed, N skipped". Without PTX built in (no NVRTC when upres was built) NVRTC's kernels are all there is.
set -u
cd "$(dirname "$0")/.." || exit 1
build=$1
shift
export UPRES_CUDA_DRIVER=$PWD/$build/tests/emulator/libcuda.so.1
passed=0 failed=0 skipped=0
logs=$build/tests/logs
mkdir -p "$logs"

tell() { # ok|FAIL|skip NAME [WHY]
    echo "$1 $2${3:+: $3}"
    case $1 in ok) passed=$((passed + 1)) ;; FAIL) failed=$((failed + 1)) ;; skip) skipped=$((skipped + 1)) ;; esac
}

# kernels_as SM LOG OPTION... : the kernel tests; true when all passed.
kernels_as() {
    local sm=$1 log=$2
    shift 2
    UPRES_EMULATOR="sm=$sm,seed=$sm${EMULATOR_MORE:-}" "$build/tests/kernels" --device cuda --digest "$@" >"$log" 2>&1
}

# Names of tests with the hash of their results.
digests() { awk '/^ok |^FAIL / { print $2, $NF }' "$1"; }

# Lines of each kernel that no test ran: at least 98 in 100 must.
covered() { # FILE SM
    awk -F '\t' -v sm="$2" '
        { total[$1 "\t" $2 "\t" $4] += $3 }
        END {
            for (key in total) {
                split(key, part, "\t")
                lines[part[1]]++
                if (total[key] > 0) ran[part[1]]++
            }
            for (kernel in lines) {
                share = 100 * ran[kernel] / lines[kernel]
                verdict = share >= 98 ? "ok" : "FAIL"
                printf "%s\tsm_%s %s: %d of %d PTX lines ran\t%.1f %%\n", verdict, sm, kernel, ran[kernel], lines[kernel], share
            }
        }' "$1" | sort -t "$(printf '\t')" -k 2
}

built_in=
strings "$build/libupres.so" 2>/dev/null | grep -q '^.target sm_80' && built_in=yes

compared() { [ "$1" = "$first" ] || [ "$1" = "$last" ]; } # SM
first=${1:-} last=${!#}

# run_part SM: with the PTX built in and, where that is compared, with NVRTC; exit statuses beside the logs. NVRTC runs all but
# convolutions and products, which take longest.
run_part() {
    local log=$logs/cuda_$1.txt
    UPRES_NVRTC=none EMULATOR_MORE=",coverage=$logs/coverage_$1.txt" kernels_as "$1" "$log"
    echo $? >"$log.status"
    compared "$1" || return
    kernels_as "$1" "$log.nvrtc" '[!c]*'
    echo $? >"$log.nvrtc.status"
}

# As many parts at once as there are processors: one keeps few of them busy.
if [ -n "$built_in" ]; then
    for sm in "$@"; do
        rm -f "$logs/coverage_$sm.txt" "$logs/cuda_$sm.txt"*
        while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n; done
        run_part "$sm" &
    done
    wait
fi

for sm in "$@"; do
    log=$logs/cuda_$sm.txt
    if [ -z "$built_in" ]; then
        tell skip "sm_$sm with the PTX built in" "upres was built without NVRTC"
        continue
    fi
    if [ "$(cat "$log.status")" = 0 ]; then
        tell ok "sm_$sm: $(tail -n 1 "$log")"
    else
        tell FAIL "sm_$sm" "$(grep -m 3 FAIL "$log"; tail -n 1 "$log")"
    fi
    while IFS=$'\t' read -r verdict what share; do
        tell "$verdict" "$what" "$share"
    done < <(covered "$logs/coverage_$sm.txt" "$sm")
    compared "$sm" || continue
    if [ "$(cat "$log.nvrtc.status")" != 0 ]; then
        tell FAIL "sm_$sm with NVRTC" "$(grep -m 3 FAIL "$log.nvrtc"; tail -n 1 "$log.nvrtc")"
    elif [ -z "$(digests "$log.nvrtc" | grep -vxFf <(digests "$log"))" ]; then
        tell ok "sm_$sm: NVRTC's kernels and those built in give the same bits"
    else
        tell FAIL "sm_$sm" "NVRTC's kernels give other bits than those built in"
    fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
