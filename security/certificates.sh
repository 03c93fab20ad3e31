#!/bin/sh
# Issues the certificates of a private authority, into the current folder:
#
#   certificates.sh authority               ca.pem, which everybody gets, and ca.key, which nobody gets
#   certificates.sh server NAME ALTNAMES    NAME.pem, NAME.key, and NAME.both.pem with both, for MongoDB; ALTNAMES is
#                                           what clients call it, such as DNS:rabbitmq,IP:10.0.0.7
#   certificates.sh client NAME...          NAME.pem and NAME.key of each: a role, or a gateway by its MAC
set -eu
umask 077
config=$(dirname "$(realpath "$0")")/openssl.cnf
export NAMES=none # only servers have any

authority() {
    openssl req -x509 -config "$config" -extensions authority -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
        -days 3650 -subj "/CN=ESL backbone" -keyout ca.key -out ca.pem 2>ca.log || { cat ca.log >&2; exit 1; }
    rm ca.log
    chmod 644 ca.pem
}

# Issues NAME.pem of a kind: server or client.
issue() {
    openssl req -new -config "$config" -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$2" \
        -keyout "$2.key" -out "$2.csr" 2>"$2.log" || { cat "$2.log" >&2; exit 1; }
    openssl x509 -req -in "$2.csr" -CA ca.pem -CAkey ca.key -set_serial "0x$(openssl rand -hex 16)" -days 825 \
        -extfile "$config" -extensions "$1" -out "$2.pem" 2>"$2.log" || { cat "$2.log" >&2; exit 1; }
    rm "$2.csr" "$2.log"
    chmod 644 "$2.pem"
}

case "${1-}/$#" in
    authority/1) authority ;;
    server/3)
        NAMES=$3
        issue server "$2"
        cat "$2.pem" "$2.key" >"$2.both.pem"
        ;;
    client/1) echo "whose certificate?" >&2; exit 2 ;;
    client/*)
        shift
        for name; do issue client "$name"; done
        ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
