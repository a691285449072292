package fsm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/trunkline/trunkline/broker/internal/seglog"
	"github.com/trunkline/trunkline/protocol"
)

// Times of repairs.
const (
	// healWait bounds how long a read waits for the repair of what it met.
	healWait = 3 * time.Second
	// A repair that failed is tried again after healRetryMin, and twice as long after each further failure.
	healRetryMin = time.Second
	healRetryMax = time.Minute
)

// Fetch returns whole batches of the partition from another replica: the first one contains from, and all of them have
// at most maxBytes unless there is but one. An error with code corrupt_log says that every other replica answered and none
// has a good copy.
type Fetch func(ctx context.Context, from protocol.Offset, maxBytes int) ([]byte, error)

var errNoReplica = protocol.Errorf(protocol.CodeCorruptLog, "there is no other replica to repair it from")

// healer repairs the damaged segments of one machine from other replicas. Of each segment it knows one of these states:
//
//	good -- a read, Scrub or Open meets damage --> damaged -- repaired, or gone from the log --> good
//
// While there are damaged ones, one goroutine goes from one to the next, and begins again after a pause if any is left.
// Bounds: a wound for each segment of the log, one repair at a time, healWait for a read.
type healer struct {
	m      *Machine
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	fresh  chan struct{} // capacity 1: there is a new wound

	mu      sync.Mutex
	wounds  map[protocol.Offset]*wound // by the segment's first offset; guarded by mu, like the following
	running bool
	closed  bool
}

// wound is a damaged segment.
type wound struct {
	log     *seglog.Log
	segment protocol.Offset
	found   *seglog.CorruptionError
	tried   chan struct{} // closed when the first try has ended
	err     error         // of the last try; guarded by healer.mu
}

func (h *healer) init(m *Machine) {
	h.m, h.fresh, h.wounds = m, make(chan struct{}, 1), map[protocol.Offset]*wound{}
	h.ctx, h.cancel = context.WithCancel(context.Background())
}

// close ends a repair under way and waits for that. What is damaged stays so.
func (h *healer) close() {
	h.mu.Lock()
	h.closed = true
	h.m.cfg.Metrics.damaged.Sub(float64(len(h.wounds)))
	clear(h.wounds)
	h.mu.Unlock()
	h.cancel()
	h.wg.Wait()
}

// report takes in that a log is damaged and sees to its repair. It returns nil when that is not this machine's any more, or
// is no segment's damage.
func (h *healer) report(log *seglog.Log, found *seglog.CorruptionError) *wound {
	segment, ok := found.Segment()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !ok || h.closed || h.m.log.Load() != log {
		return nil
	}
	w, known := h.wounds[segment]
	if known && w.log == log {
		return w
	}
	w = &wound{log: log, segment: segment, found: found, tried: make(chan struct{})}
	h.wounds[segment] = w
	h.m.cfg.Metrics.found.Inc()
	if !known {
		h.m.cfg.Metrics.damaged.Inc()
	}
	h.m.cfg.Log.Error("segment damaged", "file", found.File, "position", found.Position, "reason", found.Reason)
	if !h.running {
		h.running = true
		h.wg.Go(h.run)
		return w
	}
	select {
	case h.fresh <- struct{}{}:
	default:
	}
	return w
}

// run repairs until nothing is damaged.
func (h *healer) run() {
	for wait := healRetryMin; ; wait = min(2*wait, healRetryMax) {
		for _, w := range h.open() {
			h.try(w)
		}
		if h.rest() {
			return
		}
		pause := time.NewTimer(wait)
		select {
		case <-h.ctx.Done():
		case <-h.fresh:
		case <-pause.C:
		}
		pause.Stop()
	}
}

// open returns what is damaged, in order of offsets.
func (h *healer) open() []*wound {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*wound
	for _, w := range h.wounds {
		all = append(all, w)
	}
	slices.SortFunc(all, func(a, b *wound) int { return cmp.Compare(a.segment, b.segment) })
	return all
}

// rest reports that there is nothing left to do; then the next report begins anew.
func (h *healer) rest() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.wounds) > 0 && h.ctx.Err() == nil {
		return false
	}
	h.running = false
	return true
}

// try repairs one segment.
func (h *healer) try(w *wound) {
	var fetchErr error
	done, err := w.log.Mend(w.segment, func(from protocol.Offset, maxBytes int) ([]byte, error) {
		if h.m.cfg.Fetch == nil {
			fetchErr = errNoReplica
			return nil, fetchErr
		}
		var b []byte
		b, fetchErr = h.m.cfg.Fetch(h.ctx, from, maxBytes)
		return b, fetchErr
	})
	gone := h.m.log.Load() != w.log || fetchErr == nil && errors.Is(err, protocol.ErrOffsetOutOfRange)
	log := h.m.cfg.Log.With("file", w.found.File, "batches", done.Batches, "bytes", done.Bytes)
	h.m.cfg.Metrics.mendedBytes.Add(float64(done.Bytes))
	switch {
	case gone: // retention or a snapshot took it away
		log.Info("damaged segment is gone")
	case err == nil:
		h.m.cfg.Metrics.repaired.Inc()
		log.Info("segment repaired from another replica")
	case h.ctx.Err() == nil:
		h.m.cfg.Metrics.repairFailures.Inc()
		log.Warn("segment not repaired, trying again", "error", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if (gone || err == nil) && h.wounds[w.segment] == w {
		delete(h.wounds, w.segment)
		h.m.cfg.Metrics.damaged.Dec()
	}
	w.err = err
	select {
	case <-w.tried:
	default:
		close(w.tried)
	}
}

// await waits for the repair of what a read met, at most for healWait and not at all where it was tried in vain. It
// returns nil when the read can be made again. Its error is for clients: unavailable while there is hope, else corrupt_log.
func (h *healer) await(ctx context.Context, log *seglog.Log, found *seglog.CorruptionError) error {
	w := h.report(log, found)
	if w == nil {
		return found
	}
	timer := time.NewTimer(healWait)
	defer timer.Stop()
	select {
	case <-w.tried:
	case <-timer.C:
	case <-ctx.Done():
	case <-h.ctx.Done():
		return ErrClosed
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.wounds[w.segment] != w {
		return nil
	}
	return w.refusal()
}

// refusal is what a client is told. healer.mu is held.
func (w *wound) refusal() error {
	var differ *seglog.MismatchError
	code, reason := protocol.CodeUnavailable, "its repair from another replica is under way"
	if w.err != nil {
		reason = w.err.Error()
	}
	if errors.As(w.err, &differ) || errors.Is(w.err, &protocol.Error{Code: protocol.CodeCorruptLog}) {
		code = protocol.CodeCorruptLog
	}
	return protocol.Errorf(code, "%v: %s", w.found, reason)
}

// healed runs a read of a log and, when it meets damage that can be repaired soon, runs it again.
func (m *Machine) healed(log *seglog.Log, read func() error) error {
	err := read()
	var found *seglog.CorruptionError
	if !errors.As(err, &found) {
		return err
	}
	if err := m.heal.await(context.Background(), log, found); err != nil {
		return err
	}
	return read()
}

// ReadOwn is Read for another replica that repairs itself: damage here is an error at once. It is repaired too, but nobody
// waits for that, so that two replicas never wait for each other.
func (m *Machine) ReadOwn(from protocol.Offset, maxBytes int, dst []byte) ([]byte, error) {
	log := m.log.Load()
	if log == nil {
		return dst, ErrClosed
	}
	dst, err := log.Read(from, maxBytes, dst)
	var found *seglog.CorruptionError
	if errors.As(err, &found) {
		m.heal.report(log, found)
		err = protocol.Errorf(protocol.CodeCorruptLog, "%v", found)
	}
	return dst, err
}

// Scrub checks all sealed segments on the disk, and has repaired what it finds damaged, without waiting for more than
// healWait each. pace is asked before each read of so many bytes; its error ends Scrub, as the end of ctx does.
func (m *Machine) Scrub(ctx context.Context, pace func(bytes int) error) error {
	log := m.log.Load()
	if log == nil {
		return ErrClosed
	}
	for from := log.Start(); from < log.SealedEnd() && ctx.Err() == nil; {
		next, err := log.Verify(from, pace)
		var found *seglog.CorruptionError
		switch {
		case errors.As(err, &found):
			_ = m.heal.await(ctx, log, found) // the healer tells
		case errors.Is(err, protocol.ErrOffsetOutOfRange) && from < log.Start():
			next = log.Start() // retention was faster
		case errors.Is(err, seglog.ErrClosed):
			return ErrClosed
		case err != nil:
			return fmt.Errorf("fsm: scrubbing partition %s: %w", m.cfg.Partition, err)
		}
		from = next
	}
	return nil
}

// Damage returns what is damaged and why it is not repaired yet, by offset.
func (m *Machine) Damage() []error {
	var all []error
	for _, w := range m.heal.open() {
		m.heal.mu.Lock()
		all = append(all, w.refusal())
		m.heal.mu.Unlock()
	}
	return all
}
