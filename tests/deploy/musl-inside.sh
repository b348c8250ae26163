#!/usr/bin/env bash
# Inside a container: a Mosquitto of musl in /broker, the package for musl in /package.
set -euo pipefail
# shellcheck source=tests/deploy/expect.sh
. "$(dirname "$0")/expect.sh"

mkdir -p /etc/mosquitto/mqtt-acl/users.d
install -m 644 /policy.toml /etc/mosquitto/mqtt-acl/policy.toml
{ read -r token; read -r string; } < <(/package/usr/bin/mqtt-acl token)
printf '[users.dev00001]\npassword = "%s"\n' "$string" >/etc/mosquitto/mqtt-acl/users.d/passwords.toml
printf '%s\n' 'listener 1883 127.0.0.1' 'user root' 'plugin /package/usr/lib/mqtt_acl.so' >/tmp/mosquitto.conf
/broker/mosquitto -c /tmp/mosquitto.conf >/tmp/log 2>&1 &
broker=$!
trap 'kill "$broker" 2>/dev/null || true' EXIT

in_log() {
    for _ in {1..100}; do
        ! grep -E "$1" /tmp/log || return 0
        sleep 0.1
    done
    cat /tmp/log
    return 1
}
publish() { timeout 30 mosquitto_pub -V 5 -h 127.0.0.1 -q 1 -m x "$@" 2>&1; }
accepted() {
    local said
    said=$(publish "$@") && echo "$said" && [[ -z $said ]]
}
refused() {
    local said
    said=$(publish "$@") || true
    echo "$said"
    grep -qiE 'not authori[sz]ed' <<<"$said"
}
no_glibc() { grep -q 'musl' "/proc/$broker/maps" && ! grep -E 'x86_64-linux-gnu/libc\.so\.6' "/proc/$broker/maps"; }

expect "mqtt-acl checks the policy" /package/usr/bin/mqtt-acl check
expect "the broker takes the plugin and the policy" in_log 'policy in force'
expect "it starts" in_log 'mosquitto version .* running'
expect "with musl" no_glibc
expect "a device logs in with its token and publishes" accepted -u dev00001 -P "$token" -t dt/demo/1/dev00001/x
expect "a wrong token is refused" refused -u dev00001 -P "${token%?????}wrong" -t dt/demo/1/dev00001/x
expect "so is another device's topic" refused -u dev00001 -P "$token" -t dt/demo/1/dev00002/x
expect "so is a client without a name" refused -t dt/demo/1/dev00001/x
: >/tmp/log
kill -HUP "$broker"
expect "SIGHUP reads the policy" in_log 'policy in force'
expect "a device still publishes" accepted -u dev00001 -P "$token" -t dt/demo/1/dev00001/x
closing
