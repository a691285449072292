# Trunkline. `make` alone lists the words.
GO       ?= go
BIN      := bin
PKGS     := ./...
COMMANDS := trunklined trunkline trunkbench
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
TIME     ?= 10s
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -X github.com/trunkline/trunkline/broker.Version=$(VERSION)

.DEFAULT_GOAL := help
.PHONY: help build demo hostile scale test race lint fuzz ci clean

help: ## list these words
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build trunklined, trunkline and trunkbench into bin/
	@mkdir -p $(BIN)
	$(GO) build -ldflags '$(LDFLAGS)' -o $(BIN)/ $(addprefix ./cmd/,$(COMMANDS))

demo: build ## three brokers, a real file, leaders killed while it streams: nothing lost, repeated or reordered (INPUT=file)
	$(BIN)/trunkbench demo $(if $(INPUT),--input '$(INPUT)') $(DEMO_FLAGS)

hostile: build ## ten million random and mutated frames at three brokers, which go on serving (HOSTILE_FLAGS='--frames N --seed S')
	$(BIN)/trunkbench hostile $(HOSTILE_FLAGS)

scale: build ## 200 partitions on three brokers: idle cost of each, and the pause of a kill (SCALE_FLAGS)
	$(BIN)/trunkbench scale $(SCALE_FLAGS)

test: build ## all tests, the black-box ones with the real binaries included
	$(GO) test -timeout 8m $(PKGS)

race: ## all tests with the race detector
	$(GO) test -race -timeout 15m $(PKGS)

lint: ## vet, format and golangci-lint
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w on these'; exit 1; }
	$(GO) vet $(PKGS)
	@tool=$$(command -v golangci-lint || echo "$$($(GO) env GOPATH)/bin/golangci-lint"); \
	if ! "$$tool" version 2>/dev/null | grep -q 'version 2.15.0'; then $(GO) install $(GOLANGCI) && tool="$$($(GO) env GOPATH)/bin/golangci-lint"; fi; \
	"$$tool" run --timeout 10m

fuzz: ## every fuzz test for TIME (default 10s)
	@for pkg in $$($(GO) list $(PKGS)); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(TIME) $$pkg || exit 1; \
	  done; \
	done

ci: lint test ## what CI runs

clean: ## remove bin/
	rm -rf $(BIN)
