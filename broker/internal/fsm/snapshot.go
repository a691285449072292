package fsm

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	sm "github.com/lni/dragonboat/v4/statemachine"
	"golang.org/x/time/rate"

	"github.com/trunkline/trunkline/broker/internal/failpoint"
	"github.com/trunkline/trunkline/broker/internal/seglog"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// A snapshot stream is
//
//	the state, laid out as a checkpoint with snapshotMagic and generation 0
//	the batches of [start, next), whole, one after the other; the first one may begin below start
//	u32 "TLSE"
const (
	snapshotEnd = 0x544c5345
	// snapshotChunk is how much is read and written at once; a batch that is longer goes alone.
	snapshotChunk = 1 << 20
	// ThrottlePiece is what a throttled stream writes between two waits: a limit must allow so many bytes at once.
	ThrottlePiece = 64 << 10

	streamName = "snapshot stream"
)

// frozenState is one moment of a machine.
type frozenState struct {
	applied uint64
	bytes   uint64 // Machine.AppliedBytes then
	head    []byte // the encoded state
	log     *seglog.Log
	view    *seglog.View // of log
}

// streams are the snapshots that other replicas are being brought up with.
type streams struct {
	mu     sync.Mutex
	open   []uint64  // applied indexes of those in progress; guarded by mu, like the following
	newest uint64    // of the one that ended last
	ended  time.Time // zero: none did
}

func (s *streams) begin(applied uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = append(s.open, applied)
}

func (s *streams) end(applied uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.open, applied); i >= 0 {
		s.open = slices.Delete(s.open, i, i+1)
	}
	s.newest, s.ended = applied, time.Now()
}

// Streaming returns the Raft index up to which the snapshots that are being streamed reach, the lowest of them; one
// that ended less than grace ago counts. The replica that gets it needs the Raft log from there on: without it, it
// would need another snapshot.
func (m *Machine) Streaming(grace time.Duration) (applied uint64, ok bool) {
	s := &m.streams
	s.mu.Lock()
	defer s.mu.Unlock()
	if ok = !s.ended.IsZero() && time.Since(s.ended) < grace; ok {
		applied = s.newest
	}
	for _, a := range s.open {
		if !ok || a < applied {
			applied, ok = a, true
		}
	}
	return applied, ok
}

func (m *Machine) freeze() (*frozenState, error) {
	log := m.log.Load()
	view, err := log.View()
	if err != nil {
		return nil, m.fail("freezing", err)
	}
	head := appendCheckpoint(nil, snapshotMagic, m.cfg.Partition, 0, &m.st)
	if view.Start() != m.st.start || view.Next() != m.st.next {
		view.Close()
		return nil, m.fail("freezing", fmt.Errorf("the log holds [%d, %d), the state says [%d, %d)",
			view.Start(), view.Next(), m.st.start, m.st.next))
	}
	m.streams.begin(m.st.applied)
	return &frozenState{applied: m.st.applied, bytes: m.AppliedBytes(), head: head, log: log, view: view}, nil
}

// save writes the stream to w.
func (f *frozenState) save(m *Machine, w io.Writer) error {
	if _, err := w.Write(f.head); err != nil {
		return err
	}
	var buf []byte
	for from := f.view.Start(); from < f.view.Next(); {
		err := m.healed(f.log, func() (err error) {
			buf, err = f.view.Read(from, snapshotChunk, buf[:0])
			return err
		})
		var coded *protocol.Error // the log is closed, or damaged and not repaired yet
		if errors.Is(err, seglog.ErrClosed) || errors.As(err, &coded) {
			m.cfg.Log.Warn("snapshot stream ends early", "offset", from, "error", err)
			return sm.ErrSnapshotStopped // any other error would end the process
		}
		if err != nil {
			return fmt.Errorf("fsm: reading a snapshot at offset %d: %w", from, err)
		}
		end, err := endOf(buf)
		if err != nil || end <= from {
			return fmt.Errorf("fsm: reading a snapshot at offset %d: got batches up to %d, %w", from, end, err)
		}
		from = end
		failpoint.Hit("midSnapshotSend")
		if _, err := w.Write(buf); err != nil {
			return err
		}
	}
	_, err := w.Write(binary.BigEndian.AppendUint32(nil, snapshotEnd))
	return err
}

// endOf returns the offset after the last of a concatenation of batches.
func endOf(batches []byte) (protocol.Offset, error) {
	var end protocol.Offset
	for len(batches) > 0 {
		h, err := batch.ParseHeader(batches)
		if err != nil {
			return end, err
		}
		end = h.Next()
		batches = batches[min(int(h.Length), len(batches)):]
	}
	return end, nil
}

// RecoverFromSnapshot replaces state and log by those of the stream. The new log is built beside the old one and the
// switch is the checkpoint's rename, so that a crash leaves the one or the other, whole.
func (m *Machine) RecoverFromSnapshot(r io.Reader, stopc <-chan struct{}) error {
	m.serial.Lock()
	defer m.serial.Unlock()
	if err := m.usable(); err != nil {
		return err
	}
	began, generation := time.Now(), m.generation+1
	st, log, err := m.receive(r, generation, stopc)
	if errors.Is(err, sm.ErrSnapshotStopped) {
		return sm.ErrSnapshotStopped
	}
	if err != nil {
		return m.fail("receiving a snapshot of", err)
	}
	failpoint.Hit("beforeSnapshotInstall")
	if err := m.writeCheckpoint(generation, &st); err != nil {
		_ = log.Close() // the first error counts
		return m.fail("switching to a snapshot of", err)
	}
	old := m.install(st, generation, log)
	m.cfg.Metrics.installed.Inc()
	if err := old.Close(); err != nil {
		return m.fail("closing the old log of", err)
	}
	if err := m.removeLogsExcept(generation); err != nil {
		return m.fail("removing the old log of", err)
	}
	m.cfg.Log.Info("partition recovered from a snapshot", "applied", st.applied, "start", st.start, "next", st.next,
		"generation", generation, "bytes", log.Bytes(), "took", time.Since(began))
	return nil
}

// receive builds a durable log of a new generation from the stream. On an error nothing of it is left.
func (m *Machine) receive(r io.Reader, generation uint64, stopc <-chan struct{}) (st state, log *seglog.Log, err error) {
	in := &streamReader{r: bufio.NewReaderSize(r, snapshotChunk)}
	if st, err = m.receiveState(in); err != nil {
		return st, nil, err
	}
	defer func() {
		if err != nil {
			if log != nil {
				_ = log.Close()
			}
			_ = m.cfg.FS.RemoveAll(m.logDir(generation)) // or the next Open does it
			log = nil
		}
	}()
	next := st.start
	for {
		select {
		case <-stopc:
			return st, log, sm.ErrSnapshotStopped
		default:
		}
		b, h, err := in.batch()
		if err != nil {
			return st, log, err
		}
		if b == nil {
			break
		}
		if log == nil { // the first batch may begin below the start
			next = min(h.BaseOffset, st.start)
			if log, err = m.createLog(generation, next); err != nil {
				return st, log, err
			}
		}
		if h.BaseOffset != next || h.Next() <= st.start || h.Next() > st.next {
			return st, log, in.damage("a batch of offsets [%d, %d) where %d is next, of [%d, %d)",
				h.BaseOffset, h.Next(), next, st.start, st.next)
		}
		if err := log.Append(b, h); err != nil {
			return st, log, err
		}
		next = h.Next()
	}
	if next != st.next {
		return st, log, in.damage("ends at offset %d, not at %d", next, st.next)
	}
	if log == nil {
		if log, err = m.createLog(generation, next); err != nil {
			return st, log, err
		}
	}
	if err = log.SetStart(st.start); err != nil {
		return st, log, err
	}
	return st, log, log.Sync()
}

func (m *Machine) receiveState(in *streamReader) (state, error) {
	st := m.newState()
	prefix, err := in.bytes(checkpointPrefix)
	if err != nil {
		return st, err
	}
	n, err := checkpointLength(prefix, snapshotMagic)
	if err != nil {
		return st, corruption(streamName, err)
	}
	rest, err := in.bytes(n - checkpointPrefix)
	if err != nil {
		return st, err
	}
	if _, err = decodeCheckpoint(append(prefix, rest...), snapshotMagic, m.cfg.Partition, &st); err != nil {
		return st, corruption(streamName, err)
	}
	return st, nil
}

// streamReader cuts a stream into its parts.
type streamReader struct {
	r   *bufio.Reader
	at  int64
	buf []byte // the last batch
}

func (s *streamReader) damage(format string, args ...any) error {
	return &seglog.CorruptionError{File: streamName, Position: s.at, Reason: fmt.Sprintf(format, args...)}
}

// bytes returns the next n bytes. It allocates as they come, not as they are claimed.
func (s *streamReader) bytes(n int) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(s.r, int64(n)))
	s.at += int64(len(b))
	if err != nil {
		return nil, err
	}
	if len(b) < n {
		return nil, s.damage("ends %d bytes early", n-len(b))
	}
	return b, nil
}

// batch returns the next batch, valid until the following call, or nil at the end mark.
func (s *streamReader) batch() ([]byte, batch.Header, error) {
	mark, err := s.r.Peek(4)
	if err != nil {
		return nil, batch.Header{}, s.ended(err)
	}
	if binary.BigEndian.Uint32(mark) == snapshotEnd {
		return nil, batch.Header{}, nil
	}
	head, err := s.r.Peek(batch.HeaderSize)
	if err != nil {
		return nil, batch.Header{}, s.ended(err)
	}
	h, err := batch.ParseHeader(head)
	if err != nil {
		return nil, h, s.damage("%v", err)
	}
	if cap(s.buf) < int(h.Length) {
		s.buf = make([]byte, h.Length) // at most protocol.MaxBatchBytesLimit
	}
	b := s.buf[:h.Length]
	if _, err := io.ReadFull(s.r, b); err != nil {
		return nil, h, s.ended(err)
	}
	if h, err = batch.Check(b, protocol.MaxBatchBytesLimit); err != nil {
		return nil, h, s.damage("%v", err)
	}
	s.at += int64(len(b))
	return b, h, nil
}

// ended turns the end of the input into damage: a whole stream ends with its mark.
func (s *streamReader) ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return s.damage("ends without its end mark")
	}
	return err
}

// throttle is a writer of bounded speed that a closed channel stops. It is gentle only as long as it sends at least twice as much as
// is applied meanwhile: the Raft log is kept behind a stream, and if that grew faster than the stream, the replica that gets it would
// need another snapshot, and another.
type throttle struct {
	w       io.Writer
	limit   *rate.Limiter // nil: no bound
	gentle  func() *rate.Limiter
	applied func() uint64 // bytes of commands since the state of the stream
	sent    uint64
	stopc   <-chan struct{}
}

// throttled returns a writer at the speed of Config for the stream of a state.
func (m *Machine) throttled(f *frozenState, w io.Writer, stopc <-chan struct{}) *throttle {
	t := &throttle{w: w, gentle: m.cfg.Gentle, applied: func() uint64 { return m.AppliedBytes() - f.bytes }, stopc: stopc}
	if n := m.cfg.SnapshotBytesPerSecond; n > 0 {
		t.limit = rate.NewLimiter(rate.Limit(n), ThrottlePiece)
	}
	return t
}

func (t *throttle) Write(b []byte) (int, error) {
	written := 0
	for len(b) > 0 {
		piece := b[:min(len(b), ThrottlePiece)]
		if err := await(t.limit, len(piece), t.stopc); err != nil {
			return written, err
		}
		if 2*t.applied() <= t.sent {
			if err := await(t.gentle(), len(piece), t.stopc); err != nil {
				return written, err
			}
		}
		n, err := t.w.Write(piece)
		written += n
		t.sent += uint64(n)
		if err != nil {
			return written, err
		}
		b = b[len(piece):]
	}
	return written, nil
}

// await waits until a limit allows n more bytes, at most its burst; nil allows all. The only error is sm.ErrSnapshotStopped, once stopc is closed.
func await(limit *rate.Limiter, n int, stopc <-chan struct{}) error {
	select {
	case <-stopc:
		return sm.ErrSnapshotStopped
	default:
	}
	if limit == nil {
		return nil
	}
	delay := limit.ReserveN(time.Now(), n).Delay()
	if delay <= 0 {
		return nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-stopc:
		return sm.ErrSnapshotStopped
	case <-timer.C:
		return nil
	}
}
