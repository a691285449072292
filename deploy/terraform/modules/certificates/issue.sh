#!/bin/sh
# Makes and removes the files of a certificate directory with openssl. modules/certificates calls it; keys never leave DIR.
#
#   issue.sh authority DIR                       ca.pem and ca-key.pem, unless they are there
#   issue.sh certificate DIR NAME URI HOSTS DAYS NAME.pem: certificate and key in one file, replaced at once
#   issue.sh token DIR                           token: one client token, unless it is there
#   issue.sh remove DIR FILE...                  removes the files, and DIR if nothing else is in it
#
# HOSTS is a list of names and addresses, separated by commas.
set -eu
umask 077

fail() { echo "issue.sh: $*" >&2; exit 1; }

command -v openssl >/dev/null || fail "openssl is not installed, and it makes the certificates: install it, or give your own (existing = true)"

authority() {
	if [ -s "$1/ca.pem" ]; then
		openssl x509 -in "$1/ca.pem" -noout -checkend 86400 >/dev/null || fail "$1/ca.pem expires within a day: remove it and ca-key.pem, then every broker's certificate is made anew"
		return
	fi
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -sha256 -nodes -days 3650 -subj "/CN=Trunkline CA" \
		-addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign \
		-keyout "$1/ca-key.pem" -out "$1/ca.pem.new" 2>"$1/openssl.log" || fail "$(cat "$1/openssl.log")"
	chmod 644 "$1/ca.pem.new"
	mv "$1/ca.pem.new" "$1/ca.pem"
	rm "$1/openssl.log"
}

# names HOSTS URI prints the subject alternative names in openssl's words.
names() {
	printf 'URI:%s' "$2"
	echo "$1" | tr ',' '\n' | while read -r host; do
		case $host in
		*:*) printf ',IP:%s' "$host" ;;
		*[!0-9.]*) printf ',DNS:%s' "$host" ;;
		*) printf ',IP:%s' "$host" ;;
		esac
	done
}

certificate() {
	work=$(mktemp -d "$1/.issue.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	cat >"$work/ext" <<-EOT
		basicConstraints = critical,CA:FALSE
		keyUsage = critical,digitalSignature
		extendedKeyUsage = serverAuth,clientAuth
		subjectAltName = $(names "$4" "$3")
	EOT
	{
		openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -sha256 -nodes -subj "/CN=$2" -keyout "$work/key" -out "$work/csr" &&
			openssl x509 -req -sha256 -days "$5" -in "$work/csr" -CA "$1/ca.pem" -CAkey "$1/ca-key.pem" \
				-set_serial "0x4$(openssl rand -hex 15)" -extfile "$work/ext" -out "$work/cert"
	} >"$work/log" 2>&1 || fail "$2: $(cat "$work/log")"
	cat "$work/cert" "$work/key" >"$work/pair"
	mv "$work/pair" "$1/$2.pem"
}

token() {
	[ -s "$1/token" ] && return
	openssl rand -hex 32 >"$1/token.new"
	mv "$1/token.new" "$1/token"
}

verb=$1 dir=$2
shift 2
case $verb in
authority | token)
	mkdir -p "$dir"
	"$verb" "$dir"
	;;
certificate) certificate "$dir" "$@" ;;
remove)
	for file; do rm -f "$dir/$file"; done
	rmdir "$dir" 2>/dev/null || true # somebody keeps something else there
	;;
*) fail "unknown word $verb" ;;
esac
