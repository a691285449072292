# Words for the image; the main Makefile includes this file. Podman has health checks in the docker format alone.
DOCKER ?= docker
IMAGE  ?= trunkline:latest
ROOTFS := $(BIN)/image

.PHONY: image image-rootfs

image: image-rootfs ## the image of the programs in dist/, for this machine's architecture (DOCKER=docker or podman, IMAGE=name)
	BUILDAH_FORMAT=docker $(DOCKER) build -t $(IMAGE) --build-arg TARGETARCH=$$($(GO) env GOARCH) -f deploy/docker/Dockerfile $(ROOTFS)

image-rootfs: dist
	rm -rf $(ROOTFS)
	for arch in $(DIST_ARCHS); do \
	  mkdir -p $(ROOTFS)/$$arch/usr $(ROOTFS)/$$arch/var/lib/trunkline $(ROOTFS)/$$arch/etc/trunkline/tls && \
	  tar -xzf $(DIST)/trunkline_*_linux_$$arch.tar.gz --strip-components=1 -C $(ROOTFS)/$$arch/usr --wildcards '*/bin/*' || exit 1; \
	done
