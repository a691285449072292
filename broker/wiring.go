package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline/trunkline/broker/internal/admin"
	"github.com/trunkline/trunkline/broker/internal/controller"
	"github.com/trunkline/trunkline/broker/internal/failpoint"
	"github.com/trunkline/trunkline/broker/internal/feed"
	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/broker/internal/liveness"
	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/mover"
	"github.com/trunkline/trunkline/broker/internal/partition"
	"github.com/trunkline/trunkline/broker/internal/planner"
	"github.com/trunkline/trunkline/broker/internal/raftnet"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/broker/internal/seglog"
	"github.com/trunkline/trunkline/broker/internal/session"
	"github.com/trunkline/trunkline/broker/internal/transport"
	"github.com/trunkline/trunkline/protocol"
)

// Limits of the start.
const (
	// probeLimit bounds asking one peer, at a first start, whether it knows this broker with another directory.
	probeLimit = 1500 * time.Millisecond
	// stalledDisk is how long one write to the Raft log may take before this broker gives its leaderships up.
	stalledDisk = time.Second
	// quorumEvery is how often partitions are told of their quorum without any change.
	quorumEvery = 250 * time.Millisecond
	// refusalsEvery is how often refused announcements are worth a line.
	refusalsEvery = 10 * time.Second
)

// openNetwork binds the Raft listener and asks the peers whether they would have this broker.
func (b *Broker) openNetwork(ctx context.Context) error {
	n, err := raftnet.New(raftnet.Config{
		ClusterID: clusterID(b.cfg.Cluster), Self: b.cfg.Broker, BootID: b.boot, DirID: b.dir.id.DirID, Levels: b.levels,
		Listen: b.cfg.RaftListen, Addr: advertised(b.self.Raft), Peers: b.peers(), TLS: b.certs.source,
		CheckPeer: b.known.check, OnRejected: b.onRejected, OnPeerDown: b.onPeerDown, OnPeerUp: b.onPeerUp,
		OnJoin:                 b.onJoin,
		OnFetch:                func(from protocol.BrokerID, request []byte) []byte { return b.controller.AnswerFetch(from, request) },
		OnPeerLost:             func(id protocol.BrokerID, boot [16]byte) { b.detector.PeerLost(id, boot) },
		HoldFrom:               raftnode.FirstPartitionShard, // the metadata is read on every broker
		SnapshotBytesPerSecond: int(b.cfg.Raft.SnapshotRate), Log: b.log, Registerer: b.reg,
	})
	if err != nil {
		return fmt.Errorf("raft_listen: %w", err)
	}
	b.net = n
	b.closing("raft network", n.Close)
	if portZero(b.self.Raft) {
		b.self.Raft = n.Addr()
	}
	if b.known.formed() || len(b.cfg.Join) > 0 {
		return nil
	}
	return b.probePeers(ctx)
}

// advertised returns an address that others may be told, "" if it has no port yet.
func advertised(addr string) string {
	if portZero(addr) {
		return ""
	}
	return addr
}

// probePeers asks every other member, at the first start of a data directory, whether it refuses this broker: then the
// directory is a wiped or foreign one. Members that do not answer are not waited for: they refuse later.
func (b *Broker) probePeers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	errs := make([]error, len(b.cfg.Members))
	var wg sync.WaitGroup
	for i, m := range b.cfg.Members {
		if m.ID == b.cfg.Broker {
			continue
		}
		wg.Go(func() {
			// Founding members are in each other's configuration from the beginning: not to be known is a mistake there.
			if _, reject, err := b.net.Probe(ctx, m.Raft); err == nil && reject != nil && reject.Code != raftnet.RejectBusy {
				errs[i] = b.rejected(m.ID, *reject)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (b *Broker) rejected(by protocol.BrokerID, r raftnet.Reject) error {
	if r.Code == raftnet.RejectRetired {
		return fmt.Errorf("broker %d refuses this broker (data_dir %s), which %w: %s", by, b.cfg.DataDir, ErrDecommissioned, r.Reason)
	}
	return fmt.Errorf("broker %d refuses this broker (ID %d, data_dir %s): %s", by, b.cfg.Broker, b.cfg.DataDir, r.Reason)
}

// onRejected ends this broker, unless it is the other one that belongs elsewhere.
func (b *Broker) onRejected(by protocol.BrokerID, r raftnet.Reject) {
	if r.Code == raftnet.RejectForeignCluster && b.known.formed() {
		b.log.Error("a broker of another cluster lives where one of this was", "broker", uint64(by), "reason", r.Reason)
		return
	}
	b.fail(b.rejected(by, r))
}

// The network meets peers from its Start on, which is after the detector was made.
func (b *Broker) onPeerDown(id protocol.BrokerID, boot [16]byte, cause string) {
	b.detector.PeerDown(id, boot, cause)
}

func (b *Broker) onPeerUp(id protocol.BrokerID, boot [16]byte) { b.detector.PeerUp(id, boot) }

// openLiveness makes the detector, and the metadata service before it: once Raft is started peers may announce leaders, which go
// into its table.
func (b *Broker) openLiveness(context.Context) error {
	b.meta = meta.New(meta.Config{Self: b.cfg.Broker, Log: b.log, Registerer: b.reg})
	b.closing("metadata", func() error { b.meta.Close(); return nil })
	b.known.follow(func(id protocol.BrokerID) bool { return b.meta.Image().Retired(id) })
	if err := b.net.SetPeers(b.peers()); err != nil {
		return fmt.Errorf("brokers remembered in %s: %w", b.dir.file("identity.json"), err)
	}
	b.detector = liveness.New(liveness.Config{
		Self: b.cfg.Broker, BootID: b.boot, Peers: slices.Collect(maps.Keys(b.peers())), Port: b.net.Liveness(), SilentAfter: b.cfg.Raft.SilentAfter,
		DiskStalled: func() bool { return b.node.StalledFor() > stalledDisk },
		DiskShort:   b.short.Load,
		Starved:     b.starved.Load,
		OnChange:    func(liveness.View) { b.server.Refresh(); b.updateQuorum() },
		OnTick:      b.onTick(),
		OnPayload:   b.onPayload,
		Log:         b.log, Registerer: b.reg,
	})
	return nil
}

// onTick returns what is called with each ping. Changes of belief reach the partitions through OnChange; the repetition is
// for partitions that started since.
func (b *Broker) onTick() func(time.Time) {
	var last time.Time
	return func(now time.Time) {
		if now.Sub(last) >= quorumEvery {
			last = now
			b.updateQuorum()
		}
		b.refused.report(now, b.log)
	}
}

// updateQuorum tells every partition whether this broker hears a majority of its replicas.
func (b *Broker) updateQuorum() { b.controller.UpdateQuorum(b.detector.HearsMajority) }

// onPayload gets what other brokers announce about leaders. It runs where their pings are read, which must not wait for a log.
func (b *Broker) onPayload(from protocol.BrokerID, payload []byte) {
	if err := b.meta.Leaders().Receive(from, payload); err != nil {
		b.refused.note(err)
	}
}

// refusals are announcements that were refused, for a line in the log now and then.
type refusals struct {
	count  atomic.Int64 // since the last line
	newest atomic.Pointer[error]
	logged time.Time // owned by report
}

func (r *refusals) note(err error) {
	r.newest.Store(&err)
	r.count.Add(1)
}

// report logs what was noted, at most once in refusalsEvery. One goroutine calls it.
func (r *refusals) report(now time.Time, log *slog.Logger) {
	if r.count.Load() == 0 || now.Sub(r.logged) < refusalsEvery {
		return
	}
	r.logged = now
	log.Warn("announcements refused", "count", r.count.Swap(0), "newest", *r.newest.Load())
}

func (b *Broker) openMeta(context.Context) error {
	shard := meta.NewRaftNode(b.node)
	b.meta.Attach(shard)
	var replicas []raftnode.Replica
	for _, id := range b.dir.id.Founders {
		replicas = append(replicas, raftnode.Replica{Broker: id, ReplicaID: uint64(id)})
	}
	if err := shard.Start(b.meta.Machine(), replicas); err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	b.meta.Start(b.ctx)
	return nil
}

func (b *Broker) openController(context.Context) error {
	steady := b.steady
	if b.cfg.Moves.KeepLeaders {
		steady = nil
	}
	c, err := controller.New(controller.Config{
		Self: b.cfg.Broker, Dir: b.dir.file("partitions"), DirID: meta.DirID(b.dir.id.DirID), Meta: b.meta, Leaders: b.meta.Leaders(),
		Node: b.node, Founders: b.dir.id.Founders,
		Machine: fsm.Config{
			Seglog:                 seglog.Options{SegmentBytes: int64(b.cfg.Topics.SegmentBytes), Cache: seglog.NewCache(int64(b.cfg.Limits.TailCache))},
			SnapshotBytesPerSecond: int(b.cfg.Raft.SnapshotRate), Log: b.log, Metrics: fsm.NewMetrics(b.reg),
		},
		Partition: partition.Config{
			MaxPendingBytes: int(b.cfg.Limits.PartitionPending), RetentionEvery: b.cfg.Topics.RetainEvery, Now: failpoint.Clock(),
			CompactBytes: uint64(b.cfg.Raft.CompactBytes), Log: b.log, Metrics: partition.NewMetrics(b.reg),
		},
		FetchFrom: b.net.Fetch, ScrubEvery: b.cfg.Topics.ScrubEvery, ScrubRate: int(b.cfg.Topics.ScrubRate), MoveRate: int(b.cfg.Moves.Rate),
		Broadcast: b.detector.Broadcast, Alive: b.detector.Alive, Roomy: b.roomy, Steady: steady, OnFatal: b.fail, Log: b.log, Registerer: b.reg,
	})
	if err != nil {
		return err
	}
	b.controller = c
	b.closing("controller", func() error { c.Close(); return nil })
	alive := func(id protocol.BrokerID) bool { return b.deadFor(id) == 0 }
	b.mover = mover.New(mover.Config{Meta: b.meta, Raft: b.node, Shards: c, Alive: alive, Log: b.log, Registerer: b.reg})
	b.planner = planner.New(planner.Config{
		Meta: b.meta, Leads: func() bool { return b.meta.Leader() == b.cfg.Broker }, DeadFor: b.deadFor,
		Limits: b.cfg.Moves.limits(), Log: b.log, Registerer: b.reg,
	})
	b.takeover = liveness.NewTakeover(liveness.TakeoverConfig{Detector: b.detector, Shards: c, Log: b.log, Registerer: b.reg})
	return nil
}

func (b *Broker) openSession(ctx context.Context) error {
	tokens, err := readTokens(b.cfg.Auth.TokensFile)
	if err != nil {
		return err
	}
	l := b.cfg.Limits
	b.server, err = session.NewServer(session.Config{
		Cluster: b.cfg.Cluster, Self: b.cfg.Broker, Version: Version, Tokens: tokens,
		Meta: session.FromMeta(b.meta), Leaders: session.FromLeaders(b.meta.Leaders()), Partitions: session.FromReplicas(b.controller.Get),
		Alive: b.aliveOrSelf, Status: b.status, Plan: b.plan, RaiseLevel: b.raiseLevel,
		Limits: session.Limits{MaxRecordBytes: int(l.MaxRecord), MaxBatchBytes: int(l.MaxBatch), InFlightBytes: int(l.ConnInFlight)},
		Feed:   feed.Config{}, Log: b.log, Registerer: b.reg,
	})
	if err != nil {
		return err
	}
	b.closing("sessions", func() error { b.server.Close(); return nil })
	// Everything that the callbacks of network and detector use is there now.
	b.closing("liveness", func() error { b.takeover.Close(); b.detector.Close(); return nil })
	b.net.Start()
	b.detector.Start(b.ctx)
	b.takeover.Start(b.ctx)
	if err := b.controller.Start(ctx); err != nil {
		return err
	}
	b.wg.Go(func() {
		if err := b.server.Serve(b.ctx, b.listener); err != nil && b.ctx.Err() == nil {
			b.fail(fmt.Errorf("client listener: %w", err))
		}
	})
	return nil
}

// openListener binds the socket for clients. It comes before the sessions because it must be closed after them.
func (b *Broker) openListener(context.Context) error {
	secret, err := b.dir.quicSecret()
	if err != nil {
		return err
	}
	reset, token := transport.Key(secret[:32]), transport.Key(secret[32:])
	b.listener, err = transport.Listen(transport.Config{
		Listen: b.cfg.Listen, TLS: b.certs.quic, ResetKey: &reset, TokenKey: &token,
		MaxConnections: b.cfg.Limits.MaxConnections, HandshakesPerSecond: b.cfg.Limits.handshakes(), MaxStreams: b.cfg.Limits.MaxStreams,
		Log: b.log, Registerer: b.reg,
	})
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if portZero(b.self.Listen) {
		b.self.Listen = b.listener.Addr().String()
	}
	b.closing("client listener", b.listener.Close)
	return nil
}

func (b *Broker) openAdmin(context.Context) error {
	b.pulse.parts = b.vitalParts()
	s, err := admin.Start(admin.Config{
		Listen: b.cfg.AdminListen, Alive: b.Alive, Ready: b.Ready, CaughtUp: b.CaughtUp, Damage: b.controller.Damage,
		Gatherer: b.metrics, Register: b.reg, Log: b.log,
	})
	if err != nil {
		return err
	}
	b.admin = s
	b.closing("admin", s.Close)
	if portZero(b.self.Admin) {
		b.self.Admin = s.Addr()
	}
	return b.writeContext()
}

func (b *Broker) aliveOrSelf(id protocol.BrokerID) bool {
	return id == b.cfg.Broker || b.detector.Alive(id)
}

func millis(d time.Duration) uint64 { return uint64(max(0, d.Milliseconds())) }

// readTokens reads one token a line; blank lines and lines that begin with # do not count.
func readTokens(file string) ([][]byte, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("auth.tokens_file: %w", err)
	}
	var tokens [][]byte
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			tokens = append(tokens, line)
		}
	}
	if len(tokens) == 0 {
		return nil, fmt.Errorf("auth.tokens_file: %s holds no token", file)
	}
	return tokens, nil
}
