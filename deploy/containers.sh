# shellcheck shell=bash
# Sourced, after packages.sh: containers of Debian's own packages, made from its mirror and run by podman.

# need_containers: installs what runs and makes them.
need_containers() {
    { command -v podman && command -v runc; } >/dev/null || need podman runc uidmap slirp4netns fuse-overlayfs || return
    need mmdebstrap debian-archive-keyring
}

# container ARGUMENT...: `podman run` with a runtime and limits that work on every kernel and in every sandbox.
container() {
    podman run --runtime=runc --ulimit=nofile=4096:4096 --ulimit=nproc=4096:4096 --log-driver=none "$@"
}

# debian_image NAME SUITE ARCHITECTURES PACKAGE...: prints the name of an image of the smallest Debian that has apt and the
# packages. It is made once; `podman rmi` makes it anew.
debian_image() {
    local name=$1 suite=$2 architectures=$3 image log options=()
    shift 3
    image=localhost/mqtt-acl-$name:$suite-$(printf '%s ' "$architectures" "$@" | cksum | cut -d' ' -f1)
    if ! podman image exists "$image"; then
        : "${DEBIAN_MIRROR:=$(mirror debian)}"
        : "${DEBIAN_SECURITY_MIRROR:=$(mirror debian-security)}"
        if [[ -z $DEBIAN_MIRROR || -z $DEBIAN_SECURITY_MIRROR ]]; then
            echo "no Debian mirror among this machine's apt sources: set DEBIAN_MIRROR and DEBIAN_SECURITY_MIRROR" >&2
            return 1
        fi
        echo "making the image $image" >&2
        log=$(mktemp)
        # This machine's proxy, and whether it trusts its clock; apt inside goes on with them.
        apt-config dump Acquire | grep -v ::IndexTargets >"$log.apt"
        [[ $# == 0 ]] || options=("--include=$(IFS=,; echo "$*")")
        {
            echo "deb $DEBIAN_MIRROR $suite main"
            # The suite that is being made has no security updates yet.
            [[ $suite == forky ]] || echo "deb $DEBIAN_SECURITY_MIRROR $suite-security main"
        } >"$log.list"
        if ! mmdebstrap --variant=apt --architectures="$architectures" --aptopt="$log.apt" "${options[@]}" \
            "$suite" - "$log.list" 2>"$log" | podman import - "$image" >/dev/null 2>"$log.import"; then
            tail -n 20 "$log" "$log.import" >&2
            podman rmi "$image" >/dev/null 2>&1
            rm -f "$log" "$log".*
            return 1
        fi
        rm -f "$log" "$log".*
    fi
    echo "$image"
}
