#!/usr/bin/env bash
# Tests the deployment to Azure without Azure.
#
#   tests/deploy/azure.sh                     all of it
#   tests/deploy/azure.sh --render PACKAGE    only renders target/deploy/custom-data/{default,insecure}.yaml for that package
#
# The scripts run in PowerShell where there is one, else in a reading of it; the Azure CLI is the real one, in front of a
# simulated Azure (tests/deploy/azure/cloud.py says what that is). FULL=1 lets every single call of a deployment fail once.
# What a deployment would give to its machine, with the secrets of its users, is left in target/deploy/custom-data.
# Needs the network for tools on its first run, which it keeps in target/deploy; `rm -r target/deploy` starts afresh.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/packages.sh

target=${CARGO_TARGET_DIR:-target}
work=$(mkdir -p "$target/deploy" && realpath "$target/deploy")
here=$PWD/tests/deploy/azure
python_packages=(azure-cli==2.91.* tree-sitter tree-sitter-pwsh==0.38.* pyyaml jsonschema jinja2 configobj oauthlib jsonpatch requests)

# Python with the Azure CLI, PowerShell's grammar and what cloud-init needs.
prepare_python() {
    [[ ! -e $work/python/ready || $(<"$work/python/ready") != "${python_packages[*]}" ]] || return 0
    need python3-venv
    rm -rf "$work/python"
    python3 -m venv "$work/python"
    echo "installing ${python_packages[*]}"
    "$work/python/bin/pip" install --quiet "${python_packages[@]}"
    echo "${python_packages[*]}" >"$work/python/ready"
}

# The newest cloud-init that Debian has, unpacked and not installed.
prepare_cloud_init() {
    [[ ! -d $work/cloud-init/usr ]] || return 0
    local keyring=/usr/share/keyrings/debian-archive-keyring.gpg apt=$work/apt
    [[ -s $keyring ]] || need debian-archive-keyring
    : "${DEBIAN_MIRROR:=$(mirror debian)}"
    mkdir -p "$apt"/{lists/partial,cache/archives/partial,etc}
    : >"$apt/status"
    echo "deb [arch=all,$(dpkg --print-architecture) signed-by=$keyring] $DEBIAN_MIRROR sid main" >"$apt/sources.list"
    local options=(-qq -o "Dir::State=$apt" -o "Dir::State::lists=$apt/lists" -o "Dir::State::status=$apt/status"
        -o "Dir::Cache=$apt/cache" -o "Dir::Etc::sourcelist=$apt/sources.list" -o "Dir::Etc::sourceparts=/dev/null"
        -o "Dir::Etc::preferencesparts=/dev/null" -o "APT::Sandbox::User=root" -o "Acquire::Languages=none")
    echo "fetching cloud-init"
    apt-get "${options[@]}" update
    # Newer ones have split it in two.
    (
        cd "$apt"
        apt-get "${options[@]}" download cloud-init
        apt-get "${options[@]}" download cloud-init-base 2>/dev/null || true
    )
    local package
    for package in "$apt"/cloud-init*.deb; do
        dpkg-deb -x "$package" "$work/cloud-init.new"
    done
    mv "$work/cloud-init.new" "$work/cloud-init"
    rm -rf "$apt"
}

# A network of its own: names lead to loopback there, and nowhere else. As root, or as whoever may be root in a namespace.
isolated() {
    local as=(unshare --net --mount)
    [[ $(id -u) == 0 ]] || as+=(--map-root-user)
    "${as[@]}" "$@"
}

need openssl shellcheck iproute2 util-linux
prepare_python
passed=0 failed=0 skipped=0
# count COMMAND...: runs checks, and adds up what they count.
count() {
    local log=$work/log p=0 f=1 s=0
    "$@" 2>&1 | tee "$log" || true
    read -r p f s < <(sed -n 's/^counted \([0-9]*\) \([0-9]*\) \([0-9]*\)$/\1 \2 \3/p' "$log" | grep . || echo "0 1 0")
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}
python=$work/python/bin/python
export PYTHONPYCACHEPREFIX=$work/pycache

# Fills in cloud-init.yaml by hand, word for word as deploy/README.md tells for any other machine, where it can be tested too.
fill_in_by_hand() {
    local folder=$work/by-hand
    need_to_build
    cargo build --release --quiet -p mqtt-acl-cli
    rm -rf "$folder"
    mkdir -p "$folder"
    cp deploy/cloud-init.yaml deploy/policy.toml "$folder"
    : >"$folder/mqtt-acl_VERSION_amd64.deb"
    sed -n '/^for user in/,/>user-data$/p' deploy/README.md >"$folder/recipe"
    local path
    path=$(realpath "$target/release"):$PATH
    (cd "$folder" && umask 077 && PATH=$path bash -eu recipe 2>secrets) || return 1
    install -m 600 "$folder/user-data" "$work/custom-data/by-hand.yaml"
    install -m 600 "$folder/secrets" "$work/custom-data/by-hand.secrets"
}

case ${1:-} in
    '') ;;
    --render)
        isolated "$python" "$here/simulate.py" "$work" --render "$(realpath "$2")"
        exit
        ;;
    *) echo "usage: tests/deploy/azure.sh [--render PACKAGE]" >&2; exit 2 ;;
esac
prepare_cloud_init

if command -v pwsh >/dev/null; then
    echo "the scripts run in PowerShell: $(pwsh --version)"
else
    echo "!! no PowerShell here: the scripts run in tests/deploy/azure/powershell.py, a reading of it that refuses what it does not know"
fi
if isolated true; then
    count isolated "$python" "$here/simulate.py" "$work"
else
    echo "!! skipped: the simulated deployment needs a network namespace, which this machine does not allow"
    skipped=$((skipped + 1))
fi
if (fill_in_by_hand); then
    passed=$((passed + 1))
else
    echo "FAILED  the recipe of deploy/README.md for any other machine"
    failed=$((failed + 1))
fi
count "$python" "$here/static.py" "$work" "$work/cloud-init"
count "$here/logins.sh" "$work/custom-data"

echo
echo "$passed passed, $failed failed, $skipped skipped"
[[ $failed == 0 ]]
