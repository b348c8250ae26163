# shellcheck shell=bash
# Sourced: zig, which links for an old glibc and for other processors, and cargo-zigbuild, which shows it to cargo.

# use_zig TARGET_FOLDER: installs both under it, puts them on PATH, and shows them mosquitto's headers.
use_zig() {
    local tools=$1/zig include=$1/zig/mosquitto
    if [[ ! -x $tools/bin/cargo-zigbuild ]]; then
        python3 -m venv "$tools" >&2 || { echo "Python's venv is missing (Debian: apt-get install python3-venv)" >&2; return 1; }
        "$tools/bin/pip" install --quiet 'cargo-zigbuild==0.24.*' 'ziglang==0.17.*' >&2
    fi
    # zig brings its own system headers and does not look at this machine's, so it is shown those of mosquitto alone.
    mkdir -p "$include"
    (
        shopt -s nullglob
        ln -sft "$include" "${MOSQUITTO_INCLUDE_DIR:-/usr/include}"/{mosquitto,mqtt_protocol,cjson}*
    )
    MOSQUITTO_INCLUDE_DIR=$(realpath "$include")
    PATH=$(realpath "$tools/bin"):$PATH
    export MOSQUITTO_INCLUDE_DIR PATH
}
