# Sourced by the tests of the command: counts and prints. $upres is the command; the present folder is theirs alone.

# begin BUILD_DIR: $build and $root are whole paths, $upres is the build's command, and here is a folder that goes in the end.
begin() {
    root=$(cd "$(dirname "$0")/.." && pwd)
    build=$(cd "$1" && pwd)
    upres=$build/upres
    T=$(mktemp -d) || exit 1
    trap 'rm -rf "$T"' EXIT
    cd "$T" || exit 1
}

passed=0 failed=0 skipped=0
ok() { echo "ok   $1" && passed=$((passed + 1)); }
fail() { echo "FAIL $1: $2" && failed=$((failed + 1)); }
skip() { echo "skip $1: $2" && skipped=$((skipped + 1)); }

finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" = 0 ]
    exit
}

# check NAME COMMAND...: the command must succeed.
check() {
    local name=$1
    shift
    if "$@" >check.out 2>check.err; then ok "$name"; else fail "$name" "$* gave $?: $(tail -n 1 check.err)"; fi
}

# refused NAME CODE PATTERN ARGUMENT...: exit CODE, one line on stderr that PATTERN fits, and neither an output "out..." nor
# anything half-written.
refused() {
    local name=$1 code=$2 pattern=$3 rc
    shift 3
    "$upres" "$@" >refused.out 2>refused.err </dev/null
    rc=$?
    if [ $rc != "$code" ]; then
        fail "$name" "exit code $rc, expected $code: $(head -n 1 refused.err)"
    elif [ "$(wc -l <refused.err)" != 1 ]; then
        fail "$name" "$(wc -l <refused.err) lines on stderr, expected 1: $(head -n 2 refused.err | tr '\n' ' ')"
    elif ! grep -Eq -- "$pattern" refused.err; then
        fail "$name" "the sentence does not fit /$pattern/: $(cat refused.err)"
    elif [ -n "$(find . -path './out*' -o -name '*.part')" ]; then
        fail "$name" "something was written: $(find . -path './out*' -o -name '*.part' | head -n 3 | tr '\n' ' ')"
        rm -rf out*
        find . -name '*.part' -delete
    else
        ok "$name"
    fi
}

# same NAME FOLDER FOLDER: the same files with the same bytes, and at least one.
same() {
    if [ -z "$(ls -A "$2" 2>/dev/null)" ]; then
        fail "$1" "$2 is empty"
    elif diff -r "$2" "$3" >diff.out 2>&1; then
        ok "$1"
    else
        fail "$1" "$(head -n 1 diff.out)"
    fi
}

# names FOLDER: what is in it, sorted, each name followed by a space.
names() { find "$1" -mindepth 1 -printf '%f\n' 2>/dev/null | sort | tr '\n' ' '; }

# holds NAME FILE PATTERN...: the file has a line for each pattern.
holds() {
    local name=$1 file=$2 pattern
    shift 2
    for pattern in "$@"; do
        if ! grep -Eq -- "$pattern" "$file"; then
            fail "$name" "no line fits /$pattern/: $(head -c 200 "$file" | tr '\n' ' ')"
            return
        fi
    done
    ok "$name"
}
