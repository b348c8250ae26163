#!/usr/bin/env bash
# Boots the custom data that deploy-mosquitto.ps1 hands to Azure, byte for byte, under real systemd with real cloud-init,
# and tries from outside what the README promises.
#
#   tests/deploy/machine.sh              as it is by default
#   tests/deploy/machine.sh --insecure   with -AllowInsecure
#   FULL=1 tests/deploy/machine.sh       one after the other
#   ... --keep                           ends with a shell in the machine, which is there until the shell ends
#
# The machine is a systemd-nspawn container of Debian trixie: its kernel is this machine's, it is not Azure, and it knows
# neither Ubuntu's archive nor LetsEncrypt (Pebble plays that). Needs root. Trees are kept in target/deploy; what a run
# starts and mounts is in namespaces that end with it.
#   CUSTOM_DATA=FILE   instead of what tests/deploy/azure.sh renders; FILE with .secrets for .yaml holds the lines
#                      `user password`
#   PACKAGE=FILE       the plugin's package, whose SHA-256 the custom data has, instead of what deploy/package/build.sh builds
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
. deploy/packages.sh

target=$PWD/${CARGO_TARGET_DIR:-target}
[[ ${CARGO_TARGET_DIR:-} != /* ]] || target=$CARGO_TARGET_DIR
cache=$target/deploy/machine
archives=$cache/archives

# The package and the custom data that names it.
render() {
    local log=$target/deploy/machine-logs/render.log
    mkdir -p "${log%/*}"
    if [[ ! ${PACKAGE:-} ]]; then
        echo "building the package"
        PACKAGE=$(deploy/package/build.sh 2>"$log" | tail -n 1) || fail "the package cannot be built" "$log"
    fi
    if [[ ! ${CUSTOM_DATA:-} ]]; then
        echo "rendering the custom data, as deploy-mosquitto.ps1 would"
        tests/deploy/azure.sh --render "$PACKAGE" >"$log" 2>&1 || fail "the custom data cannot be rendered" "$log"
    fi
}

# fail WHAT LOG: for what goes wrong before there is a machine.
fail() {
    tail -n 20 "$2"
    echo "FAIL  $1: $2"
    printf '\n0 passed, 1 failed, 0 skipped\n'
    exit 1
}

cannot() {
    printf '\n!! skipped: the machine cannot be started here: %s\n' "$*"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
}

# Everything that the carrier needs, tried for real: root alone is not enough in many a container.
need_carrier() {
    [[ $(uname -s) == Linux && $(id -u) == 0 ]] || cannot "it needs root"
    need systemd-container debootstrap slirp4netns debian-archive-keyring iproute2 openssl procps nftables \
        gcc libc6-dev mosquitto-dev libmosquitto-dev ||
        cannot "packages are missing"
    [[ -c /dev/net/tun ]] || cannot "there is no /dev/net/tun"
    mkdir -p "$cache"
    local why
    # shellcheck disable=SC2016 # for that shell to expand
    why=$(unshare --mount --pid --fork --mount-proc --net -- bash -ec '
        mkdir -p "$1"/{lower,upper,scratch,root}
        mount -t overlay overlay -o "lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/scratch" "$1/root"
        ip link add probe0 type veth peer name probe1
        nft add table inet probe' - "$cache/probe" 2>&1) || cannot "${why##*$'\n'}"
    rm -rf "$cache/probe"
}

passed=0 failed=0 skipped=0

# run NAME CUSTOM_DATA SECRETS PACKAGE: the machine of one custom data, in namespaces that nothing outlives.
run() {
    local p=0 f=1 s=0
    work=$cache/run.$$ logs=$target/deploy/machine-logs/$1
    rm -rf "$logs"
    mkdir -p "$work" "$logs"
    make_groups
    (
        for group in "${groups[@]}"; do
            echo "$BASHPID" >"$group/cgroup.procs"
        done
        exec unshare --mount --pid --fork --kill-child --mount-proc -- env \
            here="$here" cache="$cache" archives="$archives" work="$work" logs="$logs" name="$1" keep="$keep" \
            custom_data="$2" secrets="$3" package="$4" bash "$here/machine/run.sh"
    ) <&0 &
    namespaces=$!
    wait "$namespaces" || true
    namespaces=
    clean_up
    ! [[ -s $logs/counts ]] || read -r p f s <"$logs/counts"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

# Control groups for the machine, whose systemd divides them: in version 1's hierarchy, in version 2's, or in both.
groups=()
make_groups() {
    local root
    groups=()
    for root in /sys/fs/cgroup{,/systemd,/unified}; do
        [[ -e $root/cgroup.procs ]] || continue
        mkdir -p "$root/mqtt-acl-machine.$$" && groups+=("$root/mqtt-acl-machine.$$")
    done
}

clean_up() {
    if [[ ${namespaces:-} ]]; then
        # With its first process everything in it ends, and its mounts.
        kill -KILL "$namespaces" 2>/dev/null || true
        wait "$namespaces" 2>/dev/null || true
    fi
    namespaces=
    [[ ! ${work:-} ]] || rm -rf --one-file-system "$work"
    local group left=50
    for group in "${groups[@]}"; do
        # What was killed takes a moment to be gone.
        until find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || [[ $left == 0 ]]; do
            left=$((left - 1))
            sleep 0.1
        done
    done
    groups=()
}

keep='' names=(default)
[[ -z ${FULL:-} ]] || names=(default insecure)
for option in "$@"; do
    case $option in
        --insecure) names=(insecure) ;;
        --keep) keep=yes ;;
        -h | --help)
            sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"
            exit 0
            ;;
        *)
            echo "\`$option\` is not an option of $0 (--help names them)" >&2
            exit 2
            ;;
    esac
done

need_carrier
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
render
for name in "${names[@]}"; do
    data=${CUSTOM_DATA:-$target/deploy/custom-data/$name.yaml}
    run "$name" "$data" "${data%.yaml}.secrets" "$PACKAGE"
done
if [[ ${names[*]} == default ]]; then
    echo "!! skipped: the machine of a deployment with -AllowInsecure (--insecure runs it, FULL=1 runs both)"
    skipped=$((skipped + 1))
fi
printf '\n%s passed, %s failed, %s skipped\n' "$passed" "$failed" "$skipped"
[[ $failed == 0 ]]
