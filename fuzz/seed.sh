#!/bin/sh
# Fills the corpora with the packets of tests/vectors, one file per vector: as they are for the targets of packets, and
# for `session` as a script in which a client that is connected says them (see fuzz_targets/session.rs).
set -eu
cd "$(dirname "$0")"
mkdir -p corpus/decode corpus/roundtrip corpus/session corpus/config

# The first of all choices of options, in as many bytes.
options=$(printf '00%.0s' $(seq 17))

# Steps of a script: say the bytes (in hex), up to 255 at a time.
say() {
    printf '%s' "$1" | fold -w 510 | while read -r part || [ -n "$part" ]; do
        printf '1000%02x%s' $((${#part} / 2)) "$part"
    done
}

# Steps of a script: what comes before a packet of this version and name. A CONNECT comes first.
begin() {
    case $1$2 in
        *connect_*) printf '0200' ;;
        *5*) printf '000000000000' ;;
        *4*) printf '000001000000' ;;
        *) printf '000003000000' ;;
    esac
}

grep -hv -e '^#' -e '^$' ../tests/vectors/*.txt | while read -r versions _ name _ hex; do
    hex=$(printf '%s' "$hex" | tr -d ' ')
    printf '%s' "$hex" | xxd -r -p >"corpus/decode/$name"
    printf '%s%s%s' "$options" "$(begin "$versions" "$name")" "$(say "$hex")" | xxd -r -p >"corpus/session/$name"
done
cp corpus/decode/* corpus/roundtrip/
echo "$(ls corpus/decode | wc -l) seeds"
