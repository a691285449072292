package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline/trunkline/broker/internal/failpoint"
	"github.com/trunkline/trunkline/broker/internal/transport"
	"github.com/trunkline/trunkline/protocol"
)

const (
	// closeGrace is how long an ending connection has for its streams' last words.
	closeGrace = time.Second
	// hangUpGrace is how long the peer then has to read them and to hang up itself. The side that
	// receives the last data should be the one that closes: closing discards what is unread.
	hangUpGrace = 100 * time.Millisecond
	// refusedGrace is the same for a client that was refused at its hello.
	refusedGrace = 500 * time.Millisecond
	// openBytes bounds the opening frames of a connection that are being read; more wait.
	openBytes = 1 << 20
)

// conn is one client connection.
type conn struct {
	srv       *Server
	tc        transport.Conn
	client    string                  // from its hello, for logs
	opens     *budget                 // of opening frames being read
	inFlight  *budget                 // of publishes
	announced atomic.Int64            // bytes of bodies that have memory and are being read
	delivery  *budget                 // of batches being delivered
	requests  chan struct{}           // holds one element per request until its response is taken
	control   atomic.Pointer[control] // nil until the hello was accepted
	heard     atomic.Bool             // a frame came since the last look
	polite    atomic.Bool             // streams have something to say before the end
	wg        sync.WaitGroup

	ctx    context.Context // ends when the connection is to end, with the *protocol.Error to tell as cause
	cancel context.CancelCauseFunc
}

func newConn(s *Server, tc transport.Conn) *conn {
	c := &conn{
		srv: s, tc: tc,
		opens:    &budget{limit: openBytes},
		inFlight: &budget{limit: s.cfg.Limits.InFlightBytes},
		delivery: &budget{limit: s.cfg.Limits.DeliverBytes},
		requests: make(chan struct{}, s.cfg.Limits.MaxRequests),
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	return c
}

// serve runs the connection until its end.
func (c *conn) serve() {
	unlink := context.AfterFunc(c.tc.Context(), func() { c.stop(errGone) })
	defer unlink()
	if c.hello() {
		c.srv.count(1)
		c.run()
		c.srv.count(-1)
	}
	c.stop(errGone)
	c.finish()
}

// errGone is the cause of the end when the peer or the network ended it.
var errGone = &protocol.Error{Code: protocol.CodeClosing, Message: "the connection is gone"}

// stop begins the end of the connection. Only the first cause counts. It does not block.
func (c *conn) stop(why *protocol.Error) { c.cancel(why) }

// stopPolitely is stop, but the connection stays until its streams have said why or closeGrace is over.
func (c *conn) stopPolitely(why *protocol.Error) {
	c.polite.Store(true)
	c.stop(why)
}

// why returns what ended the connection.
func (c *conn) why() *protocol.Error {
	var pe *protocol.Error
	if errors.As(context.Cause(c.ctx), &pe) {
		return pe
	}
	return errGone
}

// hello admits the client or says why not.
func (c *conn) hello() bool {
	defer c.guard("hello")
	ctx, cancel := context.WithTimeout(c.ctx, c.srv.cfg.Limits.HelloTimeout)
	defer cancel()
	by := time.Now().Add(c.srv.cfg.Limits.HelloTimeout)
	ts, err := c.tc.AcceptStream(ctx)
	if err != nil {
		c.stop(protocol.Errorf(protocol.CodeTimeout, "no hello within %v", c.srv.cfg.Limits.HelloTimeout))
		return false
	}
	st := c.wrap(ts)
	stopCut := context.AfterFunc(c.ctx, st.cutReading)
	refused := c.admit(st, by)
	if refused == nil {
		return true
	}
	stopCut()
	c.srv.metrics.refused(refused.Code)
	c.srv.cfg.Log.Info("client refused", "remote", c.tc.RemoteAddr(), "client", c.client, "err", refused)
	st.fail(refused)
	select {
	case <-c.tc.Context().Done():
	case <-time.After(refusedGrace):
	case <-c.srv.closed:
	}
	c.stop(refused)
	return false
}

// run serves streams until the connection is to end.
func (c *conn) run() {
	c.srv.cfg.Log.Debug("client connected", "remote", c.tc.RemoteAddr(), "client", c.client)
	c.spawn("heartbeat", c.watchHeartbeat)
	ctl := c.control.Load()
	c.spawn("control-read", ctl.read)
	c.spawn("control-write", ctl.write)
	for {
		ts, err := c.tc.AcceptStream(c.ctx)
		if err != nil {
			return
		}
		st := c.wrap(ts)
		c.spawn("stream", func() { c.serveStream(st) })
	}
}

// finish ends the connection after its streams' last words.
func (c *conn) finish() {
	quiet := make(chan struct{})
	go func() { // ends with the streams, which hangUp ends at the latest
		c.wg.Wait()
		close(quiet)
	}()
	why := c.why()
	if c.polite.Load() {
		wait(quiet, closeGrace)
		wait(c.tc.Context().Done(), hangUpGrace)
	}
	c.hangUp(why)
	<-quiet
	c.srv.cfg.Log.Debug("client disconnected", "remote", c.tc.RemoteAddr(), "client", c.client, "cause", why)
}

func wait(done <-chan struct{}, most time.Duration) {
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
}

func (c *conn) hangUp(why *protocol.Error) {
	_ = c.tc.Close(why.Code, clip(why.Message, maxAckMessage)) // nothing can be done about a connection that is gone
}

func (c *conn) wrap(ts transport.Stream) *stream {
	return &stream{Stream: ts, writeTimeout: c.srv.cfg.Limits.WriteTimeout, metrics: c.srv.metrics}
}

// spawn runs f in a goroutine of the connection.
func (c *conn) spawn(what string, f func()) {
	c.wg.Add(1)
	go func() {
		defer c.wg.Done()
		defer c.guard(what)
		f()
	}()
}

// guard turns a panic into the end of this connection.
func (c *conn) guard(what string) {
	p := recover()
	if p == nil {
		return
	}
	c.srv.metrics.panics.Inc()
	c.srv.cfg.Log.Error("panic while serving a client", "in", what, "remote", c.tc.RemoteAddr(),
		"client", c.client, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	c.stop(protocol.Errorf(protocol.CodeInternal, "the broker failed on this connection"))
}

// lookouts is how many times silence must be seen before a connection is given up. Looks are counted, not
// time: when this process was stopped or starved, what the client sent meanwhile is heard before it is blamed.
const lookouts = 6

// watchHeartbeat ends the connection when nothing was heard for HeartbeatLost.
func (c *conn) watchHeartbeat() {
	look := time.NewTicker(c.srv.cfg.Limits.HeartbeatLost / lookouts)
	defer look.Stop()
	for silent := 0; silent < lookouts; {
		select {
		case <-c.ctx.Done():
			return
		case <-look.C:
		}
		if silent++; c.heard.Swap(false) {
			silent = 0
		}
	}
	c.srv.metrics.lost.Inc()
	c.stop(protocol.Errorf(protocol.CodeHeartbeatLost, "nothing heard for %v", c.srv.cfg.Limits.HeartbeatLost))
	c.srv.cfg.Log.Info("client lost", "remote", c.tc.RemoteAddr(), "client", c.client)
}

// serveStream serves one stream other than the control stream.
func (c *conn) serveStream(st *stream) {
	defer st.Release()
	defer context.AfterFunc(c.ctx, st.cutReading)()
	failpoint.Hit("afterAcceptStream")
	kind, body, err := c.opening(st, time.Now().Add(c.srv.cfg.Limits.OpenTimeout))
	if err == nil {
		c.heard.Store(true)
		err = c.dispatch(st, kind, body)
	}
	c.endStream(st, err)
}

// opening reads the first frame of a stream and not one byte more.
func (c *conn) opening(st *stream, by time.Time) (protocol.Kind, []byte, error) {
	st.readBy(by)
	defer st.readBy(time.Time{})
	h, err := st.header()
	if err != nil {
		return 0, nil, err
	}
	switch h.Kind {
	case protocol.KindHello, protocol.KindProduceOpen, protocol.KindConsumeOpen, protocol.KindRequest:
	default:
		return 0, nil, protocol.Errorf(protocol.CodeUnexpectedFrame, "a stream cannot begin with a %s frame", h.Kind)
	}
	ctx, cancel := context.WithDeadline(c.ctx, by)
	defer cancel()
	if err := c.opens.take(ctx, h.Length, nil); err != nil {
		return 0, nil, protocol.Errorf(protocol.CodeOverloaded,
			"too many streams of this connection wait for their first frame")
	}
	defer c.opens.give(h.Length)
	body := make([]byte, h.Length)
	_, err = io.ReadFull(st, body)
	return h.Kind, body, err
}

// endStream tells the peer err, if it is one to be told and the stream has not told it itself.
func (c *conn) endStream(st *stream, err error) {
	if err == nil {
		return
	}
	pe := readError(err)
	if pe == nil {
		st.Reset(protocol.CodeClosing)
		st.StopReading(protocol.CodeClosing)
		return
	}
	if c.ctx.Err() != nil {
		pe = c.why()
	}
	c.srv.metrics.refused(pe.Code)
	st.fail(pe)
}

// dispatch serves the stream that began with this frame. The error is for endStream.
func (c *conn) dispatch(st *stream, kind protocol.Kind, body []byte) error {
	switch kind {
	case protocol.KindProduceOpen:
		defer c.counted("produce")()
		return c.produce(st, body)
	case protocol.KindConsumeOpen:
		defer c.counted("consume")()
		return c.consume(st, body)
	case protocol.KindRequest:
		defer c.counted("request")()
		return c.request(st, body)
	default:
		return protocol.Errorf(protocol.CodeUnexpectedFrame, "a stream cannot begin with a %s frame", kind)
	}
}

func (c *conn) counted(kind string) func() {
	g := c.srv.metrics.streams.WithLabelValues(kind)
	g.Inc()
	return g.Dec
}

// partition finds the local replica of tp or says where else to go.
func (c *conn) partition(tp protocol.TopicPartition) (Partition, error) {
	topic, known := c.srv.cfg.Meta.Topic(tp.Topic)
	switch {
	case !known && c.srv.cfg.Meta.Deleted(tp.Topic):
		return nil, protocol.Errorf(protocol.CodeTopicNotFound, "topic %d was deleted", tp.Topic)
	case !known:
		return nil, protocol.Errorf(protocol.CodeUnavailable, "topic %d is not known here yet", tp.Topic)
	case int64(tp.Partition) >= int64(len(topic.Partitions)):
		return nil, protocol.Errorf(protocol.CodePartitionUnknown, "partition %s: the topic has %d",
			tp, len(topic.Partitions))
	}
	if p, ok := c.srv.cfg.Partitions.Partition(tp); ok {
		return p, nil
	}
	if leader, epoch := c.leaderOf(tp); leader != 0 {
		return nil, &protocol.Error{Code: protocol.CodeNotLeader, Leader: leader, Epoch: epoch,
			Message: fmt.Sprintf("partition %s is led by broker %d", tp, leader)}
	}
	return nil, protocol.Errorf(protocol.CodeUnavailable, "this broker has no replica of partition %s now", tp)
}

// hinted adds to CodeNotLeader who leads.
func (c *conn) hinted(tp protocol.TopicPartition, err error) *protocol.Error {
	e := asError(err)
	if e.Code != protocol.CodeNotLeader {
		return e
	}
	if leader, epoch := c.leaderOf(tp); leader != 0 && epoch >= e.Epoch {
		e.Leader, e.Epoch = leader, epoch
	}
	if e.Leader == c.srv.cfg.Self {
		e.Leader = 0
	}
	return e
}

// leaderOf returns the leader of tp if it is known and another broker, else 0.
func (c *conn) leaderOf(tp protocol.TopicPartition) (protocol.BrokerID, protocol.Epoch) {
	leader, epoch := c.srv.cfg.Leaders.Leader(tp)
	if leader == c.srv.cfg.Self {
		return 0, 0
	}
	return leader, epoch
}
