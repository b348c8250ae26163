#!/usr/bin/env bash
# `elsewhere.sh TRIPLE FOLDER`: compile.sh, in a container with Debian's own Rust, which has what this machine's may not: the
# standard library for other processors, and its source.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/packages.sh
. deploy/containers.sh

triple=$1
mkdir -p "$2"
base=$(realpath "${CARGO_TARGET_DIR:-target}")/package/elsewhere
mkdir -p "$base"
need_containers >&2
image=$(debian_image compiler trixie amd64,arm64 cargo rustc rust-src libstd-rust-dev:arm64 gcc libc6-dev \
    libclang-dev mosquitto-dev libmosquitto-dev python3-venv ca-certificates)
# Cargo and pip inside go to the same places as those outside, with this machine's trust.
container --rm --network=host --env='CARGO_*' --env='PIP_*' --env='*_proxy' --env=SOURCE_DATE_EPOCH \
    --volume=/etc/ssl/certs:/etc/ssl/certs:ro --volume="$PWD:/mqtt-acl:ro" --volume="$base:/built" \
    --volume="$(realpath "$2"):/result" \
    --env=CARGO_TARGET_DIR=/built/target --env=CARGO_HOME=/built/cargo --env=HOME=/built --workdir=/mqtt-acl \
    "$image" deploy/package/compile.sh "$triple" /result
