#!/usr/bin/env bash
# One boot of one custom data, and everything that is tried on it. machine.sh runs this in namespaces of its own and names
# the files in the environment.
# shellcheck disable=SC2034,SC2154
set -euo pipefail
. deploy/packages.sh
for part in report image network outside boot checks; do
    # shellcheck source=/dev/null
    . "$here/machine/$part.sh"
done

die() { printf '\n!! %s\n\n' "$*" >&2; exit 1; }

# Whatever ends this counts.
finish() {
    local status=$?
    [[ $status == 0 || $failed -gt 0 ]] || failed=1
    save_logs
    echo "$passed $failed $skipped" >"$logs/counts"
    [[ $failed == 0 ]] || exit 1
}

# setting NAME: what the custom data says in /etc/mosquitto-setup/settings.
setting() { sed -n "s/^ *$1='\(.*\)'\$/\1/p" "$custom_data"; }

mkdir -p /run/netns
mount -t tmpfs tmpfs /run/netns
for file in "$custom_data" "$secrets" "$package"; do
    [[ -s $file ]] || die "$file is missing"
done
name_6=$(setting HOST_NAME_6) name_4=$(setting HOST_NAME_4)
package_url=$(setting PACKAGE_URL)
package_host=$(sed -E 's|^https?://([^/:]+).*|\1|' <<<"$package_url")
insecure=$(setting ALLOW_INSECURE)
[[ $name_6 && $name_4 && $insecure ]] || die "$custom_data does not look like deploy/cloud-init.yaml filled in"
[[ $(setting PACKAGE_SHA256) == "$(sha256sum <"$package" | cut -d' ' -f1)" ]] ||
    die "$custom_data was rendered for another package than $package"

make_trees
echo "booting $custom_data"
open_network
open_outside
prepare_machine
trap finish EXIT
boot
set_up
check_system
check_certificate
check_firewall
check_clients
check_browser
check_renewal
check_policy_change
check_secrets
check_reboot
[[ $insecure == yes ]] || compare_renewal
if [[ $keep ]]; then
    echo "a shell in the machine, which ends with it:"
    inside bash -l
fi
