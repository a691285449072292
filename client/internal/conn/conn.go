package conn

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

// Conn is a connection to one broker.
type Conn struct {
	addr    string
	events  Events
	sock    *socket
	tr      *quic.Transport
	qc      *quic.Conn
	control *Stream
	ok      wire.HelloOK
	done    <-chan struct{}

	heard   atomic.Uint64 // frames read from the control stream
	suspect chan struct{} // a packet was refused
	pongs   chan []byte   // payloads to answer

	mu        sync.Mutex // guards the following
	onRefused func()     // ends the attempt while dialling, then hint
	cause     error      // why this side closed it; first one wins

	closeOnce sync.Once
	wg        sync.WaitGroup
}

// Broker returns the ID the broker gave in its hello.
func (c *Conn) Broker() protocol.BrokerID { return c.ok.Broker }

// Hello returns what the broker said in its hello.
func (c *Conn) Hello() *wire.HelloOK { return &c.ok }

// Addr returns the address that was dialled.
func (c *Conn) Addr() string { return c.addr }

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns why the connection ended; nil while it lives.
func (c *Conn) Err() error {
	select {
	case <-c.done:
	default:
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return c.cause
	}
	return translate(context.Cause(c.qc.Context()))
}

// Close ends the connection and waits for its goroutines. Data the broker has not read may be lost.
func (c *Conn) Close(cause error) {
	c.fail(protocol.CodeClosing, cause)
	c.release()
	c.wg.Wait()
}

// fail ends the connection from this side.
func (c *Conn) fail(code protocol.Code, cause error) {
	c.mu.Lock()
	if c.cause == nil && c.qc.Context().Err() == nil {
		c.cause = cause
	}
	c.mu.Unlock()
	_ = c.qc.CloseWithError(quic.ApplicationErrorCode(code), cause.Error())
}

// release frees the transport and the socket.
func (c *Conn) release() {
	c.closeOnce.Do(func() {
		if c.tr != nil {
			_ = c.tr.Close()
		}
		if c.sock != nil {
			_ = c.sock.UDPConn.Close()
		}
	})
}

// hint notes that a packet was refused.
func (c *Conn) hint() {
	select {
	case c.suspect <- struct{}{}:
	default:
	}
}

// readControl reads the control stream until it ends.
func (c *Conn) readControl() {
	for {
		kind, body, err := c.control.Next()
		if err != nil {
			c.fail(protocol.CodeClosing, fmt.Errorf("control stream: %w", err))
			return
		}
		c.heard.Add(1)
		if err := c.handle(kind, body); err != nil {
			c.fail(protocol.CodeInvalidRequest, fmt.Errorf("control stream: %w", err))
			return
		}
	}
}

// handle acts on one frame of the control stream. Kinds it does not know belong to later versions.
func (c *Conn) handle(kind protocol.Kind, body []byte) error {
	switch kind {
	case protocol.KindMetadata:
		var m wire.Metadata
		if err := m.Decode(body); err != nil {
			return err
		}
		c.events.Metadata(c, &m)
	case protocol.KindLeaderChange:
		var m wire.LeaderChange
		if err := m.Decode(body); err != nil {
			return err
		}
		c.events.Leaders(c, m.Leaders)
	case protocol.KindGoAway:
		var m wire.GoAway
		if err := m.Decode(body); err != nil {
			return err
		}
		c.events.GoAway(c, &m)
	case protocol.KindPing:
		var m wire.Ping
		if err := m.Decode(body); err != nil {
			return err
		}
		select {
		case c.pongs <- m.Payload:
		default:
		}
	case protocol.KindError:
		var m wire.Error
		if err := m.Decode(body); err != nil {
			return err
		}
		return m.Err()
	}
	return nil
}

// pingEvery is a little below what the broker asked for, since its clock started later than ours.
func (c *Conn) pingEvery() time.Duration {
	every := maxPingEvery
	if ms := c.ok.HeartbeatMillis; ms > 0 {
		every = min(every, time.Duration(ms)*time.Millisecond)
	}
	return max(every*3/4, 10*time.Millisecond)
}

// writeControl sends pings and pongs and ends the connection when the broker is silent.
func (c *Conn) writeControl() {
	every := c.pingEvery()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	var (
		seq      uint64
		silent   int
		heard    = c.heard.Load()
		deadline <-chan time.Time // set while a refused packet waits for proof of life
		proof    uint64
	)
	ping := func() error {
		seq++
		var p [protocol.MinPingBytes]byte
		binary.BigEndian.PutUint64(p[:], seq)
		return c.send(protocol.KindPing, p[:], every)
	}
	for {
		var err error
		select {
		case <-c.done:
			return
		case p := <-c.pongs:
			err = c.send(protocol.KindPong, p, every)
		case <-c.suspect:
			if deadline == nil {
				deadline, proof = time.After(refusedDeadline), c.heard.Load()
				err = ping()
			}
		case <-deadline:
			deadline = nil
			if c.heard.Load() == proof {
				err = ErrRefused
			}
		case <-ticker.C:
			if now := c.heard.Load(); now != heard {
				silent, heard = 0, now
			} else if silent++; silent > silentPings {
				err = ErrSilent
			}
			if err == nil {
				err = ping()
			}
		}
		if err != nil {
			c.fail(protocol.CodeHeartbeatLost, err)
			return
		}
	}
}

// send writes a ping or pong. It can only block if the broker reads nothing any more.
func (c *Conn) send(kind protocol.Kind, payload []byte, timeout time.Duration) error {
	_ = c.control.qs.SetWriteDeadline(time.Now().Add(silentPings * timeout))
	return c.control.WriteFrame(kind, &wire.Ping{Payload: payload})
}

// OpenStream opens a stream. The broker sees it with the first frame. While as many are open as the broker grants it waits, at
// most openTimeout: CodeOverloaded, and nothing was sent.
func (c *Conn) OpenStream(ctx context.Context) (*Stream, error) {
	if ctx.Err() != nil { // no wait, so nothing to blame the broker for
		return nil, context.Cause(ctx)
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	qs, err := c.qc.OpenStreamSync(ctx)
	if err != nil {
		if c.qc.Context().Err() == nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, protocol.Errorf(protocol.CodeOverloaded, "no stream granted by broker %d within %v: its limit of streams is in use",
				c.Broker(), time.Since(began).Round(time.Millisecond))
		}
		return nil, c.streamErr(err)
	}
	return &Stream{qs: qs, conn: c, Reader: frame.NewReader(qs)}, nil
}

// Request sends one request on a stream of its own and waits for the response.
func (c *Conn) Request(ctx context.Context, req *wire.Request) (*wire.Response, error) {
	s, err := c.OpenStream(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Abort()
	stop := context.AfterFunc(ctx, s.Abort)
	defer stop()
	resp, err := s.request(req)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return resp, err
}

func (s *Stream) request(req *wire.Request) (*wire.Response, error) {
	if err := s.WriteFrame(protocol.KindRequest, req); err != nil {
		return nil, err
	}
	if err := s.CloseWrite(); err != nil {
		return nil, err
	}
	body, err := s.Expect(protocol.KindResponse)
	if err != nil {
		return nil, err
	}
	var resp wire.Response
	if err := resp.Decode(body); err != nil {
		return nil, err
	}
	if resp.Error != nil {
		return nil, resp.Error.Err()
	}
	return &resp, nil
}

// streamErr replaces the end of the connection by its reason.
func (c *Conn) streamErr(err error) error {
	if err != nil && c.qc.Context().Err() != nil {
		c.mu.Lock()
		cause := c.cause
		c.mu.Unlock()
		if cause != nil {
			return fmt.Errorf("connection to broker %d: %w", c.ok.Broker, cause)
		}
	}
	return translate(err)
}

// translate turns a close with one of our codes into a *protocol.Error.
func translate(err error) error {
	var ae *quic.ApplicationError
	if errors.As(err, &ae) && ae.Remote && ae.ErrorCode > 0 && ae.ErrorCode < 1<<16 {
		return &protocol.Error{Code: protocol.Code(ae.ErrorCode), Message: ae.ErrorMessage}
	}
	return err
}
