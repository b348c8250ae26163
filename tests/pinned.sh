#!/usr/bin/env bash
# Prints the path of a library that every supported broker can load.
#
# A library built here needs the glibc that is here, and the oldest broker's is Debian 12's, 2.36. Where this machine's is
# not newer, that is the ordinary release build; elsewhere one linked by zig against glibc 2.28's symbols.
# FORCE_PINNED=1 takes the second way anywhere.
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/package/zig.sh
target=${CARGO_TARGET_DIR:-target}

glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed -n 's/^glibc 2\.\([0-9]*\).*/\1/p')
if [[ -z ${FORCE_PINNED:-} && -n $glibc && $glibc -le 36 ]]; then
    cargo build --quiet --release --lib >&2
    realpath "$target/release/libmqtt_acl.so"
    exit
fi

use_zig "$target"
host=$(rustc -vV | sed -n 's/^host: //p')
cargo zigbuild --quiet --release --lib --target "$host.2.28" >&2
realpath "$target/$host/release/libmqtt_acl.so"
