package hostile

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

const (
	openStreams  = 48              // of one shot that wait for their answer at a time
	halfOpen     = 32              // streams of one shot that are never finished
	dialLimit    = 5 * time.Second // bound on one handshake
	streamLimit  = 3 * time.Second // bound on one stream
	pingEvery    = 400 * time.Millisecond
	maxAnswerEnd = 64 << 10 // bytes of an answer that are read before its stream is abandoned
)

// link is one raw connection.
type link struct {
	*quic.Conn
	tr     *quic.Transport
	socket *net.UDPConn
	wg     sync.WaitGroup // of keepAlive
}

// dial connects to a broker's port. An attacker verifies nothing.
func dial(ctx context.Context, addr, alpn string) (*link, error) {
	return dialWindow(ctx, addr, alpn, 512<<10)
}

// dialWindow is dial with a receive window of streams, bytes; it does not grow unless streams are read.
func dialWindow(ctx context.Context, addr, alpn string, window uint64) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, err
	}
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	l := &link{tr: &quic.Transport{Conn: socket}, socket: socket}
	conf := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{alpn}, MinVersion: tls.VersionTLS13}
	l.Conn, err = l.tr.Dial(ctx, to, conf, &quic.Config{
		HandshakeIdleTimeout: dialLimit, MaxIdleTimeout: 5 * time.Second, InitialStreamReceiveWindow: window,
		MaxStreamReceiveWindow: 1 << 20, MaxConnectionReceiveWindow: 8 << 20,
	})
	if err != nil {
		l.vanish()
		return nil, err
	}
	return l, nil
}

// vanish ends the connection without a word.
func (l *link) vanish() {
	_ = l.tr.Close()     // the broker shall not hear of it
	_ = l.socket.Close() // as above
	l.wg.Wait()
}

// hangUp ends it in order.
func (l *link) hangUp() {
	_ = l.CloseWithError(quic.ApplicationErrorCode(protocol.CodeClosing), "bye")
	l.vanish()
}

// admit says hello on the first stream and returns it when the broker accepted.
func (l *link) admit(ctx context.Context) (*quic.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	s, err := l.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	_ = s.SetDeadline(time.Now().Add(dialLimit)) // fails only on a stream that is over; so below
	hello := &wire.Hello{ClientName: "hostile", MinVersion: protocol.MinVersion, MaxVersion: protocol.MaxVersion}
	if _, err := s.Write(wire.AppendFrame(nil, protocol.KindHello, hello)); err != nil {
		return nil, err
	}
	k, body, err := frame.NewReader(s).Next()
	if err != nil {
		return nil, err
	}
	if k != protocol.KindHelloOK {
		var e wire.Error
		return nil, errors.Join(errors.New("hello refused"), e.Decode(body), e.Err())
	}
	_ = s.SetDeadline(time.Time{})
	return s, nil
}

// keepAlive pings and reads what comes, until the connection ends.
func (l *link) keepAlive(control *quic.Stream) {
	l.wg.Go(func() { _, _ = io.Copy(io.Discard, control) }) // ends with the connection
	l.wg.Go(func() {
		ping := wire.AppendFrame(nil, protocol.KindPing, &wire.Ping{Payload: make([]byte, protocol.MinPingBytes)})
		tick := time.NewTicker(pingEvery)
		defer tick.Stop()
		for {
			select {
			case <-l.Context().Done():
				return
			case <-tick.C:
			}
			if _, err := control.Write(ping); err != nil {
				return
			}
		}
	})
}

// thrower sends the streams of one shot.
type thrower struct {
	link  *link
	tally *tally
	slots chan struct{}
	wg    sync.WaitGroup
	left  int // half-open streams that may still be made
}

func newThrower(l *link, t *tally) *thrower {
	return &thrower{link: l, tally: t, slots: make(chan struct{}, openStreams), left: halfOpen}
}

// How a stream is ended by the attacker.
type ending int

const (
	finished  ending = iota // FIN, and the answer is read
	reset                   // both directions, at once
	unread                  // FIN, but the answer is refused
	abandoned               // nothing: half open until the connection ends
)

func (f *forge) ending() ending {
	switch n := f.rnd.IntN(100); {
	case n < 84:
		return finished
	case n < 92:
		return reset
	case n < 98:
		return unread
	}
	return abandoned
}

// throw sends one stream. It waits for a free slot, not for the answer. An error means that the connection is over.
func (t *thrower) throw(ctx context.Context, tx text, end ending) error {
	ctx, cancel := context.WithTimeout(ctx, streamLimit)
	defer cancel()
	select {
	case t.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	s, err := t.link.OpenStreamSync(ctx)
	if err != nil {
		<-t.slots
		return err
	}
	t.tally.streams.Add(1)
	t.wg.Go(func() {
		defer func() { <-t.slots }()
		_ = s.SetDeadline(time.Now().Add(streamLimit)) // fails only on a stream that is over
		if _, err := s.Write(tx.bytes); err != nil {
			t.tally.cut.Add(1) // the broker stopped reading: it had heard enough
		} else {
			t.tally.frames.Add(int64(tx.frames))
		}
		t.finish(s, end)
	})
	if end == abandoned {
		t.left--
	}
	return nil
}

func (t *thrower) finish(s *quic.Stream, end ending) {
	switch end {
	case reset:
		s.CancelWrite(0)
		s.CancelRead(0)
	case unread:
		s.CancelRead(0)
		_ = s.Close() // fails only on a stream that is over
	case abandoned:
	default:
		_ = s.Close() // as above
		t.answer(s)
	}
}

// answer counts what the broker says on a stream until its end.
func (t *thrower) answer(s *quic.Stream) {
	r := frame.NewReader(io.LimitReader(s, maxAnswerEnd))
	for {
		k, body, err := r.Next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				s.CancelRead(0)
			}
			return
		}
		t.tally.answered(k, body)
	}
}
