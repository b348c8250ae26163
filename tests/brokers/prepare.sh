#!/usr/bin/env bash
# Fetches the stock brokers that tests/brokers.rs runs the plugin in: Debian's own mosquitto of three releases, each
# with the libraries it was built against, unpacked under target/brokers and made into container images.
# Needs neither root nor a container engine: what is missing is installed where that is allowed, and said where not.
#   DEBIAN_MIRROR, DEBIAN_SECURITY_MIRROR   where to fetch from, if the machine's own apt sources are not Debian's
#   BROKER_ENGINE=podman|docker|unpacked    what runs the brokers, instead of the first of these that works
# Everything is kept; `rm -r target/brokers` starts afresh.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/packages.sh

declare -A wanted=([bookworm]=2.0.11 [trixie]=2.0.21 [forky]=2.1.2)
suites=(bookworm trixie forky)
packages=(mosquitto mosquitto-clients valgrind libc6-dbg)
base=$PWD/${CARGO_TARGET_DIR:-target}/brokers
[[ ${CARGO_TARGET_DIR:-} != /* ]] || base=$CARGO_TARGET_DIR/brokers
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
architecture=$(dpkg --print-architecture)

loud() { printf '\n!! %s\n\n' "$*" >&2; }
die() { loud "$*"; exit 1; }

sources() { # SUITE
    local options="[arch=$architecture signed-by=$keyring]"
    echo "deb $options $DEBIAN_MIRROR $1 main"
    # Debian's broker of the oldest release is the one with the security fixes.
    [[ $1 != bookworm ]] || echo "deb $options $DEBIAN_SECURITY_MIRROR $1-security main"
}

# Downloads the packages with all they depend on, by an apt that knows nothing of this machine's own packages.
download() { # SUITE DIR
    mkdir -p "$2"/apt/{lists/partial,cache/archives/partial,etc/preferences.d,etc/apt.conf.d}
    : >"$2/apt/status"
    sources "$1" >"$2/apt/sources.list"
    # This machine's proxy, and whether it trusts its clock.
    apt-config dump Acquire | grep -v ::IndexTargets >"$2/apt/apt.conf"
    cat >>"$2/apt/apt.conf" <<END
Dir "$2/apt";
Dir::Etc "$2/apt/etc";
Dir::Etc::sourcelist "$2/apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State "$2/apt";
Dir::State::lists "$2/apt/lists";
Dir::State::status "$2/apt/status";
Dir::Cache "$2/apt/cache";
APT::Architecture "$architecture";
APT::Architectures { "$architecture"; };
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Acquire::Languages "none";
Debug::NoLocking "true";
END
    APT_CONFIG=$2/apt/apt.conf apt-get -qq update &&
        APT_CONFIG=$2/apt/apt.conf apt-get -qqy --download-only install "${packages[@]}"
}

unpack() { # DIR
    local root=$1/root deb
    mkdir -p "$root"/usr/{bin,sbin,lib,lib64} "$root"/{etc,proc,dev,sys,run,tmp}
    chmod 1777 "$root/tmp"
    # Every Debian since bookworm has these links, which `dpkg -x` would replace by folders.
    ln -s usr/bin usr/sbin usr/lib usr/lib64 "$root"
    for deb in "$1"/apt/cache/archives/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink --no-same-owner -C "$root"
    done
    PATH=$PATH:/usr/sbin:/sbin ldconfig -n "$root"/usr/lib/*-linux-gnu*
    rm -rf "$root"/usr/share/{doc,man,locale,perl}
    printf '%s\n' root:x:0:0::/root:/usr/sbin/nologin mosquitto:x:101:101::/tmp:/usr/sbin/nologin >"$root/etc/passwd"
    printf '%s\n' root:x:0: mosquitto:x:101: >"$root/etc/group"
}

# The broker's own word for its version; its libraries come from its release, not from this machine.
version() { # ROOT
    local loader=("$1"/usr/lib*/ld-linux-*.so.*) libraries=("$1"/usr/lib/*-linux-gnu*)
    { "${loader[0]}" --library-path "${libraries[0]}" "$1/usr/sbin/mosquitto" -h 2>"$1.log" || true; } |
        sed -n '1s/^mosquitto version //p'
}

prepare_suite() { # SUITE
    local dir=$base/$1
    [[ ! -s $dir/version || $(<"$dir/packages") != "${packages[*]}" ]] || return 0
    : "${DEBIAN_MIRROR:=$(mirror debian)}"
    : "${DEBIAN_SECURITY_MIRROR:=$(mirror debian-security)}"
    [[ $DEBIAN_MIRROR && $DEBIAN_SECURITY_MIRROR ]] ||
        die "no Debian mirror among this machine's apt sources: set DEBIAN_MIRROR and DEBIAN_SECURITY_MIRROR"
    [[ -s $keyring ]] || need debian-archive-keyring || die "$keyring is missing: install debian-archive-keyring"
    rm -rf "$dir"
    echo "fetching $1's mosquitto"
    download "$1" "$dir" || die "cannot fetch $1's mosquitto and its libraries from $DEBIAN_MIRROR"
    unpack "$dir"
    rm -rf "$dir/apt"
    echo "${packages[*]}" >"$dir/packages"
    version "$dir/root" >"$dir/version.new"
    [[ -s $dir/version.new ]] || die "$1's mosquitto does not run: $(<"$dir/root.log")"
    mv "$dir/version.new" "$dir/version"
}

# podman's own choices of runtime and limits do not work on every kernel and in every sandbox.
runs_containers() { # ENGINE
    case $1 in
    podman) command -v podman >/dev/null && command -v runc >/dev/null ;;
    docker) docker info >/dev/null 2>&1 ;;
    unpacked) true ;;
    *) die "BROKER_ENGINE=$1 is none of podman, docker, unpacked" ;;
    esac
}

choose_engine() {
    if [[ ${BROKER_ENGINE:-} ]]; then
        runs_containers "$BROKER_ENGINE" || die "BROKER_ENGINE=$BROKER_ENGINE does not run here"
        echo "$BROKER_ENGINE"
    elif runs_containers podman || { ! runs_containers docker &&
        need podman runc uidmap slirp4netns fuse-overlayfs >&2 && runs_containers podman; }; then
        echo podman
    elif runs_containers docker; then
        echo docker
    else
        echo unpacked
    fi
}

import() { # ENGINE SUITE
    local dir=$base/$2 image
    image=localhost/mqtt-acl-broker:$2-$(<"$dir/version")
    [[ -s $dir/image && $(<"$dir/image") == "$image" ]] && "$1" image inspect "$image" >/dev/null 2>&1 && return
    echo "making the image $image"
    tar -C "$dir/root" --owner=0 --group=0 --numeric-owner -c . | "$1" import - "$image" >"$dir/import.log" 2>&1 || return 1
    echo "$image" >"$dir/image"
}

mkdir -p "$base"
for suite in "${suites[@]}"; do
    prepare_suite "$suite"
    found=$(<"$base/$suite/version")
    [[ $found == "${wanted[$suite]}" ]] ||
        loud "$suite holds mosquitto $found now, not ${wanted[$suite]}: the tests run in $found, and nothing tests ${wanted[$suite]}"
done
engine=$(choose_engine)
if [[ $engine != unpacked ]]; then
    for suite in "${suites[@]}"; do
        import "$engine" "$suite" || { loud "$engine cannot make an image: $(tail -n1 "$base/$suite/import.log")"; engine=unpacked; break; }
    done
fi
[[ $engine != unpacked || ${BROKER_ENGINE:-} == unpacked ]] ||
    loud "no container engine (podman with runc, or a running docker): the brokers run unpacked beside each other, without isolation"
echo "$engine" >"$base/engine"
