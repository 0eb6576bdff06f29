# Sourced by tests of jobs on the emulated GPU, in the project's folder, with $build and $work set: counts, prints, and runs upres so
# that its log, its report and its exit status can be asked about. $work is emptied.

upres=$build/upres
rm -rf "$work"
mkdir -p "$work"
export UPRES_CUDA_DRIVER=$PWD/$build/tests/emulator/libcuda.so.1
passed=0 failed=0 skipped=0

tell() { # ok|FAIL|skip NAME [WHY]
    echo "$1 $2${3:+: $3}"
    case $1 in ok) passed=$((passed + 1)) ;; FAIL) failed=$((failed + 1)) ;; skip) skipped=$((skipped + 1)) ;; esac
}

holds() { # NAME COMMAND...
    local name=$1
    shift
    if "$@"; then tell ok "$name"; else tell FAIL "$name"; fi
}

finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" = 0 ]
    exit
}

# Nothing to do on a GPU whose kernels neither are built in nor can be compiled.
need_kernels() {
    "$upres" selftest --device cuda:0 'modulation/*' 2>&1 | grep -q 'install NVRTC' || return 0
    tell skip "the emulated GPU" "upres was built without NVRTC, and there is none here"
    finish
}

# run NAME SETTINGS OPTION... : a job with SeedVR2's demo weights, or those of the file $weights; NAME.log, NAME.report, NAME.status, and the pictures in NAME.
run() {
    local name=$1 settings=$2
    shift 2
    [[ $settings = *memory=* ]] || settings=memory=512M,$settings
    [ -f "$work/weights.safetensors" ] || "$upres" demo-weights seedvr2 -o "$work/weights.safetensors" >/dev/null
    UPRES_EMULATOR="sm=89,$settings,report=$work/$name.report" timeout 600 "$upres" -m "${weights:-$work/weights.safetensors}" \
        -o "$work/$name" --color none --precision bf16 -v "$@" >"$work/$name.log" 2>&1
    echo $? >"$work/$name.status"
}

reported() { # NAME WHAT: a number of the report
    awk -F '\t' -v what="$2" '$1 == what { n = $2 } END { print n + 0 }' "$work/$1.report"
}

# behind NAME : how often a job whose setting calls is NAME.calls waited for a result while the device had the networks' next step to
# do: 20 kernels or more, which image work without colours does not have, had been given out behind it.
behind() {
    awk -F '\t' '$1 == "cuEventSynchronize" && $4 == 1 && $3 >= 20 { n++ } END { print n + 0 }' "$work/$1.calls"
}

same() { # NAME NAME: the same pictures, of jobs that ended well
    diff -r "$work/$1" "$work/$2" >/dev/null && [ "$(cat "$work/$1.status" "$work/$2.status" | tr -d '\n')" = 00 ]
}

says() { # NAME TEXT
    grep -q "$2" "$work/$1.log"
}

ends_with() { # NAME STATUS
    [ "$(cat "$work/$1.status")" = "$2" ]
}
