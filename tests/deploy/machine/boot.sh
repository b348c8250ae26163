# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by machine.sh: the machine itself, a systemd-nspawn container whose disk is a layer over the kept tree.

mount_tree() { # NAME
    mkdir -p "$work/$1"/{upper,scratch,root}
    mount -t overlay overlay -o "lowerdir=$cache/$1,upperdir=$work/$1/upper,workdir=$work/$1/scratch" "$work/$1/root"
}

# What a cloud would give the machine beside the custom data, which is taken byte for byte.
prepare_machine() {
    mount_tree machine
    local root=$work/machine/root seed=$work/machine/root/var/lib/cloud/seed/nocloud
    mkdir -p "$seed" "$root"/etc/{letsencrypt,systemd/resolved.conf.d} "$root/usr/local/share/ca-certificates"
    chmod 700 "$seed"
    cp "$custom_data" "$seed/user-data"
    cat >"$seed/meta-data" <<END
instance-id: machine-test
local-hostname: mqttvm
public-keys: ["$(<"$work/outside/root$home/.ssh/id_ed25519.pub")"]
END
    cat >"$root/etc/cloud/cloud.cfg.d/99-machine-test.cfg" <<END
datasource_list: [NoCloud]
network: {config: disabled}
system_info: {default_user: {name: iotadmin}}
END
    printf '[Resolve]\nDNS=10.0.2.3\n' >"$root/etc/systemd/resolved.conf.d/machine-test.conf"
    ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
    printf '%s\n' "127.0.0.1 localhost" "::1 localhost" "$outside_4 acme.test $package_host" >"$root/etc/hosts"
    rm -f "$root/etc/fstab"
    echo "server = https://acme.test:14000/dir" >"$root/etc/letsencrypt/cli.ini"
    cp "$work/authority/ca.crt" "$root/usr/local/share/ca-certificates/machine-test.crt"
    chroot "$root" update-ca-certificates >"$logs/trust-machine.log" 2>&1
    # Packages that an earlier run fetched; apt checks them against the archive's index.
    find "$archives" -name '*.deb' -exec cp -t "$root/var/cache/apt/archives" {} +
    : >"$root/etc/machine-id"
}

keep_archives() { cp -u "$work"/machine/root/var/cache/apt/archives/*.deb "$archives" 2>/dev/null || true; }

boot() {
    plug_in
    SYSTEMD_NSPAWN_API_VFS_WRITABLE=network systemd-nspawn -q -D "$work/machine/root" --boot --register=no --keep-unit \
        --capability=CAP_NET_ADMIN --network-namespace-path=/run/netns/machine --resolv-conf=off --timezone=off \
        --link-journal=no --hostname=mqttvm --machine=mqttvm </dev/null >>"$logs/console.log" 2>&1 &
    nspawn=$!
    leader=
    local left=100
    until leader=$(pgrep -P "$nspawn" | head -n1) && [[ $leader ]] && inside systemctl show -P Version >/dev/null 2>&1; do
        left=$((left - 1))
        if [[ $left == 0 ]] || ! kill -0 "$nspawn" 2>/dev/null; then
            tail -n 20 "$logs/console.log"
            die "the machine does not start: $logs/console.log"
        fi
        sleep 0.2
    done
}

# inside COMMAND...: runs it as root of the machine.
inside() {
    nsenter -t "$leader" -m -u -i -n -p -C -- \
        env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin HOME=/root LC_ALL=C.UTF-8 "$@"
}

# As a person would: over ssh, from outside.
over_ssh() { outside ssh "$name_6" "$@"; }

power_off() {
    local left=300
    while kill -0 "$nspawn" 2>/dev/null; do
        left=$((left - 1))
        [[ $left -gt 0 ]] || { kill -KILL "$nspawn"; return 1; }
        sleep 0.2
    done
    wait "$nspawn" || true
    pull_out
}

save_logs() {
    [[ ${leader:-} ]] || return 0
    cp "$work/machine/root/var/log/cloud-init-output.log" "$work/machine/root/var/log/cloud-init.log" "$logs" 2>/dev/null || true
    inside journalctl --no-pager >"$logs/journal.log" 2>/dev/null || true
}
