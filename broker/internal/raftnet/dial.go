package raftnet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/trunkline/trunkline/broker/internal/pki"
	"github.com/trunkline/trunkline/protocol"
)

// Times of connections.
const (
	dialTimeout      = time.Second
	handshakeTimeout = 3 * time.Second
	writeTimeout     = 5 * time.Second
	// echoEvery keeps both directions of a dialled connection busy; readTimeout without a frame ends it. On the liveness
	// connection, where echoes tell how far the peer is, they are sent every echoLiveness.
	echoEvery    = 2 * time.Second
	echoLiveness = 500 * time.Millisecond
	readTimeout  = 10 * time.Second
	// userTimeout lets the kernel give up a connection to a black hole long before its own retransmissions would,
	// so that a healed network is found by the next dial.
	userTimeout = 3 * time.Second
)

// refusal is a peer that this broker does not want to talk to.
type refusal struct{ *Reject }

// dialled is a connection after its handshake.
type dialled struct {
	conn  net.Conn
	hello PeerHello // of the listener
}

// dial connects to addr and shakes hands. A refused handshake comes back as *Reject (the other side, which is who was meant, refuses us)
// or refusal (we refuse it).
func (n *Network) dial(ctx context.Context, addr string, meant protocol.BrokerID, k kind, l lane) (dialled, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return dialled{}, err
	}
	tlsConfig, err := n.cfg.TLS.Client(host)
	if err != nil {
		return dialled{}, fmt.Errorf("certificates: %w", err)
	}
	dialer := net.Dialer{Timeout: dialTimeout, KeepAlive: -1}
	raw, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return dialled{}, err
	}
	tune(raw, k)
	if !n.track(raw) {
		return dialled{}, net.ErrClosed
	}
	defer context.AfterFunc(ctx, func() { _ = raw.Close() })()
	conn := tls.Client(raw, tlsConfig)
	h, err := n.shake(ctx, conn, meant, k, l)
	if err != nil {
		n.drop(raw)
		return dialled{hello: h}, errors.Join(err, ctx.Err()) // which may have closed it
	}
	return dialled{conn: &trackedConn{Conn: conn, n: n, raw: raw}, hello: h}, nil
}

func (n *Network) shake(
	ctx context.Context, conn *tls.Conn, meant protocol.BrokerID, k kind, l lane,
) (PeerHello, error) {
	deadline := time.Now().Add(handshakeTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return PeerHello{}, err
	}
	if err := conn.Handshake(); err != nil {
		return PeerHello{}, fmt.Errorf("TLS handshake: %w", err)
	}
	if err := writeHello(conn, hello{kind: k, lane: l, meant: meant, PeerHello: n.me()}); err != nil {
		return PeerHello{}, err
	}
	h, err := readHello(conn)
	if err != nil {
		return PeerHello{}, err
	}
	cert := conn.ConnectionState().PeerCertificates[0]
	switch {
	case h.version != helloVersion:
		r := &Reject{RejectVersion, fmt.Sprintf("peer speaks handshake version %d, this broker %d", h.version, helloVersion)}
		if meant != 0 {
			return PeerHello{}, refusal{r}
		}
		return PeerHello{}, r
	case h.code != 0 && strange(h.PeerHello, meant, cert):
		return h.PeerHello, refusal{&Reject{h.code, fmt.Sprintf("broker %d answers where broker %d was expected: %s", h.Broker, meant, h.reason)}}
	case h.code != 0:
		return h.PeerHello, &Reject{h.code, h.reason}
	}
	if k != kindProbe {
		if r := n.judge(h.PeerHello, k, meant, cert); r != nil {
			return h.PeerHello, refusal{r}
		}
	}
	return h.PeerHello, conn.SetDeadline(time.Time{})
}

// strange reports whether somebody else answers than who was meant. What he thinks of this broker says nothing about it: a new broker
// may live where a dead one did, whom the others still look for there.
func strange(h PeerHello, meant protocol.BrokerID, cert *x509.Certificate) bool {
	return meant != 0 && (h.Broker != meant || pki.CheckBroker(cert, meant) != nil)
}

// judge decides whether this broker talks to the peer that says it is h over a connection of kind k (Inv2). meant is
// whom we dialled, 0 if it dialled us or we do not know. That h is no peer is only said to who is neither forged nor retired.
func (n *Network) judge(h PeerHello, k kind, meant protocol.BrokerID, cert *x509.Certificate) *Reject {
	switch {
	case h.ClusterID != n.cfg.ClusterID:
		return &Reject{RejectForeignCluster, fmt.Sprintf("broker %d belongs to cluster %016x, this broker (%d) to %016x",
			h.Broker, h.ClusterID, n.cfg.Self, n.cfg.ClusterID)}
	case meant != 0 && h.Broker != meant:
		return &Reject{RejectWrongBroker, fmt.Sprintf("broker %d answers where broker %d was expected", h.Broker, meant)}
	case h.Broker == n.cfg.Self:
		return &Reject{RejectWrongBroker, fmt.Sprintf("broker ID %d is this broker's own: two brokers use one ID, or an"+
			" address is wrong", h.Broker)}
	}
	if err := pki.CheckBroker(cert, h.Broker); err != nil {
		return &Reject{RejectCertificate, err.Error()}
	}
	if n.cfg.CheckPeer != nil {
		if r := n.cfg.CheckPeer(h); r != nil {
			return r
		}
	}
	if k != kindJoin && n.peer(h.Broker) == nil {
		return n.unknown(h.Broker)
	}
	return nil
}

func (n *Network) unknown(b protocol.BrokerID) *Reject {
	return &Reject{RejectUnknownBroker, fmt.Sprintf("broker %d is not a member known to broker %d", b, n.cfg.Self)}
}

// Probe asks the broker at addr who it is and whether it would accept us. It may be called before Start. Exactly one
// of the results is set, except that a *Reject may come with the hello of who refused.
func (n *Network) Probe(ctx context.Context, addr string) (PeerHello, *Reject, error) {
	d, err := n.dial(ctx, addr, 0, kindProbe, 0)
	var r *Reject
	if errors.As(err, &r) {
		return d.hello, r, nil
	}
	if err != nil {
		return PeerHello{}, nil, fmt.Errorf("raftnet: probe %s: %w", addr, err)
	}
	_ = d.conn.Close()
	return d.hello, nil, nil
}

// vanished reports whether err looks like a process that died during the handshake: its kernel had accepted the
// connection, nobody will answer it.
func vanished(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// tune sets the options of a TCP connection. Errors are ignored: the connection works without.
func tune(c net.Conn, k kind) {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	_ = t.SetNoDelay(true)
	_ = t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3})
	if k != kindSnapshot { // whose receiver may wait for its disk
		setUserTimeout(t, userTimeout)
	}
}

// trackedConn is a connection that Close of the Network closes too.
type trackedConn struct {
	net.Conn
	n   *Network
	raw net.Conn
}

// Close closes the socket without TLS's farewell, which could block.
func (c *trackedConn) Close() error {
	c.n.drop(c.raw)
	return nil
}
