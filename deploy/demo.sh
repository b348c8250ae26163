#!/usr/bin/env bash
# Builds mqtt-acl and shows it at work: the stock Mosquitto on loopback, with the plugin and the reference policy.
#
#   deploy/demo.sh           prints commands to try, and runs until Ctrl-C
#   deploy/demo.sh --check   tries them itself, and exits with 1 if anything is not as promised
#
# Installs what is missing (stock Mosquitto, its headers, libclang), with sudo where it is not run as root. Everything else
# stays in target/ and in a folder under /tmp that goes away with it.
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/packages.sh

check=false
case "${1:-}" in
    "") ;;
    --check) check=true ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    *) echo "usage: deploy/demo.sh [--check]" >&2; exit 2 ;;
esac

need_to_build
need mosquitto mosquitto-clients
target=${CARGO_TARGET_DIR:-target}
echo "building"
cargo build --release --workspace --quiet
mosquitto=$(command -v mosquitto || echo /usr/sbin/mosquitto)

# The broker drops root and then loads the plugin, so everything lies where its user can read it.
folder=$(mktemp -d /tmp/mqtt-acl-demo.XXXXXX)
broker=
stop() {
    [[ -z $broker ]] || { kill "$broker" && wait "$broker"; } 2>/dev/null || true
    rm -rf "$folder"
}
trap stop EXIT
chmod 755 "$folder"
install -m 644 "$target/release/libmqtt_acl.so" "$folder/mqtt_acl.so"
mqtt_acl=$target/release/mqtt-acl

# The policy as it is installed: rules that anybody may read, passwords that only the broker may.
mkdir "$folder/users.d"
install -m 644 deploy/policy.toml "$folder/policy.toml"
users=(mqttuser mqttservice dev00001 dev00002 dev00003)
declare -A password
(umask 077; : >"$folder/users.d/passwords.toml")
for user in "${users[@]}"; do
    if [[ $user == dev* ]]; then
        { read -r secret; read -r string; } < <("$mqtt_acl" token)
    else
        secret=$(head -c 12 /dev/urandom | base64 | tr '+/' '-_')
        string=$(printf '%s' "$secret" | "$mqtt_acl" hash)
    fi
    password[$user]=$secret
    printf '[users.%s]\npassword = "%s"\n\n' "$user" "$string" >>"$folder/users.d/passwords.toml"
done
if [[ $(id -u) == 0 ]]; then
    chown mosquitto: "$folder/users.d/passwords.toml"
fi
"$mqtt_acl" check "$folder/policy.toml"

is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Starts the broker on the first free port, and waits until it listens.
start() {
    for port in {18830..18849}; do
        is_free "$port" || continue
        cat >"$folder/mosquitto.conf" <<END
listener $port 127.0.0.1
allow_anonymous false
plugin $folder/mqtt_acl.so
plugin_opt_policy_file $folder/policy.toml
plugin_opt_on_bad_policy refuse
END
        "$mosquitto" -c "$folder/mosquitto.conf" >"$folder/log" 2>&1 &
        broker=$!
        for _ in {1..100}; do
            is_free "$port" || return 0
            kill -0 "$broker" 2>/dev/null || break
            sleep 0.05
        done
        kill "$broker" 2>/dev/null || true
        broker=
    done
    echo "the broker does not start:" >&2
    cat "$folder/log" >&2
    exit 1
}
start
echo "$("$mosquitto" -h | head -n 1 || true), with the plugin and deploy/policy.toml, on 127.0.0.1 port $port"

if ! $check; then
    sub="mosquitto_sub -V 5 -h 127.0.0.1 -p $port"
    pub="mosquitto_pub -V 5 -h 127.0.0.1 -p $port -q 1"
    as() { printf -- "-u %s -P '%s'" "$1" "${password[$1]}"; }
    cat <<END

The service listens to all telemetry (leave it running):
  $sub $(as mqttservice) -v -t 'dt/demo/#'
A device sends its own, and the service receives it:
  $pub $(as dev00001) -t dt/demo/1/dev00001/senml -m '[{"n":"temperature","v":21}]'
Another device's telemetry is refused, and the log below says why:
  $pub $(as dev00001) -t dt/demo/1/dev00002/senml -m forged
So is another device's session:
  $pub $(as dev00001) -i dev00002 -t dt/demo/1/dev00001/senml -m takeover
A device listens to its own commands, and to no other's:
  $sub $(as dev00002) -v -t 'cmd/demo/+/dev00002/#'
  $sub $(as dev00002) -v -t 'cmd/demo/#'
The service sends a command:
  $pub $(as mqttservice) -t cmd/demo/1/dev00002/set -m on
The operator may do everything:
  $sub $(as mqttuser) -v -t '#'
Why is that so?
  $mqtt_acl explain $folder/policy.toml --user dev00001 publish dt/demo/1/dev00002/senml
Change $folder/policy.toml, and put it in force:
  kill -HUP $broker

The broker's log; Ctrl-C ends it.
END
    tail -n +1 -f --pid="$broker" "$folder/log"
    exit
fi

passed=0
failed=0
# expect TEXT COMMAND...: counts whether the command succeeds, and prints what happened where it does not.
expect() {
    local text=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
        echo "ok      $text"
    else
        failed=$((failed + 1))
        echo "FAILED  $text"
        sed 's/^/        /' "$folder/out" 2>/dev/null || true
    fi
}
client() { # PROGRAM USER ARGUMENT...
    local program=$1 user=$2
    shift 2
    timeout 20 "mosquitto_$program" -h 127.0.0.1 -p "$port" -V 5 -u "$user" -P "${password[$user]}" "$@"
}
# refused COMMAND...: the broker says that this is not authorized.
refused() {
    "$@" >"$folder/out" 2>&1 || true
    grep -qiE 'not authori[sz]ed|denied' "$folder/out"
}
# carried FROM TO TOPIC FILTER: what one user publishes, the other receives.
carried() {
    local from=$1 to=$2 topic=$3 filter=$4 message=$RANDOM-$RANDOM subscriber
    client sub "$to" -d -v -t "$filter" -C 1 -W 10 >"$folder/out" 2>&1 &
    subscriber=$!
    for _ in {1..100}; do
        grep -q '^Subscribed' "$folder/out" && break
        sleep 0.05
    done
    client pub "$from" -q 1 -t "$topic" -m "$message" >>"$folder/out" 2>&1 || true
    wait "$subscriber" && grep -qxF "$topic $message" "$folder/out"
}
# logged PATTERN: waits until the broker's log has such a line.
logged() {
    for _ in {1..600}; do
        grep -qE "$1" "$folder/log" && return 0
        sleep 0.05
    done
    return 1
}

# reloaded: sends SIGHUP, and waits until the log tells what came of it.
reloaded() {
    local answer='policy in force|policy not loaded' before
    before=$(grep -cE "$answer" "$folder/log")
    kill -HUP "$broker"
    for _ in {1..600}; do
        [[ $(grep -cE "$answer" "$folder/log") == "$before" ]] || return 0
        sleep 0.05
    done
    return 1
}
nobody() { # ARGUMENT...
    timeout 20 mosquitto_pub -h 127.0.0.1 -p "$port" -t dt/demo/1/dev00001/senml -m x "$@"
}
explained() {
    ! "$mqtt_acl" explain "$folder/policy.toml" --user dev00001 publish dt/demo/1/dev00002/senml >"$folder/out" 2>&1 &&
        grep -q '^refused: no rule grants it' "$folder/out"
}

expect "a device publishes, the service receives" carried dev00001 mqttservice dt/demo/1/dev00001/senml 'dt/demo/#'
expect "the service sends a command, the device receives it" \
    carried mqttservice dev00002 cmd/demo/1/dev00002/set 'cmd/demo/+/dev00002/#'
expect "the operator receives everything" carried dev00003 mqttuser dt/demo/9/dev00003/x '#'
expect "a device cannot publish as another" refused client pub dev00001 -q 1 -t dt/demo/1/dev00002/senml -m forged
expect "and the log says why" logged 'refused publish: no rule grants it; address 127.0.0.1, user "dev00001"'
expect "a device cannot read another's commands" refused client sub dev00001 -t 'cmd/demo/+/dev00002/#' -C 1 -W 5
expect "nor all of them" refused client sub dev00001 -t 'cmd/demo/#' -C 1 -W 5
expect "nor by a shared subscription" refused client sub dev00001 -t "\$share/g/cmd/demo/#" -C 1 -W 5
expect "the service cannot publish telemetry" refused client pub mqttservice -q 1 -t dt/demo/1/dev00001/senml -m forged
expect "a device cannot use another's client id" refused client pub dev00001 -i dev00002 -t dt/demo/1/dev00001/senml -m x
expect "a wrong password does not log in" refused nobody -u dev00001 -P wrong
expect "nor does no user at all" refused nobody
expect "explain refuses what the broker refuses" explained
echo 'nonsense' >>"$folder/policy.toml"
reloaded || true
expect "a broken policy is not taken" logged 'policy not loaded, the one in force stays'
expect "and the old one stays in force" carried dev00001 mqttservice dt/demo/1/dev00001/senml 'dt/demo/#'
sed -i '/^nonsense$/d; s/^\[users.dev00003\]$/&\ndisabled = true/' "$folder/policy.toml"
reloaded || true
expect "a device that is disabled is refused after SIGHUP" refused client pub dev00003 -t dt/demo/1/dev00003/senml -m x
expect "and the others are not" carried dev00001 mqttservice dt/demo/1/dev00001/senml 'dt/demo/#'
expect "the broker is alive" kill -0 "$broker"

[[ $failed == 0 ]] || { echo; echo "the broker's log:"; cat "$folder/log"; }
echo
echo "$passed passed, $failed failed"
[[ $failed == 0 ]]
