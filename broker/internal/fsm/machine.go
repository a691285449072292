package fsm

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	sm "github.com/lni/dragonboat/v4/statemachine"
	"golang.org/x/time/rate"

	"github.com/trunkline/trunkline/broker/internal/failpoint"
	"github.com/trunkline/trunkline/broker/internal/seglog"
	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
)

// Defaults of Config.
const (
	DefaultMaxProducers           = 10_000
	DefaultMaxSubscriptions       = 1000
	DefaultSnapshotBytesPerSecond = 32 << 20
)

// Errors of reads, before Open and after Close, and of Ready. They cross the wire as "unavailable".
var (
	ErrClosed    = protocol.Errorf(protocol.CodeUnavailable, "the partition's replica is not open here")
	ErrReplaying = protocol.Errorf(protocol.CodeUnavailable,
		"the partition's replica has just started and has not applied again what it knew to be committed")
)

// Config says what a Machine works on.
type Config struct {
	FS        storefs.FS
	Dir       string // of this partition alone; created by Open
	Partition protocol.TopicPartition
	Seglog    seglog.Options
	// SnapshotBytesPerSecond throttles each snapshot stream; 0 means the default, negative no limit.
	SnapshotBytesPerSecond int
	// Gentle returns what a stream waits for as well, a token for each byte; nil: nothing. The goroutine of the stream asks again for
	// each piece of at most ThrottlePiece bytes, unless the stream is slower than twice what is applied meanwhile (throttle). Optional.
	Gentle func() *rate.Limiter
	// Sending counts the streams being sent, of all machines that have the same. Optional.
	Sending *atomic.Int32
	// MaxProducers and MaxSubscriptions bound the tables; 0 means the default. All replicas of a partition must have
	// the same values: at the bound they decide what is forgotten or refused.
	MaxProducers, MaxSubscriptions int
	// Fetch repairs damaged segments; nil: there is no other replica.
	Fetch   Fetch
	Metrics *Metrics     // nil: nobody counts
	Log     *slog.Logger // nil: none
}

func (c Config) withDefaults() Config {
	if c.FS == nil {
		c.FS = storefs.OS
	}
	if c.SnapshotBytesPerSecond == 0 {
		c.SnapshotBytesPerSecond = DefaultSnapshotBytesPerSecond
	}
	if c.MaxProducers <= 0 {
		c.MaxProducers = DefaultMaxProducers
	}
	if c.MaxSubscriptions <= 0 {
		c.MaxSubscriptions = DefaultMaxSubscriptions
	}
	if c.Gentle == nil {
		c.Gentle = func() *rate.Limiter { return nil }
	}
	if c.Sending == nil {
		c.Sending = new(atomic.Int32)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Log = c.Log.With("partition", c.Partition.String())
	return c
}

var _ sm.IOnDiskStateMachine = (*Machine)(nil)

// Machine is the state machine of one replica of one partition.
type Machine struct {
	cfg Config

	// mu guards st. Update holds it for one slice of entries; everybody else only reads.
	mu sync.RWMutex
	st state

	// log is nil before Open and after Close, and changes when a snapshot is received. Whoever finds it closed looks
	// again (withLog).
	log atomic.Pointer[seglog.Log]

	// serial serialises Open, Update, Sync, PrepareSnapshot, RecoverFromSnapshot and Close. Dragonboat does that too; this
	// also lets a broker that drains call Sync. It guards the following, and is taken before mu.
	serial     sync.Mutex
	generation uint64
	synced     uint64 // applied index of the durable checkpoint
	failed     error  // the first failure to write; final, because state and disk may differ from then on
	closed     bool
	chain      hash.Hash // scratch of apply

	// Copies of st for readers that must not wait for Update; published at its end.
	start, next, applied, appliedBytes atomic.Uint64
	replaysTo                          atomic.Uint64 // see ReplaysTo
	leader                             atomic.Pointer[leadership]
	appended                           broadcast

	streams streams
	heal    healer
}

type leadership struct {
	epoch  protocol.Epoch
	broker protocol.BrokerID
}

// New returns a machine that has not touched the disk yet.
func New(cfg Config) *Machine {
	m := &Machine{cfg: cfg.withDefaults(), chain: sha256.New()}
	m.st = m.newState()
	m.heal.init(m)
	m.leader.Store(&leadership{})
	return m
}

func (m *Machine) newState() state { return newState(m.cfg.MaxProducers, m.cfg.MaxSubscriptions) }

// Open loads the checkpoint and the log as far as the checkpoint vouches for it, and returns the Raft index from which
// Raft must replay.
func (m *Machine) Open(stopc <-chan struct{}) (uint64, error) {
	select {
	case <-stopc:
		return 0, sm.ErrOpenStopped
	default:
	}
	m.serial.Lock()
	defer m.serial.Unlock()
	if m.closed || m.log.Load() != nil {
		return 0, errors.New("fsm: a machine is opened once")
	}
	st, generation, log, err := m.load()
	if err != nil {
		return 0, fmt.Errorf("fsm: opening partition %s: %w", m.cfg.Partition, err)
	}
	m.install(st, generation, log)
	m.cfg.Log.Info("partition opened", "applied", st.applied, "start", st.start, "next", st.next,
		"epoch", st.epoch, "generation", generation)
	for _, found := range log.Damage() {
		m.heal.report(log, found)
	}
	return st.applied, nil
}

// install makes st and log the current ones and returns the log that was.
func (m *Machine) install(st state, generation uint64, log *seglog.Log) (old *seglog.Log) {
	m.mu.Lock()
	m.st = st
	m.mu.Unlock()
	m.generation, m.synced = generation, st.applied
	old = m.log.Swap(log)
	m.publish()
	m.appended.notify()
	return old
}

// publish copies what changes with every Update to where readers find it without a lock. next is written first and read
// last, so that nobody sees start above it.
func (m *Machine) publish() {
	m.next.Store(uint64(m.st.next))
	m.start.Store(uint64(m.st.start))
	m.applied.Store(m.st.applied)
	if l := m.leader.Load(); l.epoch != m.st.epoch || l.broker != m.st.leader {
		m.leader.Store(&leadership{epoch: m.st.epoch, broker: m.st.leader})
	}
}

// usable returns why the machine can not go on.
func (m *Machine) usable() error {
	if m.failed != nil {
		return fmt.Errorf("fsm: partition %s failed before: %w", m.cfg.Partition, m.failed)
	}
	if m.closed || m.log.Load() == nil {
		return ErrClosed
	}
	return nil
}

// fail makes err final.
func (m *Machine) fail(operation string, err error) error {
	m.failed = fmt.Errorf("fsm: %s partition %s: %w", operation, m.cfg.Partition, err)
	m.cfg.Log.Error("partition failed", "operation", operation, "error", err)
	return m.failed
}

// Sync makes everything applied so far durable: first the log, then the checkpoint that vouches for it, and only then
// are segments below the start deleted (Inv4, Inv5).
func (m *Machine) Sync() error {
	m.serial.Lock()
	defer m.serial.Unlock()
	return m.sync()
}

func (m *Machine) sync() error {
	if err := m.usable(); err != nil {
		return err
	}
	log := m.log.Load()
	if m.st.applied != m.synced {
		if err := log.Sync(); err != nil {
			return m.fail("syncing", err)
		}
		if err := m.writeCheckpoint(m.generation, &m.st); err != nil {
			return m.fail("writing the checkpoint of", err)
		}
		m.synced = m.st.applied
	}
	if err := log.DropBelow(m.st.start); err != nil {
		return m.fail("deleting old segments of", err)
	}
	return nil
}

// Close makes the state durable when it can, so that the next Open has little to replay, and closes the log. Reads that
// are under way end first; waiters of Appended are woken.
func (m *Machine) Close() error {
	m.serial.Lock()
	defer m.serial.Unlock()
	if m.closed {
		return nil
	}
	var err error
	if m.usable() == nil {
		if serr := m.sync(); serr != nil {
			m.cfg.Log.Warn("partition closed without its last state, Raft will replay it", "error", serr)
		}
	}
	m.closed = true
	m.heal.close()
	if log := m.log.Swap(nil); log != nil {
		err = log.Close()
	}
	m.appended.close()
	return err
}

// Update applies committed entries in order and sets their results. It never fsyncs and keeps no byte of them. Its error
// is final: Dragonboat stops the process.
func (m *Machine) Update(entries []sm.Entry) ([]sm.Entry, error) {
	m.serial.Lock()
	defer m.serial.Unlock()
	if err := m.usable(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	a := applier{m: m, st: &m.st, log: m.log.Load(), scratch: scratches.Get().(*scratch)}
	defer scratches.Put(a.scratch)
	failpoint.Hit("beforeApply")
	before, bytes := m.st.next, uint64(0)
	for i := range entries {
		if err := a.apply(&entries[i]); err != nil {
			return nil, m.fail("applying an entry to", fmt.Errorf("index %d: %w", entries[i].Index, err))
		}
		bytes += uint64(len(entries[i].Cmd))
	}
	m.appliedBytes.Add(bytes)
	m.publish()
	if m.st.next != before {
		m.appended.notify()
	}
	failpoint.Hit("afterApplyBeforeAck")
	return entries, nil
}

// PrepareSnapshot freezes the state and the records of this moment for SaveSnapshot.
func (m *Machine) PrepareSnapshot() (any, error) {
	m.serial.Lock()
	defer m.serial.Unlock()
	if err := m.usable(); err != nil {
		return nil, err
	}
	return m.freeze()
}

// SaveSnapshot writes what PrepareSnapshot froze. It is throttled and ends early when stopc closes, the log does, or it
// meets damage that is not repaired in time: then the replica that needs it asks again.
func (m *Machine) SaveSnapshot(frozen any, w io.Writer, stopc <-chan struct{}) error {
	f, ok := frozen.(*frozenState)
	if !ok {
		return fmt.Errorf("fsm: SaveSnapshot was given a %T", frozen)
	}
	defer m.streams.end(f.applied)
	defer f.view.Close()
	m.cfg.Sending.Add(1)
	defer m.cfg.Sending.Add(-1)
	if err := f.save(m, m.throttled(f, w, stopc)); err != nil {
		return err
	}
	m.cfg.Metrics.sent.Inc()
	return nil
}
