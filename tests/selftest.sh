#!/usr/bin/env bash
# upres selftest as a user meets it: tests/selftest.sh BUILD_DIR. On the CPU, and on the emulated driver where that is built.
# Prints ok|FAIL|skip NAME lines and "N passed, N failed, N skipped".
set -u
. "$(dirname "$0")/checks.sh"
begin "${1:?usage: tests/selftest.sh BUILD_DIR}"
emulator=$build/tests/emulator/libcuda.so.1
unset UPRES_CPU UPRES_NVRTC UPRES_EMULATOR
export UPRES_CUDA_DRIVER=none UPRES_CACHE_DIR=${UPRES_CACHE_DIR:-none}

# ------------------------------------------------------------------------------------------------------------ the command

check "help" "$upres" selftest -h
holds "help lists its options" check.out '--report FILE' '--device' '--precision'
refused "two patterns" 2 'unexpected argument "b"' selftest a b
refused "no such case" 2 'no self-test is called nosuch' selftest nosuch
refused "no such GPU" 2 'cuda:0 cannot be used.*--device cpu' selftest --device cuda:0
refused "no such device" 2 '"tpu" for --device' selftest --device tpu
refused "int8 on the CPU" 2 'int8 is not offered by the cpu' selftest --device cpu --precision int8
refused "int8 without a GPU" 2 '--precision int8|no GPU is tested' selftest --precision int8
refused "report in no folder" 1 'nowhere' selftest --device cpu --report nowhere/report.txt
refused "an option of others" 2 '--scale is not an option of selftest' selftest --scale 2

# ------------------------------------------------------------------------------------------------------------------- CPU

if "$upres" selftest --device cpu --report report.txt >cpu.out 2>cpu.err && [ ! -s cpu.err ]; then
    ok "all cases on the CPU"
else
    fail "all cases on the CPU" "$(grep -A 1 FAIL cpu.out | head -n 2 | tr '\n' ' ')$(head -n 1 cpu.err)"
fi
holds "the table" cpu.out '^case +device +version +error +allowed +ms$' '^conv3d/first_layer +cpu +[a-z0-9]+ +[0-9.e+-]+ +[0-9.e+-]+ +ok +[0-9.]+$' \
    '^stored/q4_k ' '^tiles/' '^attention/' '^block_mask/' '^[0-9]+ ok, 0 failed$'
holds "the report" report.txt '^upres selftest, 20' '^upres [0-9.]+, interface' '^system: ' '^processor: ' '^memory: ' \
    '^GPU: none, ' '^linear/glu ' '^[0-9]+ ok, 0 failed$'
if [ -e report.txt.part ]; then fail "the report is whole" "report.txt.part is there"; else ok "the report is whole"; fi
"$upres" selftest --device cpu --report report.txt 'rotate/*' >/dev/null 2>again.err
[ $? = 2 ] && ok "an old report stays" || fail "an old report stays" "$(cat again.err)"
check "an old report is replaced" "$upres" selftest --device cpu --report report.txt --overwrite 'rotate/*'
if grep -q '^conv3d' report.txt; then fail "a pattern picks cases" "conv3d ran too"; else ok "a pattern picks cases"; fi
check "as JSON" "$upres" selftest --device cpu --json 'rotate/*'
holds "JSON" check.out '^\{"type":"result","verb":"selftest","name":"rotate/heads_of_20","device":"cpu",.*"ok":true,.*\}$' \
    '^\{"type":"result","verb":"selftest","passed":[0-9]+,"failed":0\}$'
UPRES_CPU=scalar "$upres" selftest --device cpu 'linear/*' >scalar.out 2>&1
holds "plain C alone" scalar.out '^linear/glu +cpu +scalar +0.0e\+00 ' ' 0 failed$'
"$upres" selftest 'rotate/*' >all.out 2>all.err
[ $? = 0 ] && grep -q '^upres: no GPU is tested: ' all.err && ok "without a GPU" || fail "without a GPU" "$(cat all.err)"

# ------------------------------------------------------------------------------------------------------------------- GPU

if [ ! -e "$emulator" ]; then
    skip "GPU" "the emulated driver is not built"
    finish
fi
export UPRES_CUDA_DRIVER=$emulator
if ! "$upres" selftest --device cuda:0 'modulation/*' >cuda.out 2>cuda.err && grep -q 'install NVRTC' cuda.out cuda.err; then
    skip "GPU" "upres was built without NVRTC, and there is none here"
    finish
fi
for sm in ${SELFTEST_PARTS:-120}; do
    if UPRES_EMULATOR=sm=$sm "$upres" selftest --device cuda:0 --report sm_$sm.txt >sm_$sm.out 2>sm_$sm.err && [ ! -s sm_$sm.err ]; then
        ok "all cases on an emulated sm_$sm"
    else
        fail "all cases on an emulated sm_$sm" "$(grep -A 1 FAIL sm_$sm.out | head -n 2 | tr '\n' ' ')$(head -n 1 sm_$sm.err)"
    fi
    holds "the report of an emulated sm_$sm" sm_$sm.txt '^driver: for CUDA 13' "^cuda:0: .*compute capability ${sm%?}\.${sm#"${sm%?}"}" \
        '^  kernels: compute_[0-9a-f]+, (NVRTC|PTX built in)' '^conv3d/wide +cuda:0 +int8 ' '^[0-9]+ ok, 0 failed$'
done

# Everything, CPU and GPU, and one precision alone.
check "all devices" "$upres" selftest --device all 'rotate/*'
holds "all devices are named" check.out ' cpu ' ' cuda:0 +fp32 ' ' cuda:0 +bf16 '
check "one precision" "$upres" selftest --device cuda:0 --precision bf16 'rotate/*'
if grep -q fp32 check.out; then fail "one precision alone" "fp32 was tested"; else ok "one precision alone"; fi

# An allocation that fails in the middle (some are optional, so it takes a few tries to meet one that is not): that case fails
# with the driver's words, the next ones run on a device opened anew.
for n in 2 3 4 5 6 7 8 9; do
    UPRES_EMULATOR=fail_alloc=$n "$upres" selftest --device cuda:0 'linear/*' --overwrite --report failed.txt >failed.out 2>failed.err
    rc=$?
    if [ $rc = 1 ] && ! grep -q 'not run there' failed.out; then break; fi
done
[ $rc = 1 ] && grep -Eq '^upres: 1 of [0-9]+ cases failed; the report holds' failed.err &&
    ok "a failing device" || fail "a failing device" "exit code $rc: $(cat failed.err)"
holds "what the driver says, and the rest" failed.txt ' FAIL ' '^    .*CUDA_ERROR_OUT_OF_MEMORY' '^[1-9][0-9]* ok, 1 failed$'
UPRES_EMULATOR=fail_alloc=1 "$upres" selftest --device cuda:0 'modulation/*' >failed.out 2>failed.err
holds "a device that does not open" failed.out '^    .*what is left is not run there$' ' ok, 1 failed$'

finish
