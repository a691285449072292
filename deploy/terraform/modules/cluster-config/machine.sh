#!/bin/sh
# Makes a fresh machine a broker: its volume, the package, its files. cloud-init puts it beside machine.conf and files.
#
#   machine.sh bootstrap   all of it; may be repeated, and goes on where it was
#   machine.sh fetch       get the files again: before each start of the broker, and every hour for renewed certificates
#   machine.sh format DEV  make a file system on a volume that is empty
#
# machine.conf sets DEVICE (empty: no volume of its own), PACKAGE (URL or path of a .deb or .rpm), SHA256 (of it) and GROUP
# (that may read the files). Each line of files is MODE PATH COMMAND: what the command prints becomes the file.
set -eu
umask 077

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null # cloud-init writes it
. "$here/machine.conf"

fail() { echo "machine.sh: $*" >&2; exit 1; }

# format never touches a volume that has anything on it: it is that of a machine before this one.
format() {
	code=0
	found=$(blkid -p -o export "$1") || code=$?
	case $code in
	0) echo "$1 has a file system: $(echo "$found" | tr '\n' ' ')" ;;
	2) mkfs.ext4 -q -m 0 "$1" ;;
	*) fail "$1 cannot be read" ;;
	esac
}

# volume waits for the volume, which is attached when the machine runs already.
volume() {
	[ -n "$DEVICE" ] || return 0
	left=600
	until [ -b "$DEVICE" ]; do
		[ "$left" -gt 0 ] || fail "$DEVICE is not attached after 10 minutes"
		left=$((left - 1))
		sleep 1
	done
	if ! mountpoint -q /var/lib/trunkline; then format "$(readlink -f "$DEVICE")"; fi
	systemctl start var-lib-trunkline.mount
}

# package installs it, unless it is there.
package() {
	[ ! -x /usr/bin/trunklined ] || return 0
	file=$PACKAGE
	case $PACKAGE in
	https://*)
		file=$here/${PACKAGE##*/}
		curl --fail --silent --show-error --location --retry 5 --output "$file" "$PACKAGE"
		;;
	esac
	if [ -n "$SHA256" ]; then echo "$SHA256  $file" | sha256sum --check --quiet || fail "$PACKAGE is another file than expected"; fi
	case $file in
	*.deb) DEBIAN_FRONTEND=noninteractive apt-get install -y "$file" ;;
	*.rpm) dnf install -y "$file" ;;
	*) fail "$PACKAGE is neither .deb nor .rpm" ;;
	esac
}

# fetch leaves a file as it is if its command fails: a broker that has its files can start while their source is away.
fetch() {
	while read -r mode path command; do
		mkdir -p "$(dirname "$path")"
		if sh -c "$command" >"$path.new" </dev/null && [ -s "$path.new" ]; then
			chgrp "$GROUP" "$path.new"
			chmod "$mode" "$path.new"
			cmp -s "$path.new" "$path" || mv "$path.new" "$path"
		elif [ -s "$path" ]; then
			echo "machine.sh: $path stays as it was: $command failed" >&2
		else
			fail "there is no $path: $command failed"
		fi
		rm -f "$path.new"
	done <"$here/files"
}

bootstrap() {
	volume
	package
	fetch
	systemd-tmpfiles --create trunkline.conf # the volume's own directory belongs to root at first
	systemctl enable --now trunklined trunkline-files.timer
}

case $1 in
bootstrap | fetch) "$1" ;;
format) format "$2" ;;
*) fail "unknown word $1" ;;
esac
