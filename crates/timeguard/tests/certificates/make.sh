#!/bin/sh
# Makes the certificates of the tests: one root, a forger with the same name, and hosts whose spans are fixed, so that
# no test depends on the day on which it runs. The keys protect nothing. Needs openssl 3; overwrites what is here.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# authority NAME FOLDER: a root that is valid from 2000 to 2066.
authority() {
    mkdir -p "$work/$1"
    : > "$work/$1/index"
    openssl ecparam -name prime256v1 -genkey -noout -out "$work/$1/key.pem"
    printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n' > "$work/root.ext"
    openssl req -new -key "$work/$1/key.pem" -subj "/CN=Perch test root" -out "$work/root.csr"
    sign "$1" "$work/root.csr" "$work/root.ext" 20000101000000Z 20660101000000Z "$1.pem" -selfsign
}

# sign AUTHORITY REQUEST EXTENSIONS FROM TO OUT [-selfsign]
sign() {
    printf '[ca]\ndefault_ca=c\n[c]\ndatabase=%s\nnew_certs_dir=%s\nrand_serial=yes\ndefault_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\n' \
        "$work/$1/index" "$work" > "$work/ca.conf"
    if [ "${7:-}" = -selfsign ]; then set -- "$@" ; how="-selfsign"; else how="-cert $1.pem"; fi
    # shellcheck disable=SC2086
    openssl ca -batch -notext -config "$work/ca.conf" -keyfile "$work/$1/key.pem" $how \
        -in "$2" -extfile "$3" -startdate "$4" -enddate "$5" -out "$6" 2>> "$work/log" || { cat "$work/log"; exit 1; }
}

# host NAME AUTHORITY SAN FROM TO: a certificate with its key behind it.
host() {
    openssl ecparam -name prime256v1 -genkey -noout -out "$work/key.ec"
    openssl pkcs8 -topk8 -nocrypt -in "$work/key.ec" -out "$work/key.pem"
    openssl req -new -key "$work/key.pem" -subj "/CN=$1" -out "$work/host.csr"
    printf 'subjectAltName=%s\nbasicConstraints=CA:FALSE\n' "$3" > "$work/host.ext"
    sign "$2" "$work/host.csr" "$work/host.ext" "$4" "$5" "$1.pem"
    cat "$work/key.pem" >> "$1.pem"
}

authority root
authority forger
host one root IP:127.0.0.1 20261001000000Z 20261230000000Z
host two root IP:127.0.0.1 20261101000000Z 20270130000000Z
host three root IP:127.0.0.1 20261015000000Z 20270115000000Z
host expired root IP:127.0.0.1 20200101000000Z 20210101000000Z
host future root IP:127.0.0.1 20400101000000Z 20410101000000Z
host other-name root DNS:elsewhere.test 20261001000000Z 20261230000000Z
host forged forger IP:127.0.0.1 20261001000000Z 20261230000000Z
host long-one root DNS:one.test,IP:127.0.0.1 20261001000000Z 20651230000000Z
host long-two root DNS:two.test,IP:127.0.0.1 20261001000000Z 20651230000000Z

# A host under an authority of its own that ends before it does.
mkdir -p "$work/short"; : > "$work/short/index"
openssl ecparam -name prime256v1 -genkey -noout -out "$work/short/key.pem"
openssl req -new -key "$work/short/key.pem" -subj "/CN=Perch test intermediate" -out "$work/short.csr"
printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n' > "$work/short.ext"
sign root "$work/short.csr" "$work/short.ext" 20261110000000Z 20261215000000Z short.pem
host under-short short IP:127.0.0.1 20261001000000Z 20261230000000Z
cat short.pem >> under-short.pem
rm short.pem
