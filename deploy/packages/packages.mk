# Words for packages; the main Makefile includes this file.
DIST        := dist
DIST_ARCHS  ?= amd64 arm64
DIST_TOOLS  := $(BIN)/tools
NFPM        := github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
CYCLONEDX   := github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0

.PHONY: dist dist-verify dist-tools deploy-packages machine-tools

dist: dist-tools ## reproducible packages, tarballs, SBOMs and SHA256SUMS in dist/ (DIST_ARCHS)
	TOOLS=$(abspath $(DIST_TOOLS)) deploy/packages/dist.sh $(DIST) $(DIST_ARCHS)

dist-verify: dist ## build dist/ a second time elsewhere, with an empty build cache, and compare every byte
	TOOLS=$(abspath $(DIST_TOOLS)) deploy/packages/reproducible.sh $(DIST) $(DIST_ARCHS)

dist-tools: # without names of this machine in them, because the SBOMs name their checksum
	@test -x $(DIST_TOOLS)/nfpm || CGO_ENABLED=0 GOBIN=$(abspath $(DIST_TOOLS)) $(GO) install -trimpath $(NFPM)
	@test -x $(DIST_TOOLS)/cyclonedx-gomod || CGO_ENABLED=0 GOBIN=$(abspath $(DIST_TOOLS)) $(GO) install -trimpath $(CYCLONEDX)

# Debians of 200 and 300 MB; once made they serve all later runs on this machine.
DEBIAN_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/trunkline
DEBIAN_ROOT  := $(DEBIAN_CACHE)/debian-bookworm.tar
CLOUD_ROOT   := $(DEBIAN_CACHE)/debian-bookworm-cloud.tar

deploy-packages: DIST_ARCHS := $(shell $(GO) env GOARCH)
deploy-packages: dist machine-tools terraform $(DEBIAN_ROOT) $(CLOUD_ROOT) ## install the packages on Debian machines with a systemd of their own; root (installs what it lacks)
	DIST=$(abspath $(DIST)) DEBIAN_ROOT=$(DEBIAN_ROOT) CLOUD_ROOT=$(CLOUD_ROOT) $(GO) test -tags packages -count 1 -timeout 10m -v ./deploy/packages

machine-tools:
	@for tool in mmdebstrap:mmdebstrap systemd-nspawn:systemd-container rpm:rpm ip:iproute2 openssl:openssl; do \
	  command -v $${tool%%:*} >/dev/null || lacking="$$lacking $${tool##*:}"; \
	done; test -z "$$lacking" || { apt-get update -qq && apt-get install -y -qq --no-install-recommends $$lacking; }

$(CLOUD_ROOT): DEBIAN_MORE := ,cloud-init,e2fsprogs
$(DEBIAN_ROOT) $(CLOUD_ROOT): | machine-tools
	@mkdir -p $(@D)
	mmdebstrap --variant=minbase --include=systemd,systemd-sysv,dbus$(DEBIAN_MORE) --dpkgopt=force-unsafe-io bookworm $@.part.tar
	@mv $@.part.tar $@
