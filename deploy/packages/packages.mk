# Words for packages; the main Makefile includes this file.
DIST        := dist
DIST_ARCHS  ?= amd64 arm64
DIST_TOOLS  := $(BIN)/tools
NFPM        := github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
CYCLONEDX   := github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0

.PHONY: dist dist-verify dist-tools deploy-packages

dist: dist-tools ## reproducible packages, tarballs, SBOMs and SHA256SUMS in dist/ (DIST_ARCHS)
	TOOLS=$(abspath $(DIST_TOOLS)) deploy/packages/dist.sh $(DIST) $(DIST_ARCHS)

dist-verify: dist ## build dist/ a second time elsewhere, with an empty build cache, and compare every byte
	TOOLS=$(abspath $(DIST_TOOLS)) deploy/packages/reproducible.sh $(DIST) $(DIST_ARCHS)

dist-tools: # without names of this machine in them, because the SBOMs name their checksum
	@test -x $(DIST_TOOLS)/nfpm || CGO_ENABLED=0 GOBIN=$(abspath $(DIST_TOOLS)) $(GO) install -trimpath $(NFPM)
	@test -x $(DIST_TOOLS)/cyclonedx-gomod || CGO_ENABLED=0 GOBIN=$(abspath $(DIST_TOOLS)) $(GO) install -trimpath $(CYCLONEDX)
