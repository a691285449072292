package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline/trunkline/client/internal/conn"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// Errors of this package.
var (
	ErrClosed   = errors.New("client is closed")
	ErrNoBroker = errors.New("no broker reachable")
)

// An attempt to connect first gets firstDial, then twice as much each time up to maxDial, which is several
// round trips to the other side of the world. A port that is closed ends an attempt at once; the short
// beginning is for a broker that died in the middle of the handshake and is back: the new process does
// not answer the packets of the old handshake.
const (
	firstDial = 400 * time.Millisecond
	maxDial   = 2 * time.Second
)

func dialTimeout(attempt int) time.Duration {
	return min(maxDial, firstDial<<min(attempt, 8))
}

// refreshEvery is how often images are asked for while a partition is stuck; refreshPause is the first
// pause after that, which doubles for as long as it stays so.
const (
	refreshEvery = time.Second
	refreshPause = 200 * time.Millisecond
)

// Hooks are called as things happen; nil ones are skipped. They must not block.
type Hooks struct {
	Connected     func(b protocol.BrokerID, addr string, took time.Duration)
	Disconnected  func(b protocol.BrokerID, addr string, err error)
	DialFailed    func(addr string, err error)
	LeaderChanged func(tp protocol.TopicPartition, l Leader)
}

// Config configures a Cluster.
type Config struct {
	Seeds []string
	Conn  conn.Config
	Warm  int // how many brokers to stay connected to without need
	Hooks Hooks
	Log   *slog.Logger
}

// Limits are what every broker met so far accepts.
type Limits struct {
	MaxRecordBytes     int
	MaxBatchBytes      int
	MaxInFlightBatches int
}

// Cluster is a client's view of a cluster.
type Cluster struct {
	cfg    Config
	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	stuck  atomic.Int64  // partitions that wait for a leader or a connection
	lost   chan struct{} // holds one: a broker does not lead and does not say who does

	mu           sync.Mutex // guards the following
	name         string     // of the cluster, from the first hello
	image        *Image     // nil until the first one
	imageChanged chan struct{}
	leaders      map[protocol.TopicPartition]*leaderEntry
	peers        map[protocol.BrokerID]*peer
	seeding      bool          // the seeds are being dialled
	live         int           // connections that are up
	liveChanged  chan struct{} // closed and replaced when one comes or goes
	limits       Limits
	seedErrs     map[string]error // why a seed can not be used, while it can not
}

// Open connects to the seeds and waits for the first image that names brokers: what a broker knows that has just
// started, or whose cluster has not formed yet, is nothing, which is not to be taken for a cluster without brokers
// and topics. It tries until ctx ends, or until every seed has failed for a reason that will not pass.
func Open(ctx context.Context, cfg Config) (*Cluster, error) {
	c := &Cluster{
		cfg: cfg, lost: make(chan struct{}, 1),
		imageChanged: make(chan struct{}), liveChanged: make(chan struct{}),
		leaders:  make(map[protocol.TopicPartition]*leaderEntry),
		peers:    make(map[protocol.BrokerID]*peer),
		seedErrs: make(map[string]error),
		limits: Limits{
			MaxRecordBytes: protocol.DefaultMaxRecordBytes, MaxBatchBytes: protocol.DefaultMaxBatchBytes,
			MaxInFlightBatches: protocol.MaxInFlightBatches,
		},
	}
	c.ctx, c.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	c.wg.Go(c.runSeeds)
	c.wg.Go(c.runRefresh)
	for {
		image, changed := c.Image()
		if image.formed() {
			return c, nil
		}
		select {
		case <-changed:
		case <-c.ctx.Done(): // by runSeeds: nothing can help
			err := context.Cause(c.ctx)
			c.Close()
			return nil, err
		case <-ctx.Done():
			c.Close()
			return nil, fmt.Errorf("%w: %w%s", unopened(image), context.Cause(ctx), c.seedReasons())
		}
	}
}

// unopened is why Open has to give up with no other image than this one.
func unopened(image *Image) error {
	if image == nil {
		return ErrNoBroker
	}
	return fmt.Errorf("%w that knows the cluster: those that answer have just started, or their cluster has not "+
		"formed; bring up a majority of its members, their /readyz says what they wait for", ErrNoBroker)
}

// Close ends all connections and waits for every goroutine. Sessions in Follow must have ended.
func (c *Cluster) Close() {
	c.cancel(ErrClosed)
	c.wg.Wait()
}

// Done is closed when Close has begun.
func (c *Cluster) Done() <-chan struct{} { return c.ctx.Done() }

// Limits returns the lowest limits that any broker met so far gave.
func (c *Cluster) Limits() Limits {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.limits
}

// Topic finds a topic by name. When the image lacks it the connected brokers are asked, since one may
// have heard of it before the others.
func (c *Cluster) Topic(ctx context.Context, name string) (*wire.TopicInfo, error) {
	image, _ := c.Image()
	if t, ok := image.Topic(name); ok {
		return t, nil
	}
	if err := c.RefreshAll(ctx); err != nil {
		return nil, err
	}
	image, _ = c.Image()
	if t, ok := image.Topic(name); ok {
		return t, nil
	}
	return nil, protocol.Errorf(protocol.CodeTopicNotFound, "no topic %q", name)
}

// Metadata implements conn.Events.
func (c *Cluster) Metadata(_ *conn.Conn, m *wire.Metadata) { c.apply(m) }

// Leaders implements conn.Events.
func (c *Cluster) Leaders(_ *conn.Conn, leaders []wire.Leader) {
	for _, l := range leaders {
		tp := protocol.TopicPartition{Topic: l.Topic, Partition: l.Partition}
		c.Observe(tp, Leader{Broker: l.Leader, Epoch: l.Epoch})
	}
}

// GoAway implements conn.Events. The broker hands its leaderships over, which is pushed by itself; the
// connection ends when the broker ends it.
func (c *Cluster) GoAway(cn *conn.Conn, g *wire.GoAway) {
	c.cfg.Log.Info("broker is leaving", "broker", cn.Broker(), "reason", g.Reason, "grace_ms", g.GraceMillis)
}

// runRefresh asks for images as long as a partition is stuck, and at once when a broker refused without
// saying who leads. News is pushed; this is for news that got lost on the way.
func (c *Cluster) runRefresh() {
	pause := refreshPause
	for wait(c.ctx, refreshEvery, c.lost) == nil {
		if c.stuck.Load() == 0 {
			pause = refreshPause
			continue
		}
		ctx, cancel := context.WithTimeout(c.ctx, refreshEvery)
		if list, _ := c.connected(); len(list) > 0 {
			_ = c.RefreshAll(ctx) // the next round tries again
		}
		cancel()
		if wait(c.ctx, pause) != nil {
			return
		}
		pause = min(2*pause, 2*refreshEvery)
	}
}

// welcome checks a new connection against what is known.
func (c *Cluster) welcome(cn *conn.Conn) error {
	h := cn.Hello()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.name == "" {
		c.name = h.Cluster
	}
	if c.name != h.Cluster {
		return protocol.Errorf(protocol.CodeInvalidRequest,
			"%s belongs to cluster %q, not to %q", cn.Addr(), h.Cluster, c.name)
	}
	lower := func(limit *int, to uint32) {
		if to > 0 {
			*limit = min(*limit, int(to))
		}
	}
	lower(&c.limits.MaxRecordBytes, h.MaxRecordBytes)
	lower(&c.limits.MaxBatchBytes, h.MaxBatchBytes)
	lower(&c.limits.MaxInFlightBatches, h.MaxInFlightBatches)
	return nil
}
