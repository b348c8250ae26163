#!/usr/bin/env bash
# Measures, in stock brokers, what the plugin costs everybody else, beside the peers: no authentication at all, a plugin that
# does nothing, password_file, dynamic-security. Each run starts all of them side by side and takes turns among them.
#
#   tests/bench.sh logins [OPTION...]    what logins do to an unrelated publisher and subscriber, in 2.0.11 and 2.1.2
#
#   --smoke         everything in tiny sizes: does it work at all?
#   --json FILE     writes the figures for machines, too
#   --row NAME      this row alone (first, again, sighup, flood, client-id, oracle); may be repeated
#   --broker VERSION  this broker alone (2.0.11, 2.1.2); may be repeated
#
# The pair publishes 500 messages a second, each at its time, however long the broker takes (open loop). `p50` and `p99` are
# the latencies of the messages that were due while something went on, counted from when they were due; `silence` is the
# longest time in which none arrived. Brokers, load and pair share this machine's processors; the pair goes before the others
# where that is allowed (to root), for in life it is on other machines. A figure says something beside its peers of the same
# run on a machine that does nothing else, and little by itself.
#
# Ends with 0 unless something does not work at all: a target that is missed is said and fails nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/packages.sh

case "${1:-}" in
    logins) ;;
    -h | --help)
        sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"
        exit 0
        ;;
    *)
        echo "\`${1:-}\` is not a benchmark (tests/bench.sh --help names them)" >&2
        exit 2
        ;;
esac

need_to_build
cargo build --quiet --release --workspace
MQTT_ACL_SO=${MQTT_ACL_SO:-$(tests/pinned.sh)}
export MQTT_ACL_SO
tests/brokers/prepare.sh
cargo test --quiet --bench bench --no-run
exec cargo test --quiet --bench bench -- "$@"
