#!/usr/bin/env bash
# Inside a container that has Mosquitto: the package's whole life, by apt, beside a broker.
#   installed.sh PACKAGE NEWER_PACKAGE
# EMULATOR is what runs the broker and mqtt-acl, where they are for another processor.
set -euo pipefail
# shellcheck source=tests/deploy/expect.sh
. "$(dirname "$0")/expect.sh"
package=$1
newer=$2
read -ra emulator <<<"${EMULATOR:-}"
conf=/etc/mosquitto/conf.d/local.conf
log=/var/log/mosquitto/mosquitto.log
library=/usr/lib/mqtt_acl.so
broker=
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

mqtt_acl() { "${emulator[@]}" /usr/bin/mqtt-acl "$@"; }

is_up() { (exec 4<>/dev/tcp/127.0.0.1/1883) 2>/dev/null; }

# start: as the service does, and waits until the broker listens.
start() { start_with /etc/mosquitto/mosquitto.conf; }
start_with() { # CONF
    install -d -o mosquitto /run/mosquitto
    "${emulator[@]}" /usr/sbin/mosquitto -c "$1" >/tmp/broker.out 2>&1 &
    broker=$!
    for _ in {1..200}; do
        ! is_up || return 0
        kill -0 "$broker" 2>/dev/null || break
        sleep 0.05
    done
    cat /tmp/broker.out
    tail -n 20 "$log"
    return 1
}
stop() {
    kill "$broker"
    wait "$broker" || true
}
restart() { stop && start; }
is_running() { kill -0 "$broker"; }

# reload: SIGHUP, and time for what comes of it, which the plugin's log tells.
reload() {
    local answer='policy in force|policy not loaded' before
    before=$(grep -cE "$answer" "$log" || true)
    kill -HUP "$broker"
    sleep 0.5
    # What stays of the package once it is removed says nothing, nor does a broker without it.
    if [[ $before != 0 ]] && ! grep -qF 'mqtt-acl was removed: everything is refused' "$log"; then
        for _ in {1..600}; do
            [[ $(grep -cE "$answer" "$log") == "$before" ]] || break
            sleep 0.05
        done
    fi
    is_running
}

client() { # PROGRAM ARGUMENT...
    local program=$1
    shift
    timeout 30 "mosquitto_$program" -h 127.0.0.1 "$@"
}
# accepted ARGUMENT...: a message is published, and taken.
accepted() {
    local said status=0
    said=$(client pub -V 5 -q 1 -m x "$@" 2>&1) || status=$?
    echo "$said"
    [[ $status == 0 && -z $said ]]
}
# refused ARGUMENT...: the broker answers, and says no.
refused() {
    local said
    said=$(client pub -V 5 -q 1 -m x "$@" 2>&1) || true
    echo "$said"
    grep -qiE 'not authori[sz]ed' <<<"$said"
}
device() { accepted -u dev00001 -P "$token" -t dt/demo/1/dev00001/x; }
device_is_refused() { refused -u dev00001 -P "$token" -t dt/demo/1/dev00001/x; }
wrong_is_refused() { refused -u dev00001 -P "${token%?????}wrong" -t dt/demo/1/dev00001/x; }
other_is_refused() { refused -u dev00001 -P "$token" -t dt/demo/1/dev00002/x; }
nobody() { accepted -t dt/demo/1/dev00001/x; }
nobody_is_refused() { refused -t dt/demo/1/dev00001/x; }
said_in_log() { tail -n 50 "$log" | grep -F "$1"; }

apt() { apt-get -qqy --no-install-recommends -o Dpkg::Use-Pty=0 "$@"; }
# apt_says PATTERN COMMAND...: it works, and tells.
apt_says() {
    local pattern=$1 said
    shift
    said=$(apt "$@" 2>&1) || { echo "$said"; return 1; }
    echo "$said"
    grep -qE "$pattern" <<<"$said"
}
version() { [[ $(dpkg-query -Wf '${Version}' mqtt-acl) == "$(dpkg-deb -f "$1" Version)" ]]; }
# mapped PATTERN: how the running broker has the library.
mapped() { grep -E "mqtt_acl\.so$1\$" "/proc/$broker/maps"; }

echo "-- a broker that knows nothing of the plugin"
printf '%s\n' 'listener 1883 127.0.0.1' 'allow_anonymous true' >"$conf"
start
expect "it serves everybody" nobody
expect "the package is installed beside it" apt install "$package"
expect "all files are as packed" dpkg --verify mqtt-acl
expect "the broker goes on" is_running
expect "and serves everybody, as configured" nobody
expect "also after SIGHUP" reload
expect "as before" nobody
expect "also after a restart" restart
expect "as before" nobody
expect "mqtt-acl runs" mqtt_acl --version
no_policy() { [[ -z $(find /etc/mosquitto/mqtt-acl -type f) && -d /etc/mosquitto/mqtt-acl/users.d ]]; }
expect "there is a place for a policy, and no policy" no_policy

echo "-- the broker's unit"
# verified FILE: systemd reads the broker's unit, and has nothing to say of that file.
verified() {
    local said
    said=$(systemd-analyze verify --man=no mosquitto.service 2>&1) || true
    echo "$said"
    [[ $said != *"$1"* ]]
}
unverified() {
    local drop_in=/usr/lib/systemd/system/mosquitto.service.d/wrong.conf status=0
    printf '[Service]\nLimitCore=0\n' >"$drop_in"
    ! verified wrong.conf || status=1
    rm "$drop_in"
    return "$status"
}
if command -v systemd-analyze >/dev/null; then
    expect "systemd reads what the package adds" verified mqtt-acl.conf
    expect "and would complain if it were wrong" unverified
else
    skip "systemd reads what the package adds" "there is no systemd in this container"
fi
expect "which keeps the broker from dumping core" \
    grep -qxF LimitCORE=0 /usr/lib/systemd/system/mosquitto.service.d/mqtt-acl.conf

exec_reload() { sed -n '/^ExecReload/p' /usr/lib/systemd/system/mosquitto.service.d/mqtt-acl.conf; }
reload_signals() {
    [[ $(exec_reload) == $'ExecReload=\nExecReload=-/usr/lib/mqtt-acl/check-policy\nExecReload=/bin/kill -HUP $MAINPID' ]]
}
expect "which only reports what is wrong with a policy, and always signals" reload_signals
check_policy() { /usr/lib/mqtt-acl/check-policy >/tmp/checked 2>&1; }
says_nothing() { check_policy && [[ ! -s /tmp/checked ]]; }
expect "and has nothing to report of a broker without the plugin" says_nothing
if command -v logrotate >/dev/null; then
    expect "logrotate takes what the package adds" logrotate --debug /etc/logrotate.d/mqtt-acl
else
    skip "logrotate takes what the package adds" "there is no logrotate in this container"
fi

echo "-- a broker with the plugin"
{ read -r token; read -r string; } < <(mqtt_acl token)
{ read -r service; read -r service_string; } < <(mqtt_acl token)
printf 'plugin %s\n' "$library" >>"$conf"
expect "without a policy the broker starts" restart
expect "and admits nobody" nobody_is_refused
expect "by any name" device_is_refused
install -m 644 /usr/share/doc/mqtt-acl/examples/policy.toml /etc/mosquitto/mqtt-acl/policy.toml
install -o mosquitto -m 600 /dev/null /etc/mosquitto/mqtt-acl/users.d/passwords.toml
printf '[users.%s]\npassword = "%s"\n' dev00001 "$string" mqttservice "$service_string" \
    >/etc/mosquitto/mqtt-acl/users.d/passwords.toml
expect "the example policy has nothing to complain about" mqtt_acl check
for example in /usr/share/doc/mqtt-acl/examples/*.toml; do
    expect "nor has ${example##*/}" mqtt_acl check "$example"
done
expect "of which there are as many as the repository has" test "$(find /usr/share/doc/mqtt-acl/examples -maxdepth 1 -name "*.toml" | wc -l)" -eq 7
expect "SIGHUP puts it in force" reload
expect "a device logs in with its token and publishes" device
expect "a wrong token is refused" wrong_is_refused
expect "so is another device's topic" other_is_refused
expect "so is a client without a name" nobody_is_refused
expect "the broker has the package's library" mapped ''
last_good() { compgen -G '/var/lib/mosquitto/mqtt-acl/*.last-good'; }
is_kept() {
    for _ in {1..600}; do
        ! last_good || return 0
        sleep 0.05
    done
    return 1
}
expect "what is in force is kept" is_kept
expect "for the broker alone" test "$(stat -c '%U %a' /var/lib/mosquitto/mqtt-acl)" = 'mosquitto 700'

echo "-- an edit that is broken"
if [[ ${#emulator[@]} == 0 ]]; then
    expect "before it, a reload reports nothing that is wrong" check_policy
    # As the service does: as root, whom no mode keeps from reading.
    chmod 600 /etc/mosquitto/mqtt-acl/policy.toml
    unreadable() { ! check_policy && grep -E 'policy\.toml: .*(denied|read)' /tmp/checked; }
    expect "a reload reports what the broker's user cannot read" unreadable
    chmod 644 /etc/mosquitto/mqtt-acl/policy.toml
fi
cp /etc/mosquitto/mqtt-acl/policy.toml /tmp/policy.toml
echo '[users.half' >>/etc/mosquitto/mqtt-acl/policy.toml
if [[ ${#emulator[@]} == 0 ]]; then
    reported() { ! check_policy && grep -E 'policy\.toml:[0-9]+:[0-9]+: ' /tmp/checked; }
    expect "a reload reports where" reported
fi
expect "SIGHUP changes nothing" reload
expect "a device still publishes" device
expect "the broker starts all the same" restart
expect "and says which policy it runs" said_in_log 'running the policy of '
expect "a device publishes" device
expect "another device's topic is refused" other_is_refused
cp /tmp/policy.toml /etc/mosquitto/mqtt-acl/policy.toml
in_force() {
    for _ in {1..600}; do
        ! tac "$log" | sed '/running the policy of /q' | grep -F 'policy in force' || return 0
        sleep 0.05
    done
    return 1
}
expect "once mended, the policy is in force without a reload" in_force

echo "-- an upgrade"
client sub -V 5 -u mqttservice -P "$service" -t 'dt/demo/#' -C 1 -W 60 >/tmp/received 2>&1 &
subscriber=$!
for _ in {1..100}; do
    ! said_in_log 'Sending SUBACK to' >/dev/null || break
    sleep 0.05
done
expect "apt installs the newer package" apt install "$newer"
expect "it is installed" version "$newer"
expect "the broker goes on" is_running
expect "with the library that it had" mapped ' \(deleted\)'
expect "a device still publishes" device
received() { wait "$subscriber" && [[ $(</tmp/received) == x ]]; }
expect "to a client that was connected all the time" received
expect "a wrong token is still refused" wrong_is_refused
expect "SIGHUP still reads the policy" reload
expect "the log says so" said_in_log 'policy in force'
expect "a device still publishes after it" device
expect "a restart starts" restart
expect "with the newer library" mapped ''
expect "a device publishes" device
expect "a wrong token is refused" wrong_is_refused

echo "-- removal"
client sub -V 311 -c -i dev00001-kept -q 1 -u dev00001 -P "$token" -t 'cmd/demo/+/dev00001/#' -E
expect "a message waits for a session at rest" accepted -u mqttservice -P "$service" -t cmd/demo/1/dev00001/set
expect "the package is removed, and says what becomes of the broker" apt_says "^ *$conf:3:plugin" remove mqtt-acl
removed() { [[ $(dpkg-query -Wf '${db:Status-Abbrev}' mqtt-acl) == rc* && ! -e /usr/bin/mqtt-acl ]]; }
expect "it is gone" removed
expect "the broker goes on" is_running
expect "a device still publishes" device
expect "a wrong token is still refused" wrong_is_refused
expect "the broker starts again, with the same configuration" restart
expect "its log says what is the matter" said_in_log 'the package mqtt-acl was removed: everything is refused'
expect "a device is refused, with the right token" device_is_refused
expect "so is a client without a name, though allow_anonymous is true" nobody_is_refused
expect "SIGHUP changes nothing" reload
expect "nor does a second" reload
expect "a device is refused" device_is_refused

echo "-- removal, two listeners with settings of their own"
cat >/tmp/listeners.conf <<END
per_listener_settings true
user mosquitto
listener 1883 127.0.0.1
allow_anonymous true
plugin $library
listener 1884 127.0.0.1
allow_anonymous true
plugin $library
plugin_opt_policy_file /etc/mosquitto/mqtt-acl/policy.toml
END
chmod 644 /tmp/listeners.conf
stop
expect "the broker starts" start_with /tmp/listeners.conf
expect "a device is refused" device_is_refused
expect "on the other listener, too" refused -p 1884 -u dev00001 -P "$token" -t dt/demo/1/dev00001/x
expect "so is a client without a name" refused -p 1884 -t dt/demo/1/dev00001/x
expect "SIGHUP changes nothing" reload
expect "a client without a name is refused" nobody_is_refused
stop

echo "-- the package is back"
expect "apt installs it again" apt install "$newer"
expect "all files are as packed" dpkg --verify mqtt-acl
expect "the broker starts" start
expect "a device publishes, as before" device
kept() { [[ $(client sub -V 311 -c -i dev00001-kept -q 1 -u dev00001 -P "$token" -t 'cmd/demo/+/dev00001/#' -C 1 -W 10) == x ]]; }
expect "the session at rest has its message" kept
expect "a wrong token is refused" wrong_is_refused

echo "-- purge, while the broker is configured to load the plugin"
expect "apt purges it, and says what stays" apt_says "$library stays" purge mqtt-acl
expect "the operator's policy stays" test -s /etc/mosquitto/mqtt-acl/policy.toml
expect "the broker starts" restart
expect "a device is refused" device_is_refused
expect "so is a client without a name" nobody_is_refused

echo "-- purge, after the line was taken out"
expect "apt installs it again" apt install "$package"
sed -i '/^plugin/s/^/# /' "$conf"
expect "apt purges it" apt purge mqtt-acl
gone() { ! last_good && [[ ! -e $library && ! -e /usr/lib/mqtt-acl && -z $(ls -A /usr/lib/systemd/system/mosquitto.service.d 2>/dev/null) ]]; }
expect "nothing of it is left" gone
sed -i '/^allow_anonymous/s/true/false/' "$conf"
expect "the broker starts" restart
expect "and goes on as its configuration says" nobody_is_refused
stop

[[ $failed == 0 ]] || { echo; echo "the broker's log:"; tail -n 60 "$log"; }
closing
