#!/usr/bin/env bash
# Builds the packages into target/package, and prints their paths, one a line.
#
#   deploy/package/build.sh [amd64|arm64|musl]...
#
# amd64, arm64   mqtt-acl_VERSION_ARCHITECTURE.deb, for every Debian and Ubuntu with Mosquitto 2.0.11 or newer
# musl           mqtt-acl_VERSION_musl-amd64.tar.gz, for Alpine's Mosquitto on x86_64
#
# Without arguments amd64 alone. Beside each lies its SBOM, NAME.cdx.json. Installs what is missing, with sudo where it is not
# run as root. The same commit and tools make the same bytes, wherever and whenever.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/packages.sh
exec 3>&1 >&2
umask 022

out=${CARGO_TARGET_DIR:-target}/package
mkdir -p "$out"
out=$(realpath "$out")
parts=deploy/package
die() { echo "build.sh: $*"; exit 1; }

crate_version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
version=$(sed -n '1s/^mqtt-acl (\(.*\)) .*/\1/p' "$parts/changelog")
# A Rust version's `-rc.1` sorts before the version itself, which Debian writes `~rc.1`.
[[ ${version%-*} == "${crate_version//-/\~}" ]] ||
    die "the first entry of $parts/changelog is $version, but Cargo.toml says $crate_version: write an entry for it"
if [[ -z ${SOURCE_DATE_EPOCH:-} ]]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null) ||
        SOURCE_DATE_EPOCH=$(date -d "$(sed -n '/^ -- /{s/.*>  //p;q}' "$parts/changelog")" +%s)
fi
export SOURCE_DATE_EPOCH

# put MODE FILE PATH: a file of the package.
put() { install -D -m "$1" "$2" "$stage/$3"; }
# compressed FILE PATH: the same, as .gz.
compressed() {
    mkdir -p "$(dirname "$stage/$2")"
    gzip -9n <"$1" >"$stage/$2.gz"
}

# Man pages and completions, from the program's own words.
pages() {
    rm -rf "$out/pages"
    CARGO_TARGET_DIR=$out/build cargo run --quiet --locked -p mqtt-acl-cli --features pages -- "$out/pages"
}

# compile TRIPLE FOLDER: here where this Rust has that target, in a container with Debian's where it has not.
compile() {
    if [[ $1 != *-musl && -d $(rustc --print sysroot)/lib/rustlib/$1 ]]; then
        need python3-venv
        "$parts/compile.sh" "$1" "$2"
    else
        "$parts/elsewhere.sh" "$1" "$2"
    fi
}

# lay TRIPLE: what every package holds, in $stage.
lay() {
    local example triple=$1 built=$out/built/$1 docs=usr/share/doc/mqtt-acl
    compile "$triple" "$built"
    rm -rf "$stage"
    put 644 "$built/mqtt_acl.so" usr/lib/mqtt_acl.so
    put 755 "$built/mqtt-acl" usr/bin/mqtt-acl
    put 644 deploy/policy.toml "$docs/examples/policy.toml"
    put 644 policy/schema.json usr/share/mqtt-acl/policy.schema.json
    for example in policy/examples/*.toml; do
        put 644 "$example" "$docs/examples/${example##*/}"
    done
    # The folder that they include, so that they can be checked where they lie.
    put 644 policy/examples/users.d/README "$docs/examples/users.d/README"
    python3 "$parts/sbom.py" "$triple" "$version" "$built/tools" "$built"
    put 644 "$built/sbom.cdx.json" "$docs/sbom.cdx.json"
    compressed "$built/LICENSES" "$docs/LICENSES"
}

# settle FOLDER: one time for all files, the commit's.
settle() { find "$1" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +; }

# debian ARCHITECTURE TRIPLE
debian() {
    local page docs=usr/share/doc/mqtt-acl file=mqtt-acl_${version}_$1.deb
    stage=$out/stage/$1
    lay "$2"
    put 644 "$out/built/$2/refuse.so" usr/lib/mqtt-acl/refuse.so
    for page in "$out"/pages/*.1; do
        compressed "$page" "usr/share/man/man1/${page##*/}"
    done
    put 644 "$out/pages/mqtt-acl.bash" usr/share/bash-completion/completions/mqtt-acl
    put 644 "$out/pages/mqtt-acl.fish" usr/share/fish/vendor_completions.d/mqtt-acl.fish
    put 644 "$out/pages/_mqtt-acl" usr/share/zsh/vendor-completions/_mqtt-acl
    put 644 "$parts/lintian-overrides" usr/share/lintian/overrides/mqtt-acl
    compressed "$parts/changelog" "$docs/changelog.Debian"
    compressed CHANGELOG.md "$docs/changelog"
    sed "s/^./ &/" <(sed 1,2d LICENSE-MIT) | sed -e "/^@MIT@$/{r /dev/stdin" -e 'd}' "$parts/copyright" >"$out/copyright"
    put 644 "$out/copyright" "$docs/copyright"
    # Files that are the package's as they are. Those below etc/ are the operator's to change.
    (cd "$parts/root" && find . -type f -printf '%P\n') | while read -r page; do
        if [[ -x $parts/root/$page ]]; then put 755 "$parts/root/$page" "$page"; else put 644 "$parts/root/$page" "$page"; fi
    done
    # The policy's place. The package brings no policy: without one the plugin refuses everybody.
    mkdir -p "$stage/etc/mosquitto/mqtt-acl/users.d"

    install -Dm 755 -t "$stage/DEBIAN" "$parts"/scripts/*
    (cd "$stage" && find usr -type f | LC_ALL=C sort | xargs md5sum) >"$stage/DEBIAN/md5sums"
    (cd "$stage" && find etc -type f | sed 's|^|/|' | LC_ALL=C sort) >"$stage/DEBIAN/conffiles"
    [[ -s $stage/DEBIAN/conffiles ]] || rm "$stage/DEBIAN/conffiles"
    # In KiB, a folder as one, like dpkg's own tools count.
    local size
    size=$(cd "$stage" && find etc usr -printf '%y %s\n' | awk '{ size += $1 == "f" ? int(($2 + 1023) / 1024) : 1 } END { print size }')
    sed "s/@VERSION@/$version/; s/@ARCHITECTURE@/$1/; s/@SIZE@/$size/" "$parts/control" >"$stage/DEBIAN/control"
    settle "$stage"
    dpkg-deb --root-owner-group --threads-max=1 -Zxz --build "$stage" "$out/$file.new" >/dev/null
    finish "$file" "$2"
}

# alpine ARCHITECTURE TRIPLE
alpine() {
    local file=mqtt-acl_${version}_musl-$1.tar.gz
    stage=$out/stage/musl-$1
    lay "$2"
    put 644 LICENSE-MIT usr/share/doc/mqtt-acl/LICENSE-MIT
    put 644 LICENSE-APACHE usr/share/doc/mqtt-acl/LICENSE-APACHE
    settle "$stage"
    tar -C "$stage" --sort=name --owner=0 --group=0 --numeric-owner -c usr | gzip -9n >"$out/$file.new"
    finish "$file" "$2"
}

finish() { # FILE TRIPLE
    mv "$out/$1.new" "$out/$1"
    cp "$out/built/$2/sbom.cdx.json" "$out/$1.cdx.json"
    made+=("$out/$1")
}

case "${1:-}" in
-h | --help)
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&3
    exit 0
    ;;
esac
[[ $# -gt 0 ]] || set -- amd64
for kind in "$@"; do
    [[ $kind == @(amd64|arm64|musl) ]] || { echo "usage: deploy/package/build.sh [amd64|arm64|musl]..."; exit 2; }
done
need_to_build
need python3
pages
made=()
for kind in "$@"; do
    case $kind in
    amd64) debian amd64 x86_64-unknown-linux-gnu ;;
    arm64) debian arm64 aarch64-unknown-linux-gnu ;;
    musl) alpine amd64 x86_64-unknown-linux-musl ;;
    esac
done
printf '%s\n' "${made[@]}" >&3
