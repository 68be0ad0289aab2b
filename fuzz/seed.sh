#!/bin/sh
# Fills the corpora of the packet targets with the packets of tests/vectors, one file per vector.
set -eu
cd "$(dirname "$0")"
mkdir -p corpus/decode corpus/roundtrip
grep -hv -e '^#' -e '^$' ../tests/vectors/*.txt | while read -r _ _ name _ hex; do
    printf '%s' "$hex" | xxd -r -p >"corpus/decode/$name"
done
cp corpus/decode/* corpus/roundtrip/
echo "$(ls corpus/decode | wc -l) seeds"
