package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/quic-go/quic-go"
	"golang.org/x/time/rate"
)

var (
	errFull   = errors.New("too many connections")
	errFullIP = errors.New("too many connections from this address")
	errFast   = errors.New("too many handshakes")
)

const (
	// knownFactor is how many handshakes of known clients may begin for each of a stranger.
	knownFactor = 10
	// proofFactor is how many Retries may be sent for each handshake of a stranger: one is a datagram, without the cryptography of TLS.
	proofFactor = 20
)

// gate counts connections, handshakes included, and decides who may begin one.
//
// A handshake costs about a millisecond of a processor, whoever asks for it, and those who publish wait meanwhile. So handshakes are
// rationed, and what is above the ration is refused, not put off: quic-go begins handshakes one after the other, and a stranger who
// waits would hold up everybody behind him. A known client shows a token of this broker: it was connected within a day, from the same
// address. Its ration is its own, so that a storm of strangers does not keep it out after a restart.
//
// Senders of forged addresses get half of the strangers' ration, and half of the table, at most: what is left is for strangers who
// have answered a Retry, which such a sender never sees.
type gate struct {
	max, maxPerIP            int
	strangers, known, proofs *rate.Limiter

	refused *prometheus.CounterVec
	retries prometheus.Counter
	open    prometheus.Gauge

	mu    sync.Mutex
	total int                // guarded by mu
	perIP map[netip.Addr]int // guarded by mu; sum of values == total
	asked *recent            // guarded by mu; who was sent a Retry: its token is that of a stranger
}

func newGate(cfg Config) *gate {
	g := &gate{
		max: cfg.MaxConnections, maxPerIP: cfg.MaxPerIP,
		strangers: rationOf(cfg.HandshakesPerSecond),
		known:     rationOf(cfg.HandshakesPerSecond * knownFactor),
		proofs:    rationOf(cfg.HandshakesPerSecond * proofFactor),
		perIP:     make(map[netip.Addr]int),
		asked:     newRecent(retryAge * cfg.HandshakeTimeout),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "trunkline_transport_refused_connections_total",
			Help: "Connections refused before their handshake, by reason.",
		}, []string{"reason"}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "trunkline_transport_retries_total",
			Help: "Handshakes that had to prove their address first.",
		}),
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "trunkline_transport_connections",
			Help: "QUIC connections, handshakes included.",
		}),
	}
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(g.refused, g.retries, g.open)
	}
	return g
}

// rationOf allows n a second, and after a quiet second n at once.
func rationOf(n int) *rate.Limiter { return rate.NewLimiter(rate.Limit(n), n) }

// wary reports whether strangers have to prove their addresses: half of the table or of their ration is in use.
func (g *gate) wary() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.total >= g.max/2 || g.strangers.Tokens() < float64(g.strangers.Burst()/2+1)
}

// mustProve asks a stranger for a Retry. It does not, and admit refuses, above the ration of Retries, and while none is left of the
// strangers' own: those who answer have used it up, so that another answer would only cost the work to refuse it.
func (g *gate) mustProve(a net.Addr) bool {
	if !g.wary() || g.strangers.Tokens() < 1 || !g.proofs.Allow() {
		return false
	}
	g.mu.Lock()
	g.asked.add(portOf(a), time.Now())
	g.mu.Unlock()
	g.retries.Inc()
	return true
}

// admit counts a new connection until ctx, which quic-go ends with the connection, is done.
func (g *gate) admit(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	if !g.mayBegin(info) {
		g.refused.WithLabelValues("fast").Inc()
		return nil, errFast
	}
	ip := portOf(info.RemoteAddr).Addr()
	if err := g.enter(ip); err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { g.leave(ip) })
	return ctx, nil
}

// mayBegin takes a handshake out of its ration. That of a token that does not say whether it came with a Retry follows from whom one was
// sent to.
func (g *gate) mayBegin(info *quic.ClientInfo) bool {
	if !info.AddrVerified {
		return !g.wary() && g.strangers.Allow()
	}
	g.mu.Lock()
	stranger := g.asked.has(portOf(info.RemoteAddr))
	g.mu.Unlock()
	if stranger {
		return g.strangers.Allow()
	}
	return g.known.Allow()
}

func (g *gate) enter(ip netip.Addr) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.total >= g.max:
		g.refused.WithLabelValues("full").Inc()
		return errFull
	case g.perIP[ip] >= g.maxPerIP:
		g.refused.WithLabelValues("full_ip").Inc()
		return errFullIP
	}
	g.total++
	g.perIP[ip]++
	g.open.Set(float64(g.total))
	return nil
}

func (g *gate) leave(ip netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if g.perIP[ip]--; g.perIP[ip] == 0 {
		delete(g.perIP, ip)
	}
	g.open.Set(float64(g.total))
}

func portOf(a net.Addr) netip.AddrPort {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := u.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap().WithZone(""), p.Port())
}
