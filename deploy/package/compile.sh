#!/usr/bin/env bash
# Compiles what a package holds: `compile.sh TRIPLE FOLDER` puts mqtt_acl.so, refuse.so, mqtt-acl and the names of the
# tools that made them into FOLDER. Called by build.sh, here or inside the container that can compile for TRIPLE.
# The same sources and tools make the same bytes, in whatever folder they are.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/package/zig.sh

triple=$1
mkdir -p "$2"
folder=$(realpath "$2")
base=${CARGO_TARGET_DIR:-target}
use_zig "$base"
mkdir -p "$base/package/build"
CARGO_TARGET_DIR=$(realpath "$base/package/build")
ZIG_GLOBAL_CACHE_DIR=$CARGO_TARGET_DIR/zig-cache
ZIG_LOCAL_CACHE_DIR=$ZIG_GLOBAL_CACHE_DIR
export CARGO_TARGET_DIR ZIG_GLOBAL_CACHE_DIR ZIG_LOCAL_CACHE_DIR

# No path of this machine may show in the result.
cargo fetch --quiet --locked
flags=("--remap-path-prefix=$PWD=/mqtt-acl" "--remap-path-prefix=$CARGO_TARGET_DIR=/mqtt-acl/target")
for registry in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
    flags+=("--remap-path-prefix=$registry=/crates")
done
options=()
case $triple in
*-musl)
    # No Rust toolchain has a standard library for a musl that is loaded at run time: it is compiled along.
    flags+=("-Ctarget-feature=-crt-static")
    options=('-Zbuild-std=std,panic_unwind')
    export RUSTC_BOOTSTRAP=1
    rust_target=$triple zig_target=${triple/-unknown/}
    ;;
*) rust_target=$triple.2.28 zig_target=${triple/-unknown/}.2.28 ;;
esac
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; echo "${flags[*]}")
export CARGO_ENCODED_RUSTFLAGS CARGO_PROFILE_RELEASE_STRIP=symbols

nice cargo zigbuild --quiet --locked --release --workspace "${options[@]}" --target "$rust_target"
python3 -m ziglang cc -target "$zig_target" -std=c11 -O2 -Wall -Wextra -Werror -s -shared -fPIC -fvisibility=hidden \
    -Wl,-z,relro,-z,now -I "$MOSQUITTO_INCLUDE_DIR" -o "$folder/refuse.so" deploy/package/refuse.c

made=$CARGO_TARGET_DIR/$triple/release
cp "$made/libmqtt_acl.so" "$folder/mqtt_acl.so"
cp "$made/mqtt-acl" "$folder/mqtt-acl"
{
    rustc -V
    cargo-zigbuild --version
    echo "zig $(python3 -m ziglang version)"
} >"$folder/tools"
