#!/usr/bin/env bash
# upres bench as a user meets it: tests/bench.sh BUILD_DIR. On the CPU, and on the emulated driver where that is built: on the
# smallest cases, whose times say nothing. Prints ok|FAIL|skip NAME lines and "N passed, N failed, N skipped".
set -u
. "$(dirname "$0")/checks.sh"
begin "${1:?usage: tests/bench.sh BUILD_DIR}"
emulator=$build/tests/emulator/libcuda.so.1
unset UPRES_CPU UPRES_EMULATOR
export UPRES_CUDA_DRIVER=none UPRES_NVRTC=none UPRES_CACHE_DIR=none

# ------------------------------------------------------------------------------------------------------------ the command

check "help" "$upres" bench -h
holds "help lists its options" check.out '--plot FILE.svg' '--csv' '--json' '--device' '--precision'
refused "two patterns" 2 'unexpected argument "b"' bench a b
refused "two formats" 2 '--json and --csv contradict' bench --json --csv
refused "a plot that is no SVG" 2 '"x.png" for --plot: expected a name that ends in .svg' bench --plot x.png
refused "no such benchmark" 2 'no benchmark is called nosuch; names begin with conv3d/, norm_conv3d/, linear/' bench nosuch
refused "half a name" 2 'no benchmark is called linear; "\*linear\*" would be linear/.* and others' bench linear
refused "no such GPU" 2 'cuda:0 cannot be used.*--device cpu' bench --device cuda:0
refused "no such device" 2 '"tpu" for --device' bench --device tpu
refused "int8 on the CPU" 2 'int8 is not offered by the cpu' bench --device cpu --precision int8 'linear/*'
refused "a plot of another verb" 2 '--plot is not an option of compare .bench takes it' compare a b --plot x.svg
echo old >there.svg
refused "an old plot stays" 2 'there.svg' bench --device cpu 'rows/128/70' --plot there.svg
refused "a plot in no folder" 1 'nowhere' bench --device cpu 'rows/128/70' --plot nowhere/x.svg

# --------------------------------------------------------------------------------------------------------------- formats

# JSON_FILE SVG_FILE: what readers of google/benchmark's files want, and as many points as measurements.
read_json() {
    python3 - "$1" "$2" <<'PYTHON'
import json, sys, xml.dom.minidom
run = json.load(open(sys.argv[1]))
context, rows = run["context"], run["benchmarks"]
for key in "date executable library_version commit device driver kernels emulated units clock_hz cold limits".split():
    assert key in context, key
assert context["json_schema_version"] == 1
for limit in context["limits"]:
    assert limit["name"] and limit["flop_per_clock"] > 0
for row in rows:
    assert row["name"] == row["run_name"] and row["run_type"] == "iteration", row
    assert row["iterations"] >= 1 and row["time_unit"] == "ns", row
    assert row["real_time"] > 0 and row["cpu_time"] > 0 and row["cold_time"] > 0 and row["spread"] >= 0, row
    assert abs(row["FLOPS"] * row["real_time"] * 1e-9 / row["flop"] - 1) < 1e-6, row
    assert abs(row["bytes_per_second"] * row["real_time"] * 1e-9 / row["bytes"] - 1) < 1e-6, row
picture = xml.dom.minidom.parse(sys.argv[2])
points = [e for e in picture.getElementsByTagName("*") if e.getAttribute("class") == "point"]
assert len(points) == len(rows), (len(points), len(rows))
ceilings = " ".join(e.firstChild.data for e in picture.getElementsByTagName("text") if e.getAttribute("class") == "limit")
for limit in context["limits"]:
    assert limit["name"] in ceilings, limit["name"]
print(len(rows), " ".join(row["name"].split("/")[-1] for row in rows))
PYTHON
}

# NAME FILE PATTERN: its versions are those.
reads() {
    if ! command -v python3 >/dev/null; then
        skip "$1" "no python3"
    elif read_json "$2.json" "$2.svg" >read.out 2>&1 && grep -Eq "$3" read.out; then
        ok "$1"
    else
        fail "$1" "$(tail -n 1 read.out)"
    fi
}

"$upres" bench --device cpu 'linear/70x128x128' --json --plot cpu.svg >cpu.json 2>cpu.err
[ $? = 0 ] && [ ! -s cpu.err ] && ok "on the CPU" || fail "on the CPU" "$(cat cpu.err)"
reads "JSON and plot" cpu '^[1-3] scalar'
UPRES_CPU=scalar "$upres" bench --device cpu 'rows/128/70' --csv --plot there.svg --overwrite >rows.csv 2>rows.err
[ $? = 0 ] && ok "as CSV" || fail "as CSV" "$(cat rows.err)"
holds "CSV" rows.csv \
    '^name,version,kernel,runs,seconds,spread,cold_seconds,cpu_seconds,flop,bytes,tflops,gbytes_per_second,flop_per_clock_per_unit,limit,flop_limit_percent,memory_limit_percent$' \
    '^"rows/128/70",scalar,,[0-9]+,[0-9.e-]+,[0-9.e+-]+,[0-9.e-]+,[0-9.e-]+,,[0-9]+,,[0-9.e+-]+,,,,[0-9.e+-]+$'
holds "what CSV has no place for" rows.err '^upres [0-9.]+' '^device: cpu: ' '^cold: '
holds "an old plot is replaced" there.svg '^<svg ' 'class="point"' '</svg>'
check "a table" "$upres" bench --device cpu 'noise/16/8x10'
holds "the table" check.out '^device: cpu: ' '^clock: [0-9.]+ GHz' '^memory: [0-9.]+ GB/s' \
    '^name +version +ms +spread +cold ms +TFLOP/s +GB/s +/clk +of its limit$' '^noise/16/8x10 +[a-z0-9]+ +[0-9.e-]+ +[0-9.]+% .* % memory$'
check "a version's name" "$upres" bench --device cpu --csv 'add/32/1x12x20/scalar'
[ "$(grep -c '^"add' check.out)" = 1 ] && ok "one version" || fail "one version" "$(grep -c '^"add' check.out) of them"

# ------------------------------------------------------------------------------------------------------------------- GPU

if [ ! -e "$emulator" ]; then
    skip "GPU" "the emulated driver is not built"
    finish
fi
export UPRES_CUDA_DRIVER=$emulator UPRES_EMULATOR=sm=120
"$upres" bench --device cuda --precision bf16 'linear/70x128x128' --json --plot gpu.svg >gpu.json 2>gpu.err
[ $? = 0 ] && [ ! -s gpu.err ] && ok "on a GPU" || fail "on a GPU" "$(cat gpu.err)"
reads "JSON and plot of a GPU" gpu '^[3-9] bf16 bf16:256x128 .*bf16:64x64'
holds "context of a GPU" gpu.json '"device":"cuda:0: Emulated' '"emulated":true' '"driver":"for CUDA 13.0' '"kernels":"PTX built in' \
    '"name":"bf16 mma","flop_per_clock":512' '"limit":"bf16 mma"' '"label":"gemm_bf16_'
check "tiles alone" "$upres" bench --device cuda --csv 'linear/70*/bf16:*x64'
[ "$(grep '^"' check.out | cut -d, -f2 | sort | tr '\n' ' ')" = "bf16:128x64 bf16:64x64 " ] && ok "tiles by name" ||
    fail "tiles by name" "$(cut -d, -f2 check.out | tr '\n' ' ')"
if grep -q 'left out' check.err; then fail "no more than they" "$(tail -n 1 check.err)"; else ok "no more than they"; fi
check "all versions of what only moves data" "$upres" bench --device cuda --csv 'pack/16x128'
[ "$(grep '^"pack' check.out | cut -d, -f2 | sort | tr '\n' ' ')" = "bf16 fp32 fp8 fp8x3 int8 " ] && ok "versions" ||
    fail "versions" "$(cut -d, -f2 check.out | tr '\n' ' ')"
check "what is the same in all" "$upres" bench --device cuda 'to_codes/3/16x24'
holds "its emulator is named" check.out 'an EMULATOR of a GPU.*mean nothing' '/clk/SM' '^to_codes/3/16x24 +bf16 '
[ "$(grep -c '% memory$' check.out)" = 1 ] && ok "once" || fail "once" "$(grep -c '% memory$' check.out) times"
refused "too large for an emulator" 2 'nothing was timed.*whole name' bench --device cuda --precision bf16 'conv3d/512x512*'
finish
