# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by machine.sh: the trees that the machine and what is outside of it start from. They are kept in $cache.

suite=trixie
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
# What a cloud's image has. The rest is for the custom data to install.
machine_packages=(systemd systemd-sysv systemd-resolved dbus libpam-systemd cloud-init sudo openssh-server
    ca-certificates curl iproute2 netbase procps gnupg)
outside_packages=(pebble mosquitto-clients openssh-client curl openssl ca-certificates iproute2 python3
    chromium-headless-shell libnss3-tools)

# The Debian mirror this machine uses itself: `mirror debian`, `mirror debian-security`. A machine that is not Debian's
# has a list of those in one of its own packages.
mirror() {
    # shellcheck disable=SC2016 # apt's own variable
    apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | sort -u | grep -m1 -E "/$1/?\$" || {
        local known=/usr/share/python-apt/templates/Debian.info
        [[ -s $known ]] || need python-apt-common >&2
        sed -n "s|^BaseURI: *\(.*\)/debian/*\$|\1/$1|p" "$known" 2>/dev/null | grep -m1 .
    }
}

# in_tree TREE COMMAND...: runs it as root of the tree, with this machine's network and devices.
in_tree() {
    local tree=$1
    shift
    mountpoint -q "$tree/proc" || mount -t proc proc "$tree/proc"
    mountpoint -q "$tree/dev/pts" || mount --rbind /dev "$tree/dev"
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        chroot "$tree" "$@"
}

# Where apt fetches from, in the tree and later in the machine: what this machine itself uses.
write_sources() { # TREE
    rm -f "$1/etc/apt/sources.list"
    cat >"$1/etc/apt/sources.list.d/debian.sources" <<END
Types: deb
URIs: $DEBIAN_MIRROR
Suites: $suite $suite-updates
Components: main
Signed-By: $keyring

Types: deb
URIs: $DEBIAN_SECURITY_MIRROR
Suites: $suite-security
Components: main
Signed-By: $keyring
END
    # Its proxy, and whether it trusts its clock.
    apt-config dump Acquire | grep -v ::IndexTargets >"$1/etc/apt/apt.conf.d/99this-machine"
}

# tree NAME PACKAGE...: makes $cache/NAME of the base and the packages, unless it is there.
tree() {
    local name=$1 dir=$cache/$1
    shift
    local content log=$cache/$name.log
    content="$suite $(dpkg --print-architecture) $*"
    [[ ! -e $dir.content || $(<"$dir.content") != "$content" ]] || return 0
    echo "making the tree of the $name, once: $# packages of Debian $suite (Ubuntu's are not tried)"
    rm -rf "$dir" "$dir.content"
    if [[ $name == base ]]; then
        debootstrap --variant=minbase --keyring="$keyring" "$suite" "$dir" "$DEBIAN_MIRROR" >"$log" 2>&1 &&
            write_sources "$dir"
    else
        cp -a "$cache/base" "$dir" && cp -L /etc/resolv.conf "$dir/etc/resolv.conf" && {
            in_tree "$dir" apt-get -q update && in_tree "$dir" apt-get -qy dist-upgrade &&
                in_tree "$dir" apt-get -qy install --no-install-recommends "$@" && in_tree "$dir" apt-get clean
        } >"$log" 2>&1
    fi || { tail -n 20 "$log" >&2; die "cannot make the tree of the $name: $log"; }
    [[ $name == base ]] || umount -l "$dir/proc" "$dir/dev"
    echo "$content" >"$dir.content"
}

make_trees() {
    : "${DEBIAN_MIRROR:=$(mirror debian)}"
    : "${DEBIAN_SECURITY_MIRROR:=$(mirror debian-security)}"
    [[ $DEBIAN_MIRROR && $DEBIAN_SECURITY_MIRROR ]] ||
        die "no Debian mirror among this machine's apt sources: set DEBIAN_MIRROR and DEBIAN_SECURITY_MIRROR"
    mkdir -p "$cache" "$archives"
    tree base
    tree machine "${machine_packages[@]}"
    tree outside "${outside_packages[@]}"
}
