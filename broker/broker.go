package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/trunkline/trunkline/broker/internal/admin"
	"github.com/trunkline/trunkline/broker/internal/controller"
	"github.com/trunkline/trunkline/broker/internal/failpoint"
	"github.com/trunkline/trunkline/broker/internal/liveness"
	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/mover"
	"github.com/trunkline/trunkline/broker/internal/planner"
	"github.com/trunkline/trunkline/broker/internal/raftnet"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/broker/internal/session"
	"github.com/trunkline/trunkline/broker/internal/transport"
	"github.com/trunkline/trunkline/protocol"
)

// Version is the version of this software; the build sets it.
var Version = "dev"

// DrainLimit bounds Drain: after it the broker stops whatever is left to hand over.
const DrainLimit = 8 * time.Second

// ErrDecommissioned is in the error of Open and Run of a broker whose ID was taken out of the cluster: there is no way back.
var ErrDecommissioned = errors.New("was decommissioned")

// Broker is one running broker.
type Broker struct {
	cfg     Config
	self    Member // addresses as bound: port 0 is resolved
	log     *slog.Logger
	metrics *prometheus.Registry
	reg     *scope // of metrics
	boot    [16]byte
	started time.Time
	dir     *dataDir
	known   *registry
	levels  protocol.Levels // that this broker understands
	founds  bool            // a cluster, in this run

	certs      *certificates
	net        *raftnet.Network
	detector   *liveness.Detector
	takeover   *liveness.Takeover
	node       *raftnode.Node
	meta       *meta.Service
	controller *controller.Controller
	mover      *mover.Mover
	planner    *planner.Planner
	server     *session.Server
	listener   *transport.Listener
	admin      *admin.Server

	ctx      context.Context // of background work; ends with Close
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	draining atomic.Bool
	short    atomic.Bool // of disk space
	starved  atomic.Bool // of processors
	formed   atomic.Bool // registered in the metadata since this start
	refused  refusals
	pulse    pulse
	planMu   sync.Mutex // one preview at a time
	fatal    chan error // first reason why this broker must not go on; capacity 1

	closeOnce sync.Once
	closeErr  error
	undo      []func() error // reverse order of start; guarded by start being over
}

// Open starts a broker. It returns when the broker serves clients, which may be before a majority of the cluster is there: Ready
// tells. ctx bounds the start only.
func Open(ctx context.Context, cfg Config) (*Broker, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := failpoint.Start(); err != nil {
		return nil, err
	}
	self, _ := cfg.Self() // Validate checked it
	b := &Broker{cfg: cfg, self: self, levels: cfg.levels, started: time.Now(), fatal: make(chan error, 1), metrics: cfg.Registerer}
	if b.metrics == nil {
		b.metrics = prometheus.NewRegistry()
		b.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	b.reg = &scope{Registerer: b.metrics}
	b.closing("metrics", b.reg.close)
	b.log = cfg.newLogger(os.Stderr).With("broker", uint64(cfg.Broker))
	_, _ = rand.Read(b.boot[:]) // never fails: crypto/rand
	b.ctx, b.cancel = context.WithCancel(context.Background())
	for _, step := range []func(context.Context) error{
		b.openDir, b.checkDisk, b.openCertificates, b.openNetwork, b.join, b.openLiveness, b.openRaft, b.openMeta, b.openController,
		b.openListener, b.openSession, b.openAdmin,
	} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, b.Close())
		}
	}
	b.background()
	b.log.Info("broker serves clients", "listen", b.self.Listen, "raft", b.self.Raft, "admin", b.self.Admin, "version", Version)
	return b, nil
}

// closing registers what undoes a step of the start.
func (b *Broker) closing(what string, undo func() error) {
	b.undo = append(b.undo, func() error {
		if err := undo(); err != nil {
			return fmt.Errorf("close %s: %w", what, err)
		}
		return nil
	})
}

func (b *Broker) openDir(context.Context) error {
	dir, err := openDataDir(b.cfg)
	if err != nil {
		return err
	}
	b.dir = dir
	b.known = newRegistry(dir, b.levels)
	b.founds = len(dir.id.Founders) > 0 && !dir.id.formed()
	b.closing("data directory", dir.close)
	return nil
}

func (b *Broker) openCertificates(context.Context) error {
	certs, err := openCertificates(b.cfg, b.self, b.log)
	b.certs = certs
	return err
}

// openRaft starts Dragonboat on the network.
func (b *Broker) openRaft(context.Context) error {
	node, err := raftnode.Open(raftnode.Config{
		ClusterID: clusterID(b.cfg.Cluster), Self: b.cfg.Broker, Dir: b.dir.file("raft"), Net: b.net,
		Tick: b.cfg.Raft.Tick, Log: b.log, Registerer: b.reg,
	})
	if err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	b.node = node
	b.closing("raft", node.Close)
	return nil
}

// Addr returns where clients reach this broker.
func (b *Broker) Addr() string { return b.self.Listen }

// AdminAddr returns the address of the admin HTTP endpoints.
func (b *Broker) AdminAddr() string { return b.self.Admin }

// CAFile returns the PEM file that clients need to trust.
func (b *Broker) CAFile() string { return b.certs.files.CA }

// Ready returns nil when this broker serves: the metadata has a leader, this broker is registered, and the replicas placed here run.
func (b *Broker) Ready() error {
	switch {
	case b.draining.Load():
		return errors.New("draining")
	case b.meta.Leader() == 0:
		return errors.New("the metadata shard has no leader: is a majority of the members up?")
	case !b.formed.Load():
		return errors.New("not registered in the cluster's metadata yet")
	}
	if !b.controller.Ready() {
		return errors.New("replicas of this broker are starting")
	}
	return nil
}

// Welcome says for people how to reach the broker.
func (b *Broker) Welcome() string {
	return fmt.Sprintf("broker %d of cluster %q serves clients at %s; CA %s; admin http://%s/readyz\ntry: trunkline --context %s topic create hello",
		b.cfg.Broker, b.cfg.Cluster, b.self.Listen, b.CAFile(), b.self.Admin, b.dir.file("context.json"))
}

// Run runs until ctx ends and then drains and closes; or until the broker cannot go on, and returns why.
func (b *Broker) Run(ctx context.Context) error {
	select {
	case err := <-b.fatal:
		b.log.Error("broker stops", "error", err)
		return errors.Join(err, b.Close())
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), DrainLimit)
	defer cancel()
	if err := b.Drain(drain); err != nil {
		b.log.Warn("drain is not complete", "error", err)
	}
	return b.Close()
}

// Drain tells clients to move and hands over every leadership, until ctx ends. The broker still serves afterwards what cannot be
// handed over; Close stops it.
func (b *Broker) Drain(ctx context.Context) error {
	if b.draining.Swap(true) {
		return nil
	}
	b.log.Info("draining")
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(DrainLimit)
	}
	b.server.Drain(time.Until(deadline))
	err := b.controller.Drain(ctx)
	b.awaitClients(ctx)
	return err
}

// awaitClients gives clients a moment to leave by themselves.
func (b *Broker) awaitClients(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for b.server.Connections() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// fail makes Run return err, unless it has a reason already.
func (b *Broker) fail(err error) {
	select {
	case b.fatal <- err:
	default:
	}
}

// Close stops everything in reverse order of the start and waits. It is idempotent.
func (b *Broker) Close() error {
	b.closeOnce.Do(func() {
		b.cancel()
		b.wg.Wait() // first: the last step lets another process have the data directory
		var errs []error
		for i := len(b.undo) - 1; i >= 0; i-- {
			errs = append(errs, b.undo[i]())
		}
		b.closeErr = errors.Join(errs...)
		if b.dir != nil {
			b.log.Info("broker stopped")
		}
	})
	return b.closeErr
}

// peers returns the Raft addresses of the other brokers.
func (b *Broker) peers() map[protocol.BrokerID]string {
	return b.known.addresses(b.cfg.Broker, b.cfg.Members)
}

// writeContext leaves a file in the data directory that clients on this machine can use.
func (b *Broker) writeContext() error {
	ca, err := filepath.Abs(b.CAFile())
	if err != nil {
		return fmt.Errorf("context: %w", err)
	}
	text := fmt.Sprintf("{\"brokers\": [%q], \"ca\": %q}\n", b.self.Listen, ca)
	return writeFileDurably(b.dir.file("context.json"), []byte(text))
}
