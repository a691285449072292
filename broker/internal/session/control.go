package session

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

const (
	// maxPendingControl bounds pongs and go-aways that were not sent yet: about a hundred pongs. More
	// are dropped; a peer that does not read them gains nothing by them.
	maxPendingControl = 16 << 10
	// leadersPerFrame keeps a leader-change frame below its cap: a leader takes at most 33 bytes.
	leadersPerFrame = 1500
	maxClientName   = 64
)

// control is the control stream of an admitted connection.
type control struct {
	c    *conn
	st   *stream
	wake chan struct{} // capacity 1

	mu         sync.Mutex
	pending    []byte // frames to send; guarded by mu
	subscribed bool   // guarded by mu
}

// admit reads the hello on the connection's first stream and answers it.
func (c *conn) admit(st *stream, by time.Time) *protocol.Error {
	kind, body, err := c.opening(st, by)
	if err != nil {
		if pe := readError(err); pe != nil {
			return pe
		}
		return errGone
	}
	if kind != protocol.KindHello {
		return protocol.Errorf(protocol.CodeUnexpectedFrame,
			"the first stream must begin with a hello, not with a %s frame", kind)
	}
	var h wire.Hello
	if err := h.Decode(body); err != nil {
		return asError(err)
	}
	c.client = clip(h.ClientName, maxClientName)
	version := min(h.MaxVersion, protocol.MaxVersion)
	switch {
	case version < max(h.MinVersion, protocol.MinVersion):
		return protocol.Errorf(protocol.CodeUnsupported, "the client speaks versions %d to %d, this broker %d to %d",
			h.MinVersion, h.MaxVersion, protocol.MinVersion, protocol.MaxVersion)
	case !c.srv.authorized(h.Token):
		return protocol.Errorf(protocol.CodeUnauthorized, "the client's token is not one of this cluster's")
	case c.srv.draining.Load():
		return errShuttingDown()
	}
	limits := &c.srv.cfg.Limits
	ok := wire.HelloOK{
		Version: version, Cluster: c.srv.cfg.Cluster, Broker: c.srv.cfg.Self, BrokerVersion: c.srv.cfg.Version,
		MaxRecordBytes: uint32(limits.MaxRecordBytes), MaxBatchBytes: uint32(limits.MaxBatchBytes),
		MaxInFlightBatches:  protocol.MaxInFlightBatches,
		HeartbeatMillis:     uint32(limits.Heartbeat.Milliseconds()),
		HeartbeatLostMillis: uint32(limits.HeartbeatLost.Milliseconds()),
	}
	st.Prefer()
	if st.writeFrame(protocol.KindHelloOK, &ok) != nil {
		return errGone
	}
	c.control.Store(&control{c: c, st: st, wake: make(chan struct{}, 1)})
	return nil
}

// goAway queues a go-away, if the hello was accepted: one that comes later is refused anyway.
func (c *conn) goAway(reason string, grace time.Duration) {
	if ctl := c.control.Load(); ctl != nil {
		ctl.send(protocol.KindGoAway, &wire.GoAway{Reason: reason, GraceMillis: uint32(grace.Milliseconds())})
	}
}

// send queues a frame or drops it at the bound.
func (s *control) send(k protocol.Kind, m interface{ Append([]byte) []byte }) {
	s.mu.Lock()
	if len(s.pending) < maxPendingControl {
		s.pending = wire.AppendFrame(s.pending, k, m)
	}
	s.mu.Unlock()
	s.signal()
}

func (s *control) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// read serves the client's frames. The end of the control stream is the client's goodbye.
func (s *control) read() {
	r := frame.NewReader(s.st)
	r.Only(protocol.KindPing, protocol.KindPong, protocol.KindMetadataSubscribe)
	for {
		k, body, err := r.Next()
		if err == nil {
			s.c.heard.Store(true)
			err = s.take(k, body)
		}
		if err == nil {
			continue
		}
		if pe := readError(err); pe != nil && s.c.ctx.Err() == nil {
			s.c.srv.metrics.refused(pe.Code)
			s.c.stopPolitely(pe)
		}
		if errors.Is(err, io.EOF) {
			s.c.stop(protocol.Errorf(protocol.CodeClosing, "the client said goodbye"))
		}
		s.c.stop(errGone)
		return
	}
}

// take serves one frame. The reader lets none pass but those of the kinds here.
func (s *control) take(k protocol.Kind, body []byte) error {
	switch k {
	case protocol.KindPing:
		var p wire.Ping
		if err := p.Decode(body); err != nil {
			return err
		}
		s.send(protocol.KindPong, &p)
	case protocol.KindPong:
	case protocol.KindMetadataSubscribe:
		s.mu.Lock()
		s.subscribed = true
		s.mu.Unlock()
		s.signal()
	}
	return nil
}

// write sends what is queued and, once the client asked for it, metadata and leader changes. At the end it
// says why, unless nobody is there to hear it.
func (s *control) write() {
	var (
		buf     []byte
		image   *image
		changes LeaderChanges
	)
	for {
		var subscribed bool
		buf, subscribed = s.flush(buf[:0])
		if subscribed && changes == nil {
			changes = s.c.srv.cfg.Leaders.Follow()
		}
		if subscribed {
			// The image is shared and may be older than some changes: they follow it.
			if im := s.c.srv.images.newest(); im != image {
				image = im
				buf = append(buf, im.frame...)
			}
			buf = appendLeaders(buf, changes.Take())
		}
		if len(buf) > 0 {
			if s.st.write(buf) != nil {
				s.c.stop(errGone)
				return
			}
			if cap(buf) > 1<<20 {
				buf = nil
			}
			continue
		}
		if !s.wait(image, changes) {
			s.goodbye()
			return
		}
	}
}

// wait returns true when there may be something to send and false when the connection is to end.
func (s *control) wait(im *image, changes LeaderChanges) bool {
	var newer, moved <-chan struct{}
	if changes != nil {
		newer, moved = im.newer, changes.Ready()
	}
	select {
	case <-s.wake:
	case <-newer:
	case <-moved:
	case <-s.c.ctx.Done():
		return false
	}
	return true
}

// flush takes the queued frames.
func (s *control) flush(dst []byte) (_ []byte, subscribed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dst = append(dst, s.pending...)
	s.pending = s.pending[:0]
	return dst, s.subscribed
}

// goodbye ends the control stream with what ended the connection.
func (s *control) goodbye() {
	if s.c.polite.Load() {
		s.st.fail(s.c.why())
	}
}

func appendLeaders(dst []byte, leaders []wire.Leader) []byte {
	for len(leaders) > 0 {
		n := min(len(leaders), leadersPerFrame)
		dst = wire.AppendFrame(dst, protocol.KindLeaderChange, &wire.LeaderChange{Leaders: leaders[:n]})
		leaders = leaders[n:]
	}
	return dst
}
