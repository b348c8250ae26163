#!/usr/bin/env bash
# Tests the packages: how they are made, and what becomes of a broker when they are installed, upgraded, removed and purged.
#   FULL=1   in all three suites, for arm64 (emulated) and for Alpine's C library, not only in bookworm on amd64
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/packages.sh
. deploy/containers.sh
. tests/deploy/expect.sh

base=${CARGO_TARGET_DIR:-target}
mkdir -p "$base"
base=$(realpath "$base")
# Elsewhere, and with a longer name, than the checkout; where a container may read.
work=$(mktemp -d /var/tmp/mqtt-acl-package-test.XXXXXX)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH

# build KIND: its package's path, on the last line.
build() { deploy/package/build.sh "$1"; }

# another_checkout FOLDER: the same sources in another place, with nothing built.
another_checkout() {
    mkdir -p "$1/target"
    git ls-files | tar -cT - | tar -xC "$1"
    # The tools are not what is tested.
    ln -s "$base/zig" "$1/target/zig"
}

# raise: makes this checkout the next version.
raise() {
    local version next
    version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
    next=${version%.*}.$((${version##*.} + 1))
    sed -i "/^\[workspace.package\]/,/^\[/s/^version = .*/version = \"$next\"/" Cargo.toml
    sed -i "/^name = \"mqtt-acl-/{n;s/^version = .*/version = \"$next\"/}" Cargo.lock
    printf 'mqtt-acl (%s-1) unstable; urgency=medium\n\n  * A test.\n\n -- A Test <test@mqtt-acl.example>  %s\n\n' \
        "$next" "$(date -R -u -d "@$SOURCE_DATE_EPOCH")" | cat - deploy/package/changelog >changelog.new
    mv changelog.new deploy/package/changelog
}

# unpacked PACKAGE FOLDER
unpacked() {
    mkdir -p "$2"
    if [[ $1 == *.deb ]]; then dpkg-deb -x "$1" "$2"; else tar -xzf "$1" -C "$2"; fi
}

# programs FOLDER: the files in it that a processor runs.
programs() { find "$1" -type f -exec sh -c 'head -c4 "$1" | grep -qa ELF' _ {} \; -print; }

# old_glibc FOLDER: nothing in it needs a newer one than 2.28, nor any library but glibc's.
old_glibc() {
    local file needs versions
    while read -r file; do
        needs=$(objdump -p "$file" | awk '/NEEDED/ { print $2 }')
        versions=$(objdump -T "$file" | grep -oE 'GLIBC_[0-9.]+' | sort -Vu)
        printf '%s:\n%s\n%s\n' "$file" "$needs" "$versions"
        [[ $needs && $versions ]] && ! grep -vE '^(lib(c|m|dl|pthread)\.so\.[0-9]+|ld-linux-.*)$' <<<"$needs" &&
            [[ $(printf '%s\n' "$versions" GLIBC_2.28 | sort -V | tail -n1) == GLIBC_2.28 ]] || return 1
    done < <(programs "$1")
    [[ $versions ]]
}

# is_for FOLDER MACHINE: everything in it that a processor runs is for that one.
is_for() {
    local file
    while read -r file; do
        readelf -h "$file" | grep "Machine:.*$2" || return 1
    done < <(programs "$1")
}

# tells_no_path FOLDER: nothing in it names a folder of the machine that made it.
tells_no_path() { ! grep -raF -e "$PWD" -e "$base" -e "$work" -e "${CARGO_HOME:-$HOME/.cargo}" "$1"; }

# lists_everything SBOM TRIPLE: by a validator of its own, and by cargo's word.
lists_everything() {
    [[ -x $base/sbom/bin/python ]] || python3 -m venv "$base/sbom"
    "$base/sbom/bin/pip" install --quiet 'cyclonedx-python-lib[json-validation]==11.*'
    "$base/sbom/bin/python" - "$1" <<'END'
import pathlib, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
wrong = JsonStrictValidator(SchemaVersion.V1_5).validate_str(pathlib.Path(sys.argv[1]).read_text())
sys.exit(f"the SBOM is wrong: {wrong}" if wrong else 0)
END
    local listed linked
    listed=$(grep -oE '"bom-ref": "pkg:cargo/[^"]+' "$1" | sed 's|.*/||' | sort)
    linked=$(cargo tree --locked --workspace --target "$2" --edges normal,no-proc-macro --prefix none --format '{p}' |
        sed -nE 's/^(\S+) v(\S+).*/\1@\2/p' | sort -u)
    diff <(echo "$linked") <(echo "$listed")
}

# life SUITE PACKAGE NEWER [ARCHITECTURE]: tests/deploy/installed.sh in a container of that suite.
life() {
    local image emulator=
    if [[ ${4:-} ]]; then
        image=$(debian_image "$4" "$1" "amd64,$4" qemu-user "mosquitto:$4" mosquitto-clients systemd) || return 1
        emulator=qemu-aarch64
    else
        image=$(debian_image host "$1" "$(dpkg --print-architecture)" mosquitto mosquitto-clients systemd) || return 1
    fi
    container --rm --network=none --cap-add=SYS_PTRACE --env="EMULATOR=$emulator" --volume="$PWD/tests/deploy:/tests:ro" \
        --volume="$(dirname "$2"):/packages:ro" --volume="$(dirname "$3"):/newer:ro" \
        "$image" /tests/installed.sh "/packages/${2##*/}" "/newer/${3##*/}"
}

need_to_build
echo "-- the package"
expect "build.sh makes it" build amd64
made=$(build amd64 | tail -n1)
echo "        ${made##*/}"
another_checkout "$work/another checkout"
same() {
    local again
    again=$(unset CARGO_TARGET_DIR && cd "$work/another checkout" && umask 077 && TZ=Pacific/Auckland build amd64 | tail -n1) && cmp "$made" "$again"
}
expect "another checkout, elsewhere, makes the same bytes" same
unpacked "$made" "$work/unpacked"
expect "its programs are for this architecture" is_for "$work/unpacked" X86-64
expect "they run with glibc 2.28" old_glibc "$work/unpacked"
expect "they name no folder of this machine" tells_no_path "$work/unpacked"
expect "the SBOM is CycloneDX, and lists what is linked" lists_everything "$made.cdx.json" x86_64-unknown-linux-gnu
expect "the same is in the package" cmp "$made.cdx.json" "$work/unpacked/usr/share/doc/mqtt-acl/sbom.cdx.json"
expect "bash takes the completion" bash -n "$work/unpacked/usr/share/bash-completion/completions/mqtt-acl"
schema() { "$work/unpacked/usr/bin/mqtt-acl" schema | cmp - "$work/unpacked/usr/share/mqtt-acl/policy.schema.json"; }
expect "the schema for editors is the program's" schema
if need lintian; then
    expect "lintian has nothing to complain about" lintian --allow-root --fail-on=error,warning "$made"
else
    skip lintian "it cannot be installed here"
fi

newer() { (unset CARGO_TARGET_DIR && cd "$work/another checkout" && raise && build amd64 >"$work/newer") }
expect "a newer version is made" newer
newer=$(tail -n1 "$work/newer")

if ! need_containers; then
    skip "the package beside a broker, the container image" "podman cannot be installed here"
    closing
    exit
fi
for suite in bookworm trixie forky; do
    if [[ $suite == bookworm || ${FULL:-} ]]; then
        echo "== $suite"
        counted life "$suite" "$made" "$newer"
    else
        skip "the package in $suite" "tests/run.sh --full does it"
    fi
done
counted tests/deploy/container.sh "$made"

if [[ ${FULL:-} ]]; then
    echo "== arm64, emulated"
    expect "build.sh makes the package" build arm64
    made=$(build arm64 | tail -n1)
    unpacked "$made" "$work/arm64"
    expect "its programs are for this architecture" is_for "$work/arm64" AArch64
    expect "they run with glibc 2.28" old_glibc "$work/arm64"
    expect "they name no folder of this machine" tells_no_path "$work/arm64"
    expect "the SBOM is CycloneDX, and lists what is linked" lists_everything "$made.cdx.json" aarch64-unknown-linux-gnu
    newer_arm64() {
        (
            unset CARGO_TARGET_DIR
            cd "$work/another checkout"
            # Debian's Rust and its crates are not what is tested.
            ln -s "$base/package/elsewhere" target/package/elsewhere
            build arm64
        ) >"$work/newer"
    }
    expect "a newer version is made" newer_arm64
    counted life trixie "$made" "$(tail -n1 "$work/newer")" arm64
    counted tests/deploy/musl.sh
else
    skip "the package for arm64" "tests/run.sh --full does it"
    skip "the library for Alpine" "tests/run.sh --full does it"
fi
closing
