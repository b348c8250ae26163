#!/usr/bin/env bash
# Measures what the plugin costs, in stock brokers and beside the peers: no access control at all, a plugin that does nothing,
# acl_file, password_file, dynamic-security. Each run starts all of them side by side.
#
#   tests/bench.sh decide [OPTION...]    one decision of the engine alone: nanoseconds and instructions
#   tests/bench.sh publish [OPTION...]   a message and a delivery, by number of rules and of users, in 2.0.11 and 2.1.2
#   tests/bench.sh load [OPTION...]      start, SIGHUP and an edit with up to a million users: time, memory, what others notice
#   tests/bench.sh logins [OPTION...]    what logins do to an unrelated publisher and subscriber, in 2.0.11 and 2.1.2
#   tests/bench.sh all [OPTION...]       all of these, in this order
#
#   --smoke         everything in tiny sizes: does it work at all?
#   --json FILE     writes the figures for machines, too
#   --svg FILE      publish: draws the README's chart (tests/bench/publish.svg)
#   --row NAME      this row alone (tests/bench.sh BENCHMARK --row ? names them); may be repeated
#   --broker VERSION  this broker alone (2.0.11, 2.1.2); may be repeated
#   --record        decide: writes its instructions down, to be compared from now on (tests/bench/instructions.toml)
#
# Instructions are those in user space, counted by valgrind's callgrind as the difference of two numbers of messages, each sent
# when the one before has arrived; they differ little between machines. Everything else says something beside its peers of the
# same run on a machine that does nothing else, and little by itself.
#
# logins: the pair publishes 500 messages a second, each at its time, however long the broker takes (open loop). `p50` and `p99`
# are the latencies of the messages that were due while something went on, counted from when they were due; `silence` is the
# longest time in which none arrived. Brokers, load and pair share this machine's processors; the pair goes before the others
# where that is allowed (to root), for in life it is on other machines.
#
# Ends with 0 unless something does not work at all, or a decision takes over 5 % more instructions than was written down for
# this compiler: a target that is missed is said and fails nothing. What cannot run here is counted as skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/packages.sh

case "${1:-}" in
    decide | publish | load | logins | all) ;;
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
[[ $1 == logins ]] || need valgrind || true
cargo build --quiet --release -p mqtt-acl-policy --example decider
if [[ $1 != decide ]]; then
    cargo build --quiet --release --workspace
    MQTT_ACL_SO=${MQTT_ACL_SO:-$(tests/pinned.sh)}
    export MQTT_ACL_SO
    tests/brokers/prepare.sh
fi
cargo test --quiet --bench bench --no-run
exec cargo test --quiet --bench bench -- "$@"
