# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by machine.sh: what the machine finds in the world. An ACME server (Pebble), names, the download of the plugin's
# package, and clients. All of it runs in a tree and a network namespace of its own.

# outside COMMAND...: runs it there.
outside() {
    ip netns exec outside env -i PATH=/opt/outside:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
        chroot "$work/outside/root" "$@"
}

# outside_file PATH: writes a file of that tree from stdin.
outside_file() {
    mkdir -p "$(dirname "$work/outside/root$1")"
    cat >"$work/outside/root$1"
}

# The authority of the test's own servers, which the machine trusts as it would any other.
make_authority() {
    mkdir -p "$work/authority"
    (
        cd "$work/authority"
        openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=machine-test -keyout ca.key -out ca.crt \
            -addext keyUsage=critical,keyCertSign,cRLSign
        openssl req -newkey rsa:2048 -nodes -subj /CN=acme.test -keyout server.key -out server.csr
        openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out server.crt -extfile - \
            <<<"subjectAltName=DNS:acme.test,DNS:${package_host:-acme.test}"
    ) >"$logs/authority.log" 2>&1 || die "openssl cannot make an authority: $logs/authority.log"
}

open_outside() {
    mount_tree outside
    mount -t proc proc "$work/outside/root/proc"
    mount --rbind /dev "$work/outside/root/dev"
    mount -t tmpfs tmpfs "$work/outside/root/tmp"
    mount -t tmpfs -o mode=700 tmpfs "$work/outside/root/root"
    cp -r "$here/machine/outside" "$work/outside/root/opt/outside"
    outside_file /etc/hosts <<END
127.0.0.1 localhost
::1 localhost
$machine_6 $name_6
$machine_4 $name_4
END
    cp "$secrets" "$work/outside/root/root/secrets"
    cp "$package" "$work/outside/root/root/package.deb"
    home=$(outside getent passwd 0 | cut -d: -f6)
    make_ssh_key
    make_authority
    cp "$work"/authority/server.{key,crt} "$work/outside/root/root/"
    start_acme
    [[ -z $package_url ]] || serve_package
}

make_ssh_key() {
    outside ssh-keygen -q -t ed25519 -N '' -f "$home/.ssh/id_ed25519"
    outside_file "$home/.ssh/config" <<END
User iotadmin
StrictHostKeyChecking accept-new
ConnectTimeout 10
LogLevel ERROR
END
}

start_acme() {
    outside_file /root/pebble.json <<END
{"pebble": {"listenAddress": "0.0.0.0:14000", "managementListenAddress": "127.0.0.1:15000",
 "certificate": "/root/server.crt", "privateKey": "/root/server.key", "httpPort": 80, "tlsPort": 443,
 "ocspResponderURL": "", "certificateValidityPeriod": 864000, "externalAccountBindingRequired": false}}
END
    outside pebble-challtestsrv -defaultIPv4 "" -defaultIPv6 "" -dns01 127.0.0.1:8053 -http01 "" -https01 "" -tlsalpn01 "" \
        -doh "" -management 127.0.0.1:8055 >"$logs/names.log" 2>&1 &
    outside env PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=0 pebble -config /root/pebble.json -dnsserver 127.0.0.1:8053 -strict \
        >"$logs/pebble.log" 2>&1 &
    if ! name_addresses || ! outside curl -skf --retry 20 --retry-connrefused --retry-delay 1 \
        -o /usr/local/share/ca-certificates/acme.crt https://127.0.0.1:15000/roots/0; then
        die "the ACME server does not start: $logs/pebble.log"
    fi
    # Clients trust it as they would LetsEncrypt: by the system's certificates, and the browser by its own.
    outside update-ca-certificates >"$logs/trust.log" 2>&1
    outside mkdir -p "$home/.pki/nssdb"
    outside certutil -d "sql:$home/.pki/nssdb" -N --empty-password
    outside certutil -d "sql:$home/.pki/nssdb" -A -t C,, -n acme -i /usr/local/share/ca-certificates/acme.crt
}

# Each name has the address that Azure would give it: of one family.
name_addresses() {
    outside curl -sf --retry 20 --retry-connrefused --retry-delay 1 http://127.0.0.1:8055/add-aaaa \
        -d "{\"host\": \"$name_6.\", \"addresses\": [\"$machine_6\"]}" &&
        outside curl -sf http://127.0.0.1:8055/add-a -d "{\"host\": \"$name_4.\", \"addresses\": [\"$machine_4\"]}"
}

serve_package() {
    outside serve.py "$package_url" /root/package.deb >"$logs/download.log" 2>&1 &
}
