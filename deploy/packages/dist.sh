#!/usr/bin/env bash
# Builds what is given to others: for each architecture a tarball, a .deb, an .rpm and a bill of materials for each program, and
# SHA256SUMS over all of them. The files depend on the commit, the Go release and the pinned tools alone: not on this machine, its
# clock, its user or the place of the work tree.
#
# usage: dist.sh OUT ARCH...      OUT is made anew; ARCH is amd64 or arm64; TOOLS is where nfpm and cyclonedx-gomod are
set -euo pipefail

out=$1 && shift
tools=${TOOLS:?is where nfpm and cyclonedx-gomod are}
programs=(trunklined trunkline trunkbench)
module=github.com/trunkline/trunkline

# release prints the version as dpkg and rpm sort it: 1.2.0~rc1 for the tag v1.2.0-rc1, 1.2.0 for v1.2.0, 1.2.0+34.gabc1234 that many
# commits later. Before the first tag it is 0.0.0 and the number of commits.
release() {
	local tag later
	if tag=$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null); then
		later=$(git describe --tags --match "$tag" --dirty=+dirty)
		later=${later#"$tag"}
	else
		tag=v0.0.0
		later=-$(git rev-list --count HEAD)-g$(git describe --always --exclude '*' --dirty=+dirty)
	fi
	tag=${tag#v} later=${later/#-/+}
	echo "${tag//-/\~}${later//-/.}"
}

SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
PACKAGE_VERSION=$(release)
export SOURCE_DATE_EPOCH PACKAGE_VERSION LC_ALL=C TZ=UTC CGO_ENABLED=0 GOFLAGS=-trimpath
umask 022
rm -rf "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The compiler's own stamp depends on how the work tree was checked out.
stamps="-X $module/broker.Version=$PACKAGE_VERSION -X $module/cmd/internal/program.revision=$(git rev-parse HEAD)"
host=$(go env GOHOSTARCH)
for arch in $(printf '%s\n' "$host" "$@" | sort -u); do
	GOOS=linux GOARCH=$arch go build -buildvcs=false -ldflags "-s -w $stamps" -o "$work/$arch/" "${programs[@]/#/./cmd/}"
done

# The pages and completions are written by the programs themselves.
mkdir -p "$work"/{man/man1,man/man8,completion/{bash,zsh,fish}} "$out"
for p in "${programs[@]}"; do
	section=1 && [ "$p" != trunklined ] || section=8
	env -i SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" TZ=UTC "$work/$host/$p" manual "$work/man/man$section"
	env -i "$work/$host/$p" completion bash >"$work/completion/bash/$p"
	env -i "$work/$host/$p" completion zsh >"$work/completion/zsh/_$p"
	env -i "$work/$host/$p" completion fish >"$work/completion/fish/$p.fish"
done
gzip -9n "$work"/man/man?/*

for arch in "$@"; do
	name=trunkline_${PACKAGE_VERSION}_linux_$arch
	STAGE=$work/$name
	export STAGE ARCH=$arch
	mkdir "$STAGE"
	cp -r "$work/$arch" "$STAGE/bin"
	cp -r "$work/man" "$work/completion" "$STAGE/"
	cp LICENSE README.md "$STAGE/"
	for p in "${programs[@]}"; do
		"$tools/cyclonedx-gomod" bin -json -std -noserial -notimestamp -version "$PACKAGE_VERSION" \
			-output "$out/${p}_${PACKAGE_VERSION}_linux_$arch.cdx.json" "$STAGE/bin/$p"
	done
	"$tools/nfpm" package --config deploy/packages/nfpm.yaml --packager deb --target "$out/"
	"$tools/nfpm" package --config deploy/packages/nfpm.yaml --packager rpm --target "$out/"
	tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -C "$work" -c "$name" |
		gzip -9n >"$out/$name.tar.gz"
done
cd "$out" && sha256sum -- * >SHA256SUMS
