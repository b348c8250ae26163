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

# counted COMMAND...: runs a test that closes with a line like the one below, and adds its numbers.
counted() {
    local said counts
    # Shown as it comes, and kept for the count.
    said=$("$@" 2>&1 | tee /dev/fd/3) || true
    counts=$(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed(, ([0-9]+) skipped)?$/\1 \2 \4/p' <<<"$said" | tail -n1)
    local p=0 f=1 s=0
    # One that does not come to its end has failed.
    [[ -z $counts ]] || read -r p f s <<<"$counts"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + ${s:-0}))
}
exec 3>&1

# closing: the line that tests/run.sh counts.
closing() {
    echo
    echo "$passed passed, $failed failed, $skipped skipped"
    [[ $failed == 0 ]]
}
