# shellcheck shell=bash
# Sourced by the scripts of deploy/ and tests/: installs Debian's or Ubuntu's packages that are missing.

# need PACKAGE...: installs those of the packages that are not there. Fails, and says what to do, where that is not allowed.
need() {
    local missing=() package as=()
    for package in "$@"; do
        [[ $(dpkg-query -Wf '${db:Status-Abbrev}' "$package" 2>/dev/null) == ii* ]] || missing+=("$package")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    if ! command -v apt-get >/dev/null; then
        echo "missing: ${missing[*]} (names of Debian's packages; this machine has no apt-get)" >&2
        return 1
    fi
    if [[ $(id -u) != 0 ]]; then
        as=(sudo)
        if ! command -v sudo >/dev/null; then
            echo "missing: ${missing[*]} (as root: apt-get install ${missing[*]})" >&2
            return 1
        fi
    fi
    echo "installing ${missing[*]}"
    local log
    log=$(mktemp)
    if ! "${as[@]}" apt-get update -qq >"$log" 2>&1 ||
        ! "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
        tail -n 20 "$log" >&2
        echo "could not install ${missing[*]}" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
    # The package starts a broker on port 1883; whoever only tries this out did not ask for one.
    if [[ " ${missing[*]} " == *" mosquitto "* && -d /run/systemd/system ]]; then
        echo "stopping the service that the package mosquitto started (systemctl enable --now mosquitto brings it back)"
        "${as[@]}" systemctl disable --quiet --now mosquitto || true
    fi
}

# Everything that `cargo build` needs beside a Rust toolchain.
need_to_build() {
    if ! command -v cargo >/dev/null; then
        echo "cargo is missing: install a Rust toolchain, 1.85 or newer (rustup, or the packages cargo and rustc)" >&2
        return 1
    fi
    need gcc libc6-dev mosquitto-dev libmosquitto-dev libclang-dev
}

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
