#!/usr/bin/env bash
# Edits a policy at random for minutes, one in three broken, in each stock broker, under traffic from 200 clients: every
# decision must be that of the last good policy, nobody may be disconnected who lost nothing, and memory must stay flat.
#
#   tests/soak.sh                 10,000 edits
#   tests/soak.sh EDITS [CLIENTS]
#
# MQTT_ACL_SO names the library (default: the release build), MQTT_ACL_SEED repeats a run, MQTT_ACL_SOAK_BY=watch has the
# plugin watch its policy instead of sending SIGHUP. tests/run.sh brokers runs a short one.
set -euo pipefail
cd "$(dirname "$0")/.."
export MQTT_ACL_SOAK_EDITS=${1:-10000} MQTT_ACL_SOAK_CLIENTS=${2:-200}
if [[ -z ${MQTT_ACL_SO:-} ]]; then
    MQTT_ACL_SO=$(tests/pinned.sh)
    export MQTT_ACL_SO
fi
tests/brokers/prepare.sh
exec cargo test --quiet --test brokers random_edits_under_traffic
