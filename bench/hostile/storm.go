package hostile

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/time/rate"

	"github.com/trunkline/trunkline/protocol"
)

const (
	stormDial = 2 * time.Second        // bound on one handshake of a storm
	stormLost = 100 * time.Millisecond // how long a handshake is waited for whose answers are thrown away
)

// storm makes handshakes at a rate, and of most of them nothing. Of eight handshakes
//
//	4 end at once, in order
//	2 are done and never say hello; the broker must end them
//	1 opens a stream and sends half a frame
//	1 is never finished: the answers are thrown away
//
// Goroutines and sockets: two sockets a lane.
type storm struct {
	addrs []string
	limit *rate.Limiter

	offered atomic.Int64 // handshakes begun
	done    atomic.Int64 // handshakes
	half    atomic.Int64 // never finished, or with a stream that is not
	refused atomic.Int64 // by the broker, before or after it asked for a proof of the address
	failed  atomic.Int64 // in another way
}

// run makes handshakes with so many lanes at a time until ctx ends.
func (s *storm) run(ctx context.Context, lanes int) error {
	errs := make([]error, lanes)
	var wg sync.WaitGroup
	for i := range lanes {
		wg.Go(func() { errs[i] = s.lane(ctx, i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// lane makes one handshake after the other from one address.
func (s *storm) lane(ctx context.Context, at int) error {
	hearing, err := listen()
	if err != nil {
		return err
	}
	defer hearing.close()
	lost, err := listen()
	if err != nil {
		return err
	}
	defer lost.close()
	lost.tr.Conn = unheard{lost.socket}
	for ; s.limit.Wait(ctx) == nil; at++ {
		to, err := net.ResolveUDPAddr("udp", s.addrs[at%len(s.addrs)])
		if err != nil {
			return err
		}
		s.offered.Add(1)
		if at/len(s.addrs)%8 == 7 {
			s.half.Add(1)
			_, _ = shake(ctx, lost.tr, to, stormLost, nil) // it cannot succeed
			continue
		}
		s.one(ctx, hearing.tr, to, at/len(s.addrs)%8)
	}
	return nil
}

func (s *storm) one(ctx context.Context, tr *quic.Transport, to net.Addr, kind int) {
	conn, err := shake(ctx, tr, to, stormDial, nil)
	var refused *quic.TransportError
	switch {
	case errors.As(err, &refused) && refused.Remote:
		s.refused.Add(1)
	case err != nil && ctx.Err() == nil:
		s.failed.Add(1)
	}
	if err != nil {
		return
	}
	s.done.Add(1)
	switch {
	case kind < 4:
		_ = conn.CloseWithError(quic.ApplicationErrorCode(protocol.CodeClosing), "bye") // never fails
	case kind == 6:
		if st, err := conn.OpenStream(); err == nil {
			s.half.Add(1)
			_, _ = st.Write([]byte{0, 0, 1}) // half a header; the broker may be faster
		}
	}
}

// socket is a UDP socket with its QUIC transport.
type socket struct {
	tr     *quic.Transport
	socket *net.UDPConn
}

func listen() (*socket, error) {
	s, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("storm: %w", err)
	}
	return &socket{&quic.Transport{Conn: s}, s}, nil
}

// close ends the socket and its connections, without a word to anybody.
func (s *socket) close() {
	_ = s.tr.Close()     // nobody shall hear of it
	_ = s.socket.Close() // as above
}

// unheard is a socket that throws away what comes.
type unheard struct{ *net.UDPConn }

func (u unheard) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		if _, _, err := u.UDPConn.ReadFrom(p); err != nil {
			return 0, nil, err
		}
	}
}

// shake makes a handshake. Without tokens it is that of a stranger.
func shake(ctx context.Context, tr *quic.Transport, to net.Addr, limit time.Duration, tokens quic.TokenStore) (*quic.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conf := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{alpn}, MinVersion: tls.VersionTLS13}
	return tr.Dial(ctx, to, conf, &quic.Config{HandshakeIdleTimeout: limit, MaxIdleTimeout: 5 * time.Second, TokenStore: tokens})
}
