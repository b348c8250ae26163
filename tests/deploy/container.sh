#!/usr/bin/env bash
# Builds deploy/container/Containerfile with a package, and tests the broker in it: `container.sh PACKAGE`.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/packages.sh
. deploy/containers.sh
. tests/deploy/expect.sh

name=mqtt-acl-test-$$
image=localhost/mqtt-acl-test:$$
# Every folder on the way to a policy must be one that only its owner can write.
work=$(mktemp -d /var/lib/mqtt-acl-test.XXXXXX 2>/dev/null || mktemp -d "$HOME/.mqtt-acl-test.XXXXXX")
clean() {
    podman rm -f "$name" >/dev/null 2>&1 || true
    podman rmi -f "$image" >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap clean EXIT

# The build sees what it copies and nothing else.
mkdir -p "$work/context/deploy" "$work/mqtt-acl/users.d"
cp "$1" "$work/context/package.deb"
cp -r deploy/container "$work/context/deploy/"
built() {
    local base
    # The same as Debian's image in Docker's registry in what matters here: Debian, and little of it.
    base=$(debian_image minimal trixie "$(dpkg --print-architecture)" ca-certificates passwd) || return 1
    podman --runtime=runc build --ulimit=nofile=4096:4096 --ulimit=nproc=4096:4096 --network=host --format=docker \
        --build-arg="BASE=$base" --build-arg=PACKAGE=package.deb --tag="$image" \
        --file="$work/context/deploy/container/Containerfile" "$work/context"
}

run() {
    podman rm -f "$name" >/dev/null 2>&1 || true
    container -d --name="$name" --read-only --cap-drop=all --security-opt=no-new-privileges --network=none "$@" "$image"
}
inside() { podman exec "$name" "$@"; }
# healthy: soon after the start, and for as long as it lasts.
healthy() {
    for _ in {1..50}; do
        ! podman healthcheck run "$name" || return 0
        sleep 0.2
    done
    return 1
}
publish() { inside mosquitto_pub -V 5 -h 127.0.0.1 -q 1 -m x "$@" 2>&1; }
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

# dev00003 is the one that the policy promises nothing, and that may be disabled.
echo "-- the container image"
expect "it is built" built
[[ $failed == 0 ]] || { closing; exit; }
expect "it starts" run
expect "and is healthy" healthy
expect "without a policy nobody is admitted" refused -u dev00003 -P x -t dt/demo/1/dev00003/x
is_not_root() { [[ $(inside id -u) == 101 && $(inside sh -c 'grep -h ^Uid: /proc/1/status') == *101*101*101*101* ]]; }
expect "the broker is not root" is_not_root

{ read -r token; read -r string; } < <(inside mqtt-acl token)
install -m 644 deploy/policy.toml "$work/mqtt-acl/policy.toml"
printf '[users.dev00003]\npassword = "%s"\n' "$string" >"$work/mqtt-acl/users.d/passwords.toml"
chmod 755 "$work" "$work/mqtt-acl" "$work/mqtt-acl/users.d"
chmod 644 "$work/mqtt-acl/users.d/passwords.toml"
expect "it starts with a policy mounted" run --volume="$work/mqtt-acl:/etc/mosquitto/mqtt-acl:ro"
expect "and is healthy" healthy
expect "a device logs in with its token and publishes" accepted -u dev00003 -P "$token" -t dt/demo/1/dev00003/x
expect "a wrong token is refused" refused -u dev00003 -P "${token%?????}wrong" -t dt/demo/1/dev00003/x
expect "so is another device's topic" refused -u dev00003 -P "$token" -t dt/demo/1/dev00002/x
expect "so is a client without a name" refused -t dt/demo/1/dev00003/x
unwritable() { ! inside sh -c 'echo >>/etc/mosquitto/mqtt-acl/policy.toml'; }
expect "the broker cannot write the policy" unwritable

sed -i 's/^\[users.dev00003\]$/&\ndisabled = true/' "$work/mqtt-acl/users.d/passwords.toml"
expect "SIGHUP reads a changed policy" podman kill -s HUP "$name"
soon_refused() {
    for _ in {1..50}; do
        ! refused -u dev00003 -P "$token" -t dt/demo/1/dev00003/x || return 0
        sleep 0.1
    done
    return 1
}
expect "which shuts the device out" soon_refused
closing
