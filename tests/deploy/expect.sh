# shellcheck shell=bash
# Sourced by the tests of the deployment: counts what is as promised, and shows what is not.

passed=0
failed=0
skipped=0

# expect TEXT COMMAND...: counts whether the command succeeds, and prints what it said where it does not. The command runs in
# this shell, and may change it.
expect() {
    local text=$1 said
    said=$(mktemp)
    shift
    if "$@" >"$said" 2>&1; then
        passed=$((passed + 1))
        echo "ok      $text"
    else
        failed=$((failed + 1))
        echo "FAILED  $text"
        tail -n 40 "$said" | sed 's/^/        /'
    fi
    rm -f "$said"
}

# skip TEXT REASON
skip() {
    skipped=$((skipped + 1))
    printf '!! skipped: %s: %s\n' "$1" "$2"
}

# counted COMMAND...: runs a test that closes with a line like the one below, and adds its numbers. Its lines are indented, so
# that nobody adds them twice.
counted() {
    local said p=0 f=1 s=0
    said=$(mktemp)
    { "$@" 2>&1 || true; } | tee "$said" | sed 's/^/    /'
    # One that does not come to its end has failed.
    read -r p f s < <(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p' "$said" | tail -n1) ||
        echo "FAILED  it did not come to its end"
    rm -f "$said"
    passed=$((passed + ${p:-0})) failed=$((failed + ${f:-1})) skipped=$((skipped + ${s:-0}))
}

# closing: the line that tests/run.sh counts.
closing() {
    echo
    echo "$passed passed, $failed failed, $skipped skipped"
    [[ $failed == 0 ]]
}
