#!/bin/sh
# The build script; `./build.sh help` lists its verbs. Works from a fresh clone on a fresh Debian machine.
set -eu
cd "$(dirname "$0")"

usage() {
    cat <<'END'
./build.sh                  build/upres, build/libupres.so, build/tests/...
./build.sh demo [flashvsr]  upscale the sample frames with demo weights; pictures under build/demo/
./build.sh test [all]       the tests (all: the long ones too); ends in "N passed, N failed, N skipped"
./build.sh bench [PATTERN]  time the kernels, for example 'conv3d*'
./build.sh fuzz [SECONDS]   broken weight files at random, under sanitizers
./build.sh install PREFIX   command, library, header
./build.sh dist             build/upres-VERSION-MACHINE.tar.gz: what install would install
./build.sh win [all|only]   upres.exe and upres.dll under build/win/, with mingw-w64; tested under wine (only: not tested)
./build.sh clean            remove build/
END
}

fail() {
    echo "build.sh: $*" >&2
    exit 1
}

jobs() { nproc 2>/dev/null || echo 2; }

has_header() { printf '#include <stdio.h>\n#include <%s>\n' "$1" | "$CC" -E - >/dev/null 2>&1; }

# Names of the Debian packages this machine lacks for a build.
missing_packages() {
    if ! command -v "$CC" >/dev/null; then
        echo gcc libc6-dev
    elif ! has_header math.h; then
        echo libc6-dev
    fi
    command -v make >/dev/null || echo make
    # Without a compiler nothing can be probed: look where Debian puts them.
    [ -e /usr/include/stb/stb_image.h ] || has_header stb/stb_image.h || echo libstb-dev
    [ -e /usr/include/libdeflate.h ] || has_header libdeflate.h || echo libdeflate-dev
}

# install_packages NAME...: false when this user cannot.
install_packages() {
    command -v apt-get >/dev/null || return 1
    as_root=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null && sudo -n true 2>/dev/null || return 1
        as_root="sudo -n"
    fi
    echo "installing: $*"
    apt="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0"
    # A fresh machine has no package lists yet; one that has them is spared the download.
    $apt install -y --no-install-recommends "$@" >/dev/null 2>&1 ||
        { $apt update >/dev/null && $apt install -y --no-install-recommends "$@" >/dev/null; }
}

# What it takes to build for Windows besides, and to test that.
missing_windows_packages() {
    command -v "$CROSS-gcc" >/dev/null || echo gcc-mingw-w64-x86-64
    [ -e "/usr/$CROSS/include/zlib.h" ] || printf '#include <zlib.h>\n' | "$CROSS-gcc" -E - >/dev/null 2>&1 ||
        echo libz-mingw-w64-dev
}
has_wine() { command -v wine >/dev/null || command -v wine64 >/dev/null || [ -x /usr/lib/wine/wine64 ]; }

prepare() {
    if [ -z "${CC:-}" ]; then
        CC=gcc
        command -v gcc >/dev/null || ! command -v clang >/dev/null || CC=clang
    elif ! command -v "$CC" >/dev/null; then
        fail "CC names $CC, which is not installed"
    fi
    export CC
    packages=$(missing_packages | tr '\n' ' ')
    # shellcheck disable=SC2086
    if [ -n "$packages" ] && install_packages $packages; then
        packages=$(missing_packages | tr '\n' ' ')
    fi
    [ -z "$packages" ] || fail "these Debian packages are missing and could not be installed: ${packages% }"
    echo "compiler  $("$CC" --version | head -n 1)"
    sets=
    for s in avx2 fma f16c avx512f avx512dq avx512vl avx512bw avx512_vnni amx_bf16; do
        grep -qw "$s" /proc/cpuinfo 2>/dev/null && sets="$sets $s"
    done
    echo "CPU       $(uname -m),$(jobs | sed 's/$/ cores;/; s/^/ /')${sets:- no vector extensions known here}"
    make -s build/gen/compiler >/dev/null || fail "tools/embed_kernels.c does not build"
    echo "NVRTC     $(cat build/gen/compiler)"
    make -s build/gen/disassembler >/dev/null || fail "tools/count_sass.c does not build"
    echo "nvdisasm  $(cat build/gen/disassembler)"
}

build() {
    prepare
    make -s -j"$(jobs)" "$@"
}

install_to() { # PREFIX
    mkdir -p "$1/bin" "$1/lib" "$1/include"
    install -m 755 build/upres "$1/bin/upres"
    install -m 755 build/libupres.so "$1/lib/libupres.so.0"
    ln -sf libupres.so.0 "$1/lib/libupres.so"
    install -m 644 runtime/upres.h "$1/include/upres.h"
    echo "installed $1/bin/upres, $1/lib/libupres.so.0, $1/include/upres.h"
}

case "${1:-}" in
'')
    build
    ;;
demo)
    build library command
    exec sh demo/run.sh "${2:-seedvr2}"
    ;;
test)
    build
    exec bash tests/run.sh "${2:-}"
    ;;
bench)
    build
    # shellcheck disable=SC2086
    exec build/tests/kernels --bench ${2:+"$2"}
    ;;
install)
    [ $# = 2 ] || fail "install needs PREFIX, for example ./build.sh install /usr/local"
    build library command
    install_to "${DESTDIR:-}$2"
    ;;
dist)
    build library command
    version=$(build/upres --version | sed 's/[^0-9]*\([0-9][0-9.]*\).*/\1/; q')
    name="upres-$version-$("$CC" -dumpmachine)"
    rm -rf "build/$name"
    install_to "build/$name"
    cp README.md LICENSE CHANGELOG.md "build/$name/"
    tar -C build -czf "build/$name.tar.gz" "$name"
    echo "build/$name.tar.gz"
    ;;
clean)
    rm -rf build
    ;;
help | -h | --help)
    usage
    ;;
fuzz)
    prepare
    seconds=${2:-60}
    make -s -j"$(jobs)" B=build/asan SANITIZE=address,undefined build/asan/tests/fuzz
    # Small sound files, and the shared ones of all containers where they are at hand.
    echo "fuzzing the weight readers for $seconds s; a file that breaks them is left in build/fuzz-input"
    # shellcheck disable=SC2046
    exec build/asan/tests/fuzz "$seconds" build/fuzz-input \
        $(find tests/data "${UPRES_SHARED:-../shared}/goldens/formats" -type f ! -name '*.json' ! -name '*.md' 2>/dev/null)
    ;;
win)
    prepare
    CROSS=x86_64-w64-mingw32
    packages=$(missing_windows_packages | tr '\n' ' ')
    # shellcheck disable=SC2086
    if [ -n "$packages" ] && install_packages $packages; then
        packages=$(missing_windows_packages | tr '\n' ' ')
    fi
    [ -z "$packages" ] || fail "these Debian packages are missing and could not be installed: ${packages% }"
    echo "Windows   $("$CROSS-gcc" --version | head -n 1)"
    make -s -j"$(jobs)" B=build/win CC="$CROSS-gcc"
    echo "built     build/win/upres.exe, which needs build/win/upres.dll beside it; build/win/libupres.dll.a to link by"
    [ "${2:-}" != only ] || exit 0
    has_wine || install_packages wine || echo "there is no wine, and it could not be installed: nothing is run"
    # for comparison with this system
    make -s -j"$(jobs)" library command build/tests/emulator/libcuda.so.1
    exec bash tests/win.sh build/win "${2:-}"
    ;;
*)
    usage >&2
    exit 2
    ;;
esac
