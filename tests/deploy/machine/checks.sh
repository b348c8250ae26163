# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by run.sh: what is tried, by concern.

password() { sed -n "s/^$1 //p" "$secrets"; }

# The custom data does its work. Without a URL for the package it waits for an upload, as deploy-mosquitto.ps1 does one.
set_up() {
    if [[ ! $package_url ]]; then
        upload_package || die "the package cannot be uploaded"
        ok "the package is uploaded by ssh while the machine waits for it"
    fi
    inside timeout 420 cloud-init status --wait >/dev/null || true
    inside cloud-init status --long >"$logs/cloud-init.status" 2>&1 || true
    keep_archives
    check "cloud-init is done, with no errors and no warnings" inside cloud-init status --long
    websockets=$(inside sed -n 's/.*websockets=yes.*/8083/p' /etc/mosquitto-setup/done 2>/dev/null || true)
    is_up || {
        tail -n 20 "$work/machine/root/var/log/cloud-init-output.log"
        die "there is no broker to try: $logs/cloud-init-output.log"
    }
}

is_up() { inside systemctl --quiet is-active mosquitto; }

upload_package() {
    local left=120
    until over_ssh true 2>/dev/null; do
        left=$((left - 1))
        [[ $left -gt 0 ]] || return 1
        sleep 1
    done
    outside scp -q /root/package.deb "[$name_6]:/var/tmp/mqtt-acl.deb.new" &&
        over_ssh mv /var/tmp/mqtt-acl.deb.new /var/tmp/mqtt-acl.deb
}

broker_pid() { inside systemctl show -P MainPID mosquitto; }

check_system() {
    is "the system is running, and nothing is degraded" running inside timeout 60 systemctl is-system-running --wait
    is "no unit failed" "" inside systemctl list-units --failed --no-legend --plain
    is "the broker starts at boot" enabled inside systemctl is-enabled mosquitto
    is "the broker was never restarted by systemd" 0 inside systemctl show -P NRestarts mosquitto
    is "the broker runs as mosquitto" mosquitto inside ps -o user= -p "$(broker_pid)"
    is "the broker leaves no core dumps" "Max core file size 0 0 bytes" \
        inside bash -c "tr -s ' ' </proc/$(broker_pid)/limits | sed -n '/core/s/ \$//p'"
    check "the plugin is in the broker" inside grep -q /mqtt_acl.so "/proc/$(broker_pid)/maps"
    check "and was in it whenever it ran" always_with_plugin
    check "the policy is good" inside mqtt-acl check /etc/mosquitto/mqtt-acl/policy.toml
    check "the broker complains about nothing" no_complaints
    check "security updates install themselves" inside bash -c \
        'apt-config dump APT::Periodic::Unattended-Upgrade | grep -q \"1\" && systemctl is-enabled apt-daily-upgrade.timer'
    check "the certificate is renewed by a timer" inside systemctl is-enabled certbot.timer
}

always_with_plugin() {
    inside journalctl -u mosquitto --no-pager -o json | outside python3 -c '
import json, sys
starts = {}
for line in sys.stdin:
    entry = json.loads(line)
    if entry.get("_COMM") == "mosquitto":
        starts.setdefault((entry["_BOOT_ID"], entry["_PID"]), []).append(entry["MESSAGE"])
without = [said for said in starts.values() if not any("mqtt-acl: policy in force" in each for each in said)]
print(len(starts), "starts of the broker;", len(without), "without a policy in force:", without[:1])
sys.exit(bool(without) or not starts)'
}

no_complaints() {
    local said
    said=$(inside journalctl -b -u mosquitto --no-pager -o cat | grep -iE 'warning|error|future version' || true)
    echo "$said"
    [[ -z $said ]]
}
# served WHAT HOST PORT: of the certificate that is served there and verified, as `openssl x509 WHAT` prints it.
served() {
    outside openssl s_client -connect "$2:$3" -servername "$2" -verify_hostname "$2" -verify_return_error -CApath /etc/ssl/certs \
        </dev/null 2>/dev/null | openssl x509 -noout "$1"
}

check_certificate() {
    local host port names="DNS:$name_6, DNS:$name_4"
    for host in "$name_6" "$name_4"; do
        for port in 8883 $websockets; do
            is "$host:$port serves a certificate of the authority, for both names" "$names" served_names "$host" "$port"
        done
    done
}

served_names() {
    outside openssl s_client -connect "$1:$2" -servername "$1" -verify_hostname "$1" -verify_return_error -CApath /etc/ssl/certs \
        </dev/null 2>/dev/null | openssl x509 -noout -ext subjectAltName | sed -n 's/^ *DNS/DNS/p'
}

check_firewall() {
    local address open=22,8883
    [[ ! $websockets ]] || open+=,$websockets
    if [[ $insecure == yes ]]; then
        open+=,1883
    else
        check "port 1883 is there for programs on the machine" inside bash -c '</dev/tcp/127.0.0.1/1883 && </dev/tcp/::1/1883'
    fi
    for address in "$machine_4" "$machine_6"; do
        report "the firewall" outside ports.py "$address" "$open" 80
    done
}

# The commands that deploy-mosquitto.ps1 tells people to try, as it writes them, and those of its README.
told() { # sub|pub HOST
    sed -n "s/^ *Write-Output \"  \(mosquitto_$1 .*\)\"\$/\1/p" deploy/deploy-mosquitto.ps1 | sed "s/\`//g; s/\$each/$2/"
}
documented() { sed -n "/^mosquitto_$1 /p" deploy/README.md; }

# try_commands SUB PUB: word for word, the operator sees what the device sends.
try_commands() {
    [[ $1 == mosquitto_sub* && $2 == mosquitto_pub* ]] || { echo "no commands are told"; return 1; }
    outside env "MQTT_PASSWORD=$(password mqttuser)" "DEVICE_PASSWORD=$(password dev00001)" bash -c "
        $1 -C 1 -W 20 >/tmp/told & sub=\$!
        until $2 && ! kill -0 \$sub 2>/dev/null; do
            tries=\$((\${tries:-0} + 1)); [[ \$tries -lt 20 ]] || exit 1
            sleep 0.5
        done
        wait \$sub && cat /tmp/told && grep -qxF 'dt/demo/1/dev00001/senml []' /tmp/told"
}

check_clients() {
    local host
    # The README's names are those of the first server.
    [[ $name != default ]] || check "the commands of the README work" try_commands "$(documented sub)" "$(documented pub)"
    for host in "$name_6" "$name_4"; do
        check "the commands that the deployment prints work for $host" try_commands "$(told sub "$host")" "$(told pub "$host")"
        report "clients" outside clients.py "$host" 8883
        [[ $insecure != yes ]] || report "clients without TLS" outside clients.py "$host" 1883 plain
    done
}

check_browser() {
    if [[ ! $websockets ]]; then
        skip "a browser page" "the distribution's broker has no WebSockets"
        return
    fi
    report "a browser page" outside browser.py "$name_6" "$name_4"
}

renew() { report "$1" outside renewal.py "$name_6" ssh "$name_6" sudo certbot renew --force-renewal --no-random-sleep-on-renew; }

check_renewal() {
    local before host pid
    before=$(served -serial "$name_6" 8883) pid=$(broker_pid)
    echo "      100 clients are connected, and the certificate is renewed over ssh:"
    renew "renewal with 100 clients"
    for host in "$name_6" "$name_4"; do
        check "$host:8883 serves another certificate afterwards" other_serial "$before" "$host" 8883
    done
    is "by the same broker" "$pid" broker_pid
    [[ ! $websockets ]] || check_websockets_renewal "$before"
}

# Mosquitto 2.0 serves a renewed certificate over WebSockets from its next start. The certificates here end within ten days.
check_websockets_renewal() {
    is "the daily look at the certificate of port $websockets is on" enabled inside systemctl is-enabled mosquitto-certificate.timer
    check "it ends well" inside systemctl start mosquitto-certificate.service
    check "and port $websockets serves the new one" other_serial "$1" "$name_6" "$websockets"
    check "as port 8883 does" other_serial "$1" "$name_6" 8883
}

other_serial() { # SERIAL HOST PORT
    local now
    now=$(served -serial "$2" "$3")
    echo "before $1, now $now"
    [[ $now && $now != "$1" ]]
}

folder=/etc/mosquitto/mqtt-acl

# in_force USER TOPIC: whether the user may publish to the topic; waits for it, since a reload takes its time.
in_force() {
    local left=20
    until outside publish.py "$name_6" "$@"; do
        left=$((left - 1))
        [[ $left -gt 0 ]] || return 1
        sleep 0.5
    done
}

reload_policy() { over_ssh "sudo mqtt-acl check && sudo systemctl reload mosquitto"; }

check_policy_change() {
    local pid token
    pid=$(broker_pid)
    check "a device may not publish news/dev00001" refused_to_publish dev00001 news/dev00001
    check "the policy is edited, checked and reloaded over ssh" over_ssh "
        sudo sed -i '/^\[roles.device\]/,/^publish/s|^publish *= \[|&\"news/%u\", |' $folder/policy.toml &&
        sudo mqtt-acl check && sudo systemctl reload mosquitto"
    check "and then it may" in_force dev00001 news/dev00001

    token=$(over_ssh mqtt-acl token)
    printf 'dev00004 %s\n' "$(sed -n 1p <<<"$token")" >>"$work/outside/root/root/secrets"
    check "a user with a token is added" over_ssh "
        echo '[users.dev00004]' | sudo tee -a $folder/policy.toml &&
        printf '[users.dev00004]\npassword = \"%s\"\n' '$(sed -n 2p <<<"$token")' | sudo tee -a $folder/users.d/passwords.toml &&
        sudo mqtt-acl check && sudo systemctl reload mosquitto"
    check "and comes in" in_force dev00004 dt/demo/1/dev00004/senml

    check "a slip in the policy is found by mqtt-acl check" over_ssh "
        echo nonsense | sudo tee -a $folder/policy.toml && ! sudo mqtt-acl check && sudo systemctl reload mosquitto"
    check "and the policy before it stays in force" in_force dev00004 dt/demo/1/dev00004/senml
    check "until the slip is mended" over_ssh "
        sudo sed -i '/^nonsense\$/d' $folder/policy.toml && sudo mqtt-acl check && sudo systemctl reload mosquitto"
    is "all by the same broker" "$pid" broker_pid
}

refused_to_publish() { # USER TOPIC
    local status=0
    outside publish.py "$name_6" "$@" || status=$?
    [[ $status == 3 ]]
}

# What must stay secret: passwords, their hashes, private keys; a line of each.
secret_lines() {
    plain_passwords
    inside sed -n 's/^password = "\(.*\)"/\1/p' "$folder/users.d/passwords.toml"
    inside bash -c 'grep -rlZ "PRIVATE KEY" /etc/letsencrypt /etc/mosquitto /etc/ssh | xargs -0n1 tail -n 2 | grep -v PRIVATE'
    inside bash -c 'sed -n "s/.*\"d\": \"\([^\"]*\)\".*/\1/p" /etc/letsencrypt/accounts/*/*/*/private_key.json'
}

# holding USER: the files, of those that the user can read, that hold one of the lines given on stdin.
holding() {
    grep . | inside setpriv "--reuid=$1" "--regid=$(id -g "$1")" --clear-groups grep -rlsF -f - \
        /etc /home /mnt /opt /root /run /srv /tmp /usr /var /dev/shm || true
}

plain_passwords() { cut -d' ' -f2- "$work/outside/root/root/secrets"; }

# Also what is on nobody's disk.
spoken() {
    { inside journalctl --no-pager -o cat; inside ps axww -o args; } | grep -F -f <(plain_passwords) || true
}

check_secrets() {
    local found
    found=$(secret_lines | holding root)
    check "root finds the hashes and the keys, so that the search works" contains_all "$found" \
        "$folder/users.d/passwords.toml" /etc/letsencrypt/archive/mqtt/privkey1.pem /etc/mosquitto/certs/privkey.pem
    is "nobody else can read a hash, a key or a password" "" secrets_of nobody
    is "no file holds a password" "" passwords_of root
    is "neither does the journal, nor the command line of a process" "" spoken
}

secrets_of() { secret_lines | holding "$1"; }
passwords_of() { plain_passwords | holding "$1"; }

contains_all() { # TEXT LINE...
    local text=$1 line
    shift
    for line in "$@"; do
        grep -qxF "$line" <<<"$text" || { echo "$line is not among: $text"; return 1; }
    done
}

retained=dt/demo/1/dev00001/retained

# The operator's client, for what is easier said in a command.
operator() { # pub|sub OPTION...
    local kind=$1
    shift
    # shellcheck disable=SC2016 # for that shell to expand
    outside env "PASSWORD=$(password mqttuser)" bash -c '
        timeout 20 "mosquitto_$0" -h "$1" -p 8883 --capath /etc/ssl/certs -u mqttuser -P "$PASSWORD" -q 1 "${@:2}"' \
        "$kind" "$name_6" "$@"
}

check_reboot() {
    local serial
    serial=$(served -serial "$name_6" 8883)
    check "a message is kept for the time after a reboot" operator pub -t "$retained" -r -m kept
    over_ssh sudo systemctl poweroff || true
    check "the machine turns itself off" power_off
    boot
    stage="after a reboot: "
    check_system
    is "cloud-init has not done it all again" 1 setups_done
    is "the certificate is the same" "$serial" served -serial "$name_6" 8883
    is "the kept message is there" kept operator sub -t "$retained" -C 1
    operator pub -t "$retained" -r -n
    check "the changed policy is in force" in_force dev00001 news/dev00001
    check_certificate
    check_firewall
    check_clients
    check_browser
    check_secrets
    stage=
}

setups_done() { inside grep -c 'mosquitto-setup: broker ready' /var/log/cloud-init-output.log; }

# The same renewal where the plugin decides nothing. What it takes longer is the broker's own.
compare_renewal() {
    local root=$work/machine/root
    gcc -shared -fPIC -nostdlib -O2 -o "$root/usr/lib/trivial.so" "$here/machine/trivial.c"
    inside sed -i 's|^plugin .*|plugin /usr/lib/trivial.so|' /etc/mosquitto/mosquitto.conf
    inside systemctl restart mosquitto
    stage="for comparison, with a plugin that admits everybody: "
    renew "renewal with 100 clients"
    stage=
}
