# Trunkline. `make` alone lists the words.
GO       ?= go
BIN      := bin
PKGS     := ./...
COMMANDS := trunklined trunkline trunkbench
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
TIME     ?=
SEED     ?= 1
ROW      ?= sigkill
CHAOS_SMOKE := leader,sigkill-rush,sigkill-all,powercut-all,partkill,stop-leader,stop-short,partition-leader,raft-delay,client-loss-5,clients-cut,nat-port,diskfull-leader,failed-fsync,diskfreeze,segmentflip-leader,journalflip,lag,panic-leader,oom,group-storm,named-producer,churn,clock
BENCH_SHORT := publish-256b-4p,publish-1k-4p,sync-1p,rate-300
BENCH_ALL   := publish-256b-1p,publish-256b-4p,publish-1k-1p,publish-1k-4p,sync-1p,sync-16p,e2e-half,e2e-half-1k,rate-300,rate-1k,rate-10k,fanout-1,fanout-2,fanout-4,catchup-1g,partitions-1,partitions-8,partitions-64,partitions-256,failover
CHAOS_PEERS := trunkline,jetstream:default,rabbitmq
BENCH_PEERS := trunkline,jetstream:*,kafka:*,rabbitmq:*
OUT         := trunkbench-out
STAGES      := ./protocol/frame ./protocol/batch ./broker/internal/session ./broker/internal/partition ./broker/internal/raftnet ./broker/internal/journal ./broker/internal/fsm ./broker/internal/seglog
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
PEERS    := $(BIN)/peers
NATS     := github.com/nats-io/nats-server/v2@v2.15.2
LDFLAGS  := -X github.com/trunkline/trunkline/broker.Version=$(VERSION)

.DEFAULT_GOAL := help
.PHONY: help build faults planted mix steps demo hostile scale members chaos chaos-smoke chaos-power chaos-peers bench bench-peers stages bench-readme peers peer-nats peer-kafka peer-rabbitmq test race lint fuzz ci clean

help: ## list these words
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build trunklined, trunkline and trunkbench into bin/
	@mkdir -p $(BIN)
	$(GO) build -ldflags '$(LDFLAGS)' -o $(BIN)/ $(addprefix ./cmd/,$(COMMANDS))

faults: ## build bin/faults/trunklined, whose failpoints a test can set (tag faults)
	@mkdir -p $(BIN)/faults
	$(GO) build -tags faults -ldflags '$(LDFLAGS)' -o $(BIN)/faults/ ./cmd/trunklined

planted: ## the chaos run must find each planted bug within two minutes; root and loop devices (SEED)
	SEED=$(SEED) $(GO) test -tags faults -count 1 -timeout 20m -v -run TestPlanted ./bench/chaos

mix: ## the release before (bench/blackbox/PREVIOUS) and this one in one cluster: rolled there, back, there, finalised; under two minutes
	$(GO) test -tags mix -count 1 -timeout 8m -v -run TestMixed ./bench/blackbox

steps: ## end the leader at every step of a move and of a decommission, with real Raft, about two minutes
	$(GO) test -tags faults -count 1 -timeout 10m -v -run TestLeadersEnd ./broker

demo: build ## three brokers, a real file, leaders killed while it streams: nothing lost, repeated or reordered (INPUT=file)
	$(BIN)/trunkbench demo $(if $(INPUT),--input '$(INPUT)') $(DEMO_FLAGS)

hostile: build ## ten million random and mutated frames at three brokers, which go on serving (HOSTILE_FLAGS='--frames N --seed S')
	$(BIN)/trunkbench hostile $(HOSTILE_FLAGS)

chaos: build faults ## faults against whole brokers under full load, every message checked (ROW, SEED, TIME, CHAOS_FLAGS)
	$(BIN)/trunkbench chaos --row '$(ROW)' --seed $(SEED) $(if $(TIME),--count 10000 --time $(TIME),--count 50) $(CHAOS_FLAGS)

chaos-smoke: build faults ## a short run of each kind of fault, one after the other; report in chaos-out/ (SEED, CHAOS_FLAGS)
	$(BIN)/trunkbench chaos --each --row $(CHAOS_SMOKE) --count 2 --seed $(SEED) --slack 2 --html chaos-out $(CHAOS_FLAGS)

chaos-power: build ## 50 power cuts, of one broker and of all at once; needs root and loop devices (SEED, CHAOS_FLAGS)
	$(BIN)/trunkbench chaos --row powercut,powercut-all --count 50 --seed $(SEED) $(CHAOS_FLAGS)

chaos-peers: build ## leaders killed, then all power cut, Trunkline and its peers in turns, about 45 minutes; `make peers` first (SEED, CHAOS_FLAGS)
	$(BIN)/trunkbench chaos --system $(CHAOS_PEERS) --row leader --count 5 --rounds 4 --rate 300 --partitions 3 --seed $(SEED) $(CHAOS_FLAGS)
	$(BIN)/trunkbench chaos --system $(CHAOS_PEERS) --row powercut-all --count 1 --warm-up 125s --rounds 5 --rate 300 --partitions 3 --seed $(SEED) $(CHAOS_FLAGS)

scale: build ## 200 partitions on three brokers: idle cost of each, restart of all, and the pause of a kill (SCALE_FLAGS)
	$(BIN)/trunkbench scale $(SCALE_FLAGS)

members: build ## grow, shrink, roll and repair at half load, asked beside measured, about 15 minutes (MEMBERS_FLAGS='--scenario roll')
	$(BIN)/trunkbench members $(MEMBERS_FLAGS)

bench: build peer-nats ## Trunkline and JetStream in turns, at most 6 minutes: table, results.json, report.html (BENCH_FLAGS)
	$(BIN)/trunkbench compare --drivers trunkline,jetstream --workload $(BENCH_SHORT) --rounds 2 --duration 8s --out $(OUT) $(BENCH_FLAGS)

bench-peers: build ## every installed system and every workload, a long run; `make peers` first (BENCH_FLAGS, BENCH_PEERS, BENCH_ALL)
	$(BIN)/trunkbench compare --drivers '$(BENCH_PEERS)' --workload $(BENCH_ALL) --out $(OUT) $(BENCH_FLAGS)

stages: ## what each stage of a record's road costs by itself, about a minute
	$(GO) test -run '^$$' -bench . -benchtime 500ms $(STAGES)

bench-readme: build ## README's figures from a results file (RESULTS, default that of the last bench)
	$(BIN)/trunkbench report $(or $(RESULTS),$(OUT)/results.json) --readme README.md

peers: peer-nats peer-kafka peer-rabbitmq ## install the peers' servers: NATS from its Go module, Kafka from Maven Central, RabbitMQ from Debian

peer-nats:
	@mkdir -p $(PEERS)
	@test -x $(PEERS)/nats-server || GOBIN=$(abspath $(PEERS)) $(GO) install $(NATS)

peer-kafka:
	@mkdir -p $(PEERS)
	@command -v java >/dev/null && command -v mvn >/dev/null || { apt-get update && apt-get install -y --no-install-recommends openjdk-17-jre-headless maven; }
	@test -d $(PEERS)/kafka || mvn -q -f bench/driver/kafka/pom.xml dependency:copy-dependencies -DoutputDirectory=$(abspath $(PEERS))/kafka

peer-rabbitmq:
	@test -x /usr/lib/rabbitmq/bin/rabbitmq-server || bench/driver/rabbitmq/install.sh

test: build ## all tests, the black-box ones with the real binaries included
	$(GO) test -timeout 8m $(PKGS)
	$(GO) test -tags faults -timeout 2m ./broker/internal/failpoint

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
	    echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(or $(TIME),10s) $$pkg || exit 1; \
	  done; \
	done

ci: lint test mix deploy-terraform deploy-packages ## what CI runs

clean: ## remove bin/
	rm -rf $(BIN)

include deploy/packages/packages.mk
include deploy/docker/docker.mk
include deploy/terraform/terraform.mk
