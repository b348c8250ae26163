#!/usr/bin/env bash
# Lets each user of a rendered deployment log in to a stock broker with the plugin, and nobody else.
#
#   tests/deploy/azure/logins.sh FOLDER     with NAME.yaml and NAME.secrets, as the simulated deployment leaves them
set -euo pipefail
folder=$(realpath "$1")
cd "$(dirname "$0")/../../.."
. deploy/packages.sh

need_to_build
need mosquitto mosquitto-clients python3-yaml
target=${CARGO_TARGET_DIR:-target}
cargo build --release --workspace --quiet
mosquitto=$(command -v mosquitto || echo /usr/sbin/mosquitto)

work=$(mktemp -d /tmp/mqtt-acl-logins.XXXXXX)
broker=
stop() { [[ -z $broker ]] || { kill "$broker" && wait "$broker"; } 2>/dev/null || true; broker=; }
trap 'stop; rm -rf "$work"' EXIT
chmod 755 "$work"
install -m 644 "$target/release/libmqtt_acl.so" "$work/mqtt_acl.so"

passed=0 failed=0
expect() { # TEXT COMMAND...
    local text=$1
    shift
    if "$@" >"$work/out" 2>&1; then
        passed=$((passed + 1))
        echo "ok      $text"
    else
        failed=$((failed + 1))
        echo "FAILED  $text"
        sed 's/^/        /' "$work/out"
    fi
}
is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# The policy and the passwords, out of the custom data.
unpack() { # YAML
    rm -rf "$work/policy"
    mkdir -p "$work/policy/users.d"
    python3 - "$1" "$work/policy" <<'END'
import sys, yaml
files = {e["path"]: e["content"] for e in yaml.safe_load(open(sys.argv[1]))["write_files"]}
open(sys.argv[2] + "/policy.toml", "w").write(files["/etc/mosquitto-setup/policy.toml"])
open(sys.argv[2] + "/users.d/passwords.toml", "w").write(files["/etc/mosquitto-setup/passwords.toml"])
END
    chmod 600 "$work/policy/users.d/passwords.toml"
    [[ $(id -u) != 0 ]] || chown mosquitto: "$work/policy/users.d/passwords.toml"
}

start() {
    for port in {18850..18869}; do
        is_free "$port" || continue
        printf '%s\n' "listener $port 127.0.0.1" "plugin $work/mqtt_acl.so" "plugin_opt_policy_file $work/policy/policy.toml" >"$work/conf"
        "$mosquitto" -c "$work/conf" >"$work/log" 2>&1 &
        broker=$!
        for _ in {1..100}; do
            is_free "$port" || return 0
            kill -0 "$broker" 2>/dev/null || break
            sleep 0.05
        done
        stop
    done
    cat "$work/log"
    return 1
}

publishes() { # USER SECRET
    mosquitto_pub -h 127.0.0.1 -p "$port" -V 5 -q 1 -u "$1" -P "$2" -t "cmd/demo/1/$1/test" -m x
}
is_refused() { ! publishes "$@" >"$work/refusal" 2>&1 && grep -qi 'not authori[sz]ed' "$work/refusal"; }
is_faultless() { "$target/release/mqtt-acl" check "$work/policy/policy.toml" 2>&1 | tee "$work/check" && ! grep -qi warning "$work/check"; }

shopt -s nullglob
for yaml in "$folder"/*.yaml; do
    name=$(basename "$yaml" .yaml)
    unpack "$yaml"
    expect "$name: mqtt-acl check has nothing to say against the policy" is_faultless
    if ! start; then
        failed=$((failed + 1))
        echo "FAILED  $name: the broker does not start"
        continue
    fi
    while read -r user secret; do
        expect "$name: $user logs in" publishes "$user" "$secret"
        expect "$name: $user does not log in with another secret" is_refused "$user" "${secret}x"
    done <"$folder/$name.secrets"
    stop
done
[[ $((passed + failed)) != 0 ]] || failed=1
echo "counted $passed $failed 0"
[[ $failed == 0 ]]
