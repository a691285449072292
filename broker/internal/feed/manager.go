package feed

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// Manager holds the groups of all partitions that this broker leads.
type Manager struct {
	cfg     Config
	metrics *metrics
	cache   assignCache
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	wg      sync.WaitGroup // groups' goroutines

	mu     sync.Mutex
	closed bool                // guarded by mu
	groups map[groupKey]*group // guarded by mu
}

// New returns a Manager. cfg.Partitions is required.
func New(cfg Config) *Manager {
	cfg = cfg.withDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	return &Manager{
		cfg: cfg, metrics: newMetrics(cfg.Registerer), ctx: ctx, cancel: cancel,
		groups: make(map[groupKey]*group),
	}
}

func errNotLeading() *protocol.Error {
	return protocol.Errorf(protocol.CodeNotLeader, "this broker does not lead the partition any more")
}

func errClosed() *protocol.Error {
	return protocol.Errorf(protocol.CodeShuttingDown, "the broker is shutting down")
}

// Open begins a consume stream. The caller must Close the consumer.
func (m *Manager) Open(ctx context.Context, p Partition, o *wire.ConsumeOpen) (*Consumer, wire.ConsumeOpenOK, error) {
	c := &Consumer{m: m, p: p, wake: make(chan struct{}, 1), credit: int64(min(o.CreditBytes, maxCredit))}
	var ok wire.ConsumeOpenOK
	var err error
	if o.Subscription == "" {
		ok, err = m.openReader(c, o)
	} else {
		ok, err = m.openMember(ctx, c, o)
	}
	if err != nil {
		return nil, wire.ConsumeOpenOK{}, err
	}
	m.metrics.consumers.Inc()
	return c, ok, nil
}

// openReader places a reader, which has no cursor and no group.
func (m *Manager) openReader(c *Consumer, o *wire.ConsumeOpen) (wire.ConsumeOpenOK, error) {
	epoch, lost, leads := c.p.Leading()
	if !o.AnyReplica {
		if !leads {
			return wire.ConsumeOpenOK{}, errNotLeading()
		}
		c.lost = lost
	}
	if err := c.p.Ready(); err != nil {
		return wire.ConsumeOpenOK{}, err
	}
	from, err := startOf(c.p, o.From)
	if err != nil {
		return wire.ConsumeOpenOK{}, err
	}
	start, next := c.p.Bounds()
	c.active, c.pos, c.stops, c.end = true, from, o.StopAtEnd, next
	return wire.ConsumeOpenOK{Epoch: epoch, Start: start, From: from, Next: next}, nil
}

// openMember makes sure that the subscription has a cursor and takes the consumer into its group.
func (m *Manager) openMember(ctx context.Context, c *Consumer, o *wire.ConsumeOpen) (wire.ConsumeOpenOK, error) {
	cur, err := m.openCursor(ctx, c.p, o)
	if err != nil {
		return wire.ConsumeOpenOK{}, err
	}
	// Asked after the cursor was opened, which waits for a leadership that has just begun.
	epoch, lost, leads := c.p.Leading()
	if !leads {
		return wire.ConsumeOpenOK{}, errNotLeading()
	}
	c.lost, c.name, c.pos = lost, o.Consumer, cur.Offset
	c.grace = min(time.Duration(o.GraceMillis)*time.Millisecond, m.cfg.MaxGrace)
	tp := protocol.TopicPartition{Topic: o.Topic, Partition: o.Partition}
	if err := m.join(c, groupKey{tp, o.Subscription}); err != nil {
		return wire.ConsumeOpenOK{}, err
	}
	start, next := c.p.Bounds()
	return wire.ConsumeOpenOK{Epoch: epoch, Start: start, From: cur.Offset, Next: next}, nil
}

// openCursor checks a subscriber's opening and returns the subscription's cursor.
func (m *Manager) openCursor(ctx context.Context, p Partition, o *wire.ConsumeOpen) (Cursor, error) {
	if !protocol.ValidName(o.Subscription) || !protocol.ValidName(o.Consumer) {
		return Cursor{}, protocol.Errorf(protocol.CodeInvalidName, "subscription %.64q of consumer %.64q: names are 1 to %d "+
			"letters, digits, '.', '_' and '-'", o.Subscription, o.Consumer, protocol.MaxNameBytes)
	}
	if o.AnyReplica || o.StopAtEnd {
		return Cursor{}, protocol.Errorf(protocol.CodeInvalidRequest,
			"any replica and stop at end are for readers without a subscription")
	}
	var ifNew protocol.Offset
	if _, known := p.Cursor(o.Subscription); !known {
		// Only a leader that serves has everything that is committed, and so knows where the end is.
		if _, _, leads := p.Leading(); !leads {
			return Cursor{}, errNotLeading()
		}
		var err error
		if ifNew, err = startOf(p, o.From); err != nil {
			return Cursor{}, err
		}
	}
	cur, err := p.CursorOpen(ctx, o.Subscription, ifNew)
	if err != nil {
		return Cursor{}, fmt.Errorf("open subscription %q: %w", o.Subscription, err)
	}
	return cur, nil
}

// startOf finds the offset that from means on p now.
func startOf(p Partition, from wire.From) (protocol.Offset, error) {
	start, next := p.Bounds()
	switch from.Kind {
	case wire.FromEarliest:
		return start, nil
	case wire.FromLatest:
		return next, nil
	case wire.FromOffset:
		o := protocol.Offset(from.Value)
		if o > next {
			return 0, protocol.Errorf(protocol.CodeOffsetOutOfRange, "offset %d is beyond the end, %d", o, next)
		}
		return o, nil // below the start: the consumer is told of the gap
	case wire.FromTime:
		o, err := p.OffsetForTime(int64(min(from.Value, 1<<62)))
		if err != nil {
			return 0, fmt.Errorf("find time %d: %w", from.Value, err)
		}
		return o, nil
	}
	return 0, protocol.Errorf(protocol.CodeInvalidRequest, "start position of unknown kind %d", from.Kind)
}

// join puts c into the group of key, which it begins if there is none under this leadership.
func (m *Manager) join(c *Consumer, key groupKey) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errClosed()
	}
	// The channel of a leadership is closed before the next one begins: one that is open here is the newest, and a group
	// of another one in the table is older.
	if isClosed(c.lost) {
		return errNotLeading()
	}
	now := time.Now()
	g := m.groups[key]
	if g == nil || g.lost != c.lost {
		g = m.begin(c, key, now)
	}
	c.group = g
	ok, err := g.join(c, now)
	if !ok {
		return errNotLeading()
	}
	return err
}

// begin starts a group; m.mu is held. A group of an older leadership that is still in the table ends by itself.
func (m *Manager) begin(c *Consumer, key groupKey, now time.Time) *group {
	g := &group{
		m: m, p: c.p, key: key, lost: c.lost, wake: make(chan struct{}, 1),
		members: make(map[string]*Consumer), settleBy: now.Add(settleMost * m.cfg.Settle),
	}
	m.groups[key] = g
	m.metrics.groups.Inc()
	m.wg.Add(1)
	go func() {
		defer m.wg.Done()
		defer m.metrics.groups.Dec()
		g.run()
	}()
	return g
}

// retire takes a group without consumers out of the table, and reports whether it has ended.
func (m *Manager) retire(g *group) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.members) > 0 || g.active != nil {
		return false
	}
	g.ended = true
	if m.groups[g.key] == g {
		delete(m.groups, g.key)
	}
	return true
}

// Reassign has every group look at the number of partitions again.
func (m *Manager) Reassign() {
	for _, g := range m.all() {
		g.reassign()
	}
}

// View returns who is active on a partition of a subscription and who is connected to it here.
func (m *Manager) View(tp protocol.TopicPartition, subscription string) (active string, consumers []string) {
	m.mu.Lock()
	g := m.groups[groupKey{tp, subscription}]
	m.mu.Unlock()
	if g == nil {
		return "", nil
	}
	return g.view()
}

func (m *Manager) all() []*group {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]*group, 0, len(m.groups))
	for _, g := range m.groups {
		all = append(all, g)
	}
	return all
}

// Close ends all members' streams and waits for the groups' goroutines.
func (m *Manager) Close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.cancel()
	for _, g := range m.all() {
		g.endAll(errClosed())
		g.signal()
	}
	m.wg.Wait()
}
