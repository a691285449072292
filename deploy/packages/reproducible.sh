#!/usr/bin/env bash
# Builds the commit of the work tree again, from a clone in another place, with an empty build cache, another umask, time zone and
# locale, and compares every file with DIST.
#
# usage: reproducible.sh DIST ARCH...      TOOLS is where nfpm and cyclonedx-gomod are
set -euo pipefail

dist=$(realpath "$1") && shift
TOOLS=$(realpath "${TOOLS:?is where nfpm and cyclonedx-gomod are}")
export TOOLS
if [ -n "$(git status --porcelain)" ]; then
	echo 'reproducible.sh: the work tree has changes that no commit holds: commit them, and run make dist again' >&2
	exit 1
fi
again=$(mktemp -d)
trap 'rm -rf "$again"' EXIT
git clone -q --no-hardlinks . "$again/elsewhere"
git -C "$again/elsewhere" checkout -q "$(git rev-parse HEAD)"
cd "$again/elsewhere"
umask 077
GOCACHE=$again/cache TZ=Pacific/Chatham LC_ALL=C.UTF-8 deploy/packages/dist.sh "$again/dist" "$@"
cd "$again/dist"
sha256sum --quiet --strict -c "$dist/SHA256SUMS"
diff <(ls "$dist") <(ls)
echo "$(($(wc -l <SHA256SUMS))) files are the same, byte for byte: $*"
