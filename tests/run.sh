#!/usr/bin/env bash
# Runs the tests.
#
#   tests/run.sh             all of them
#   tests/run.sh PART...     some of them
#   tests/run.sh --full ...  also what takes long: more suites and processors; otherwise that is counted as skipped
#   tests/run.sh --list      names the parts
#
# Installs what is missing, with sudo where it is not run as root. What cannot run on this machine says so and is counted
# as skipped. Ends with a line `N passed, N failed, N skipped`, and with 1 if anything failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
. deploy/packages.sh

parts=(lint unit exports oracle mock brokers bench demo package azure machine)
declare -A about=(
    [lint]="formatting, clippy and rustdoc with warnings denied, shellcheck"
    [unit]="the engine, the command line and the plugin's own parts: tables, properties, files"
    [exports]="what the library exports and needs, so that every stock broker can load it"
    [oracle]="libmosquitto's topic matcher against the engine's"
    [mock]="the library inside a C mock host, as 2.0 and as 2.1, also under valgrind"
    [brokers]="the library inside the stock brokers 2.0.11, 2.0.21 and 2.1.2, over the wire"
    [bench]="that the benchmarks work, in tiny sizes: tests/bench.sh ... --smoke; and how many instructions a decision takes"
    [demo]="the reference deployment: deploy/demo.sh --check"
    [package]="the packages: how they are made, installed, upgraded and removed beside a broker; the container image"
    [azure]="the deployment's scripts, with the real Azure CLI against a simulated Azure"
    [machine]="what the deployment makes of a machine: booted, certified, tried from outside, renewed, rebooted"
)

logs=${CARGO_TARGET_DIR:-target}/test-logs
mkdir -p "$logs"
passed=0
failed=0
skipped=0
failures=()

# try NAME COMMAND...: runs it, and counts the tests that it reports, or itself as one.
try() {
    local name=$1 log=$logs/${1// /-}.log status counts
    shift
    printf '\n== %s\n' "$name"
    "$@" 2>&1 </dev/null | tee "$log"
    status=${PIPESTATUS[0]}
    # cargo's test harnesses, and our own scripts' closing line.
    counts=$(sed -nE 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed; ([0-9]+) ignored;.*/\1 \2 \3/p
                      s/^([0-9]+) passed, ([0-9]+) failed(, ([0-9]+) skipped)?$/\1 \2 \4/p' "$log")
    local p=0 f=0 s=0
    while read -r a b c; do
        [[ -n $a ]] || continue
        p=$((p + a)) f=$((f + b)) s=$((s + c))
    done <<<"$counts"
    if [[ $((p + f + s)) == 0 ]]; then
        [[ $status == 0 ]] && p=1 || f=1
    elif [[ $status != 0 && $f == 0 ]]; then
        f=1
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    [[ $f == 0 ]] || failures+=("$name ($log)")
}

skip() { # NAME REASON
    printf '\n== %s\n!! skipped: %s\n' "$1" "$2"
    skipped=$((skipped + 1))
}

built=
build() {
    [[ -z $built ]] || return 0
    try build cargo build --release --workspace
    built=yes
    # One library for all three brokers, also where this machine's glibc is too new for the oldest.
    [[ $(getconf GNU_LIBC_VERSION) =~ \ 2\.([0-9]+) && ${BASH_REMATCH[1]} -le 36 ]] || need python3-venv || true
    MQTT_ACL_SO=$(tests/pinned.sh) || { failed=$((failed + 1)); failures+=("tests/pinned.sh"); }
    export MQTT_ACL_SO
}

part_lint() {
    if cargo fmt --version >/dev/null 2>&1; then
        try fmt cargo fmt --all --check
    else
        skip fmt "this toolchain has no rustfmt (rustup component add rustfmt)"
    fi
    if cargo clippy --version >/dev/null 2>&1; then
        try clippy cargo clippy --workspace --all-targets --quiet -- -D warnings
        try "clippy with fault injection" cargo clippy --quiet --features fault-injection -- -D warnings
        try "clippy with pages" cargo clippy -p mqtt-acl-cli --quiet --features pages -- -D warnings
    else
        skip clippy "this toolchain has no clippy (rustup component add clippy)"
    fi
    try docs env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --quiet
    if need shellcheck; then
        local scripts
        mapfile -t scripts < <(git ls-files "*.sh" .ci/run deploy/package/root/usr/lib/mqtt-acl/check-policy)
        try shellcheck shellcheck -x "${scripts[@]}"
    else
        skip shellcheck "it cannot be installed here"
    fi
}

part_unit() {
    try "unit tests" cargo test --quiet -p mqtt-acl-policy -p mqtt-acl-cli
    try "plugin unit tests" cargo test --quiet -p mqtt-acl-plugin --lib
}

part_exports() {
    build
    try exports cargo test --quiet --test exports
}

part_oracle() {
    need libmosquitto1 || true
    try oracle cargo test --quiet --test oracle
}

part_mock() {
    need valgrind libc6-dbg || true
    build
    try mock cargo test --quiet --test mock
}

part_brokers() {
    build
    try "prepare brokers" tests/brokers/prepare.sh
    try brokers cargo test --quiet --test brokers
}

part_bench() {
    build
    try "bench arithmetic" cargo test --quiet --test bench_stats
    try "bench decide" tests/bench.sh decide --smoke
    try "bench publish" tests/bench.sh publish --smoke
    try "bench load" tests/bench.sh load --smoke
    try "bench logins" tests/bench.sh logins --smoke
}

part_demo() {
    try demo deploy/demo.sh --check
}

part_package() {
    try package tests/deploy/package.sh
}

part_azure() {
    try azure tests/deploy/azure.sh
}

part_machine() {
    try machine tests/deploy/machine.sh
}

if [[ ${1:-} == --full ]]; then
    export FULL=1
    shift
fi
case "${1:-}" in
    --list)
        for part in "${parts[@]}"; do
            printf '%-9s %s\n' "$part" "${about[$part]}"
        done
        exit 0
        ;;
    -h | --help)
        sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"
        exit 0
        ;;
esac
chosen=("$@")
[[ $# -gt 0 ]] || chosen=("${parts[@]}")
for part in "${chosen[@]}"; do
    if [[ " ${parts[*]} " != *" $part "* ]]; then
        echo "\`$part\` is not a part of the tests (tests/run.sh --list names them)" >&2
        exit 2
    fi
done

need_to_build || exit 1
for part in "${chosen[@]}"; do
    "part_$part"
done

echo
for failure in "${failures[@]}"; do
    echo "failed: $failure"
done
echo "$passed passed, $failed failed, $skipped skipped"
[[ $failed == 0 ]]
