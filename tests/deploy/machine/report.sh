# shellcheck shell=bash disable=SC2034
# Sourced by run.sh: counting. What reports does so by lines `ok - NAME`, `not ok - NAME: WHY` and `skip - NAME: WHY`;
# other lines are for people.

passed=0 failed=0 skipped=0
stage= # goes before the names

ok() { passed=$((passed + 1)); printf 'ok    %s%s\n' "$stage" "$1"; }
bad() { failed=$((failed + 1)); printf 'FAIL  %s%s%s\n' "$stage" "$1" "${2:+: $2}"; }
skip() { skipped=$((skipped + 1)); printf '!! skipped: %s%s: %s\n' "$stage" "$1" "$2"; }

# check NAME COMMAND...: counts whether it succeeds, and shows what it said where it does not.
check() {
    local name=$1 said
    shift
    if said=$("$@" 2>&1); then ok "$name"; else bad "$name" "$(tail -n 5 <<<"$said")"; fi
}

# is NAME EXPECTED COMMAND...: counts whether it prints just that.
is() {
    local name=$1 expected=$2 said
    shift 2
    said=$("$@" 2>&1) || true
    if [[ $said == "$expected" ]]; then ok "$name"; else bad "$name" "expected \`$expected\`, got \`$said\`"; fi
}

# report NAME COMMAND...: counts the lines of a program that reports. One that ends badly, or reports nothing, fails too.
report() {
    local name=$1 line before=$((passed + failed)) status=0
    shift
    while IFS= read -r line; do
        case $line in
            'ok - '*) ok "${line#ok - }" ;;
            'not ok - '*) bad "${line#not ok - }" ;;
            'skip - '*) skip "$name" "${line#skip - }" ;;
            "status "*) status=${line#status } ;;
            *) printf '      %s\n' "$line" ;;
        esac
    done < <("$@" 2>&1; echo "status $?")
    [[ $status == 0 && $((passed + failed)) -gt $before ]] || bad "$name" "it ended with $status"
}
