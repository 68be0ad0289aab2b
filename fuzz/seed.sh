#!/bin/sh
# Fills the corpora with the packets of tests/vectors, one file per vector: as they are for the targets of packets, and
# for `session` as a script in which a client that is connected says them (see fuzz_targets/session.rs); and `wal` with
# some records (see fuzz_targets/wal.rs), `password` with one of each form.
set -eu
cd "$(dirname "$0")"
mkdir -p corpus/decode corpus/roundtrip corpus/session corpus/config corpus/wal corpus/acl corpus/password corpus/proxy corpus/websocket corpus/jwt

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

# A record of the log in a script: length of the body, kind, body; a kind from 80 on ends the batch.
record() {
    printf '%02x%s%s' $((${#2} / 2)) "$1" "$2"
}

session=4300000000000000
message=1d000000020105000000000000004d00000000000000000174007061796c6f6164
records=$(
    record 81 010000006307000000
    record 05 "${session}010000006602010000"
    record 07 "$message"
    record 88 "${session}03020000000000000101010000002c010000010a0000002473686172652f672f66010100"
    record 89 "${session}43020000000000000100"
    record 91 "${session}010000000102000000$message"
    record 93 "01${session}00$message"
)
printf '00%s' "$records" | xxd -r -p >corpus/wal/whole
printf '0130100001%s' "$records" | xxd -r -p >corpus/wal/torn
printf '0230100001ff2f0080%s' "$records" | xxd -r -p >corpus/wal/damaged

# Stored passwords, as the targets of them read them, and files of users.
hash=$(head -c 64 /dev/zero | base64 -w 0)
scram=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
argon2="\$argon2id\$v=19\$m=64,t=1,p=1\$c2FsdHNhbHQ\$AAAAAAAAAAAAAAAAAAAAAAAAAAA"
printf '%s' "$argon2" >corpus/password/argon2id
printf '%s' "\$7\$2\$c2FsdHNhbHQ=\$$hash" >corpus/password/pbkdf2
printf '%s' "\$6\$c2FsdHNhbHQ=\$$hash" >corpus/password/sha512
printf '%s' "SCRAM-SHA-256\$2:c2FsdHNhbHRzYWx0c2FsdA==\$$scram:$scram" >corpus/password/scram
printf '# users\nada:%s\n\nbob:%s\n' "$argon2" "$argon2" >corpus/password/lines
printf '[{"user": "ada", "password": "%s", "groups": ["g"]}]' "$argon2" >corpus/password/json
# Rules: the choice, topics, the text.
printf 'Ba/1 a/# # b/ann c\nuser ann\ntopic read a/#\ntopic deny a/1\npattern write +/%%u\n' >corpus/acl/list
printf 'Ca/1 a/# # g/ann\n[groups]\ng = ["ann"]\n[[rules]]\ndeny = "all"\ntopics = ["a/1"]\ngroups = ["g"]\n[[rules]]\nallow = "subscribe"\ntopics = ["#", "g/%%u"]\nqos = [0]\n' >corpus/acl/toml
# Headers of a proxy; frames, behind the cut and the choice of a request.
printf 'PROXY TCP4 192.0.2.1 198.51.100.7 12345 1883\r\n' >corpus/proxy/text
printf '\r\n\r\n\0\r\nQUIT\n\041\021\0\014\300\0\002\001\306\063\144\007\060\071\007\133' >corpus/proxy/binary
printf '\310\001\002\202\0\0\0\0ab\211\200\0\0\0\0\200\201\0\0\0\0c\210\200\0\0\0\0' >corpus/websocket/frames
printf '\001{"sub":"ann","cid":"sensor","exp":1700000060,"nbf":0,"groups":["a"],"acl":{"all":["a/%%c"]}}' >corpus/jwt/claims
printf '\002{"alg":"HS256","typ":"JWT","kid":"a"}' >corpus/jwt/header
{ printf '\003' && cat ../src/access/rfc7515_keys.json; } >corpus/jwt/keys
printf '\000eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.AAAA' >corpus/jwt/token
echo "$(ls corpus/decode | wc -l) seeds"
