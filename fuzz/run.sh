#!/bin/sh
# fuzz/run.sh SECONDS: every target for so long, two at a time. Fails when any finds something; what it found is in
# fuzz/artifacts, the end of its log is shown.
set -eu
seconds=${1:?usage: fuzz/run.sh SECONDS}
cd "$(dirname "$0")"
./seed.sh
cargo +nightly fuzz build
mkdir -p artifacts

run() {
    cargo +nightly fuzz run "$1" -- -max_total_time="$seconds" -timeout=10 -len_control=10 >"artifacts/$1.log" 2>&1 && return
    echo "$1 found something:"
    tail -n 40 "artifacts/$1.log"
    return 1
}

found=0
for targets in 'decode roundtrip' 'session config' 'wal acl' 'jwt'; do
    running=
    for target in $targets; do
        run "$target" &
        running="$running $!"
    done
    for process in $running; do
        wait "$process" || found=1
    done
    for target in $targets; do
        printf '%s: ' "$target"
        grep '^Done' "artifacts/$target.log" || echo 'did not end'
    done
done
exit $found
