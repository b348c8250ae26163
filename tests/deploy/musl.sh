#!/usr/bin/env bash
# The library for Alpine inside a Mosquitto 2.0 that is built from Debian's source with musl, the C library that Alpine has.
# Alpine's own broker and the official container image, which is made of it, are not to be had from Debian's packages: neither
# is tested, nor Mosquitto 2.1 with musl.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/packages.sh
. deploy/containers.sh
. tests/deploy/expect.sh

work=$(mktemp -d /var/tmp/mqtt-acl-musl-test.XXXXXX)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
broker=$(realpath "${CARGO_TARGET_DIR:-target}")/musl-broker
made=$work/made

# The broker with all that is optional left out. Without TLS its source has one slip: a check of settings that do not
# exist then.
prepared() {
    image=$(debian_image musl trixie "$(dpkg --print-architecture)" musl-tools make gcc libc6-dev dpkg-dev ca-certificates \
        mosquitto-clients) || return 1
    [[ ! -x $broker/mosquitto ]] || return 0
    mkdir -p "$broker"
    container --rm --network=host --volume="$broker:/broker" "$image" sh -euc '
        cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null | sed "s/^deb /deb-src /" >/tmp/source.list
        mv /tmp/source.list /etc/apt/sources.list.d/
        apt-get -qq update
        cd /tmp
        apt-get -qq -o APT::Sandbox::User=root source mosquitto
        cd mosquitto-*/
        sed -i "/Check for missing TLS cafile/,/^}/{s/.*Check for missing TLS cafile/#ifdef WITH_TLS\n&/; s/^.return MOSQ_ERR_SUCCESS/#endif\n&/}" src/conf.c
        make -s -C src CC=musl-gcc WITH_TLS=no WITH_TLS_PSK=no WITH_CJSON=no WITH_SYSTEMD=no WITH_WRAP=no WITH_WEBSOCKETS=no \
            WITH_EC=no WITH_DOCS=no WITH_DLT=no WITH_STATIC_LIBRARIES=no mosquitto
        cp src/mosquitto /broker/'
}
package() { deploy/package/build.sh musl >"$made" && tar -xzf "$(tail -n1 "$made")" -C "$work"; }
needs_musl_alone() {
    local needs
    needs=$(objdump -p "$1" | awk '/NEEDED/ { print $2 }')
    echo "$needs"
    [[ $needs == libc.so ]]
}

echo "-- musl"
expect "build.sh makes the package" package
expect "the library needs nothing but the C library" needs_musl_alone "$work/usr/lib/mqtt_acl.so"
needs_nothing() { objdump -p "$1" >"$work/headers" && ! grep NEEDED "$work/headers"; }
expect "mqtt-acl needs not even that" needs_nothing "$work/usr/bin/mqtt-acl"
expect "Mosquitto is built with musl" prepared
expect "it needs nothing else, either" needs_musl_alone "$broker/mosquitto"
if [[ $failed == 0 ]]; then
    counted container --rm --network=none --cap-add=SYS_PTRACE --volume="$PWD/tests/deploy:/tests:ro" \
        --volume="$PWD/deploy/policy.toml:/policy.toml:ro" --volume="$broker:/broker:ro" --volume="$work:/package:ro" \
        "$image" /tests/musl-inside.sh
fi
closing
