package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/quic-go/quic-go"
	"golang.org/x/time/rate"
)

var (
	errFull   = errors.New("too many connections")
	errFullIP = errors.New("too many connections from this address")
	errFast   = errors.New("too many handshakes")
)

// knownFactor is how many handshakes of known clients may begin for each of a stranger.
const knownFactor = 10

// gate counts connections, handshakes included, and decides who may begin one.
//
// A handshake costs about a millisecond of a processor, whoever asks for it, and those who publish wait meanwhile. So handshakes are
// rationed, and what is above the ration is refused, not put off: quic-go begins handshakes one after the other, and a stranger who
// waits would hold up everybody behind him. A known client shows a token of this broker: it was connected within a day, from the same
// address, or has just answered a Retry. Its ration is its own, so that a storm of strangers does not keep it out after a restart.
type gate struct {
	max, maxPerIP    int
	strangers, known *rate.Limiter

	refused *prometheus.CounterVec
	retries prometheus.Counter
	open    prometheus.Gauge

	mu    sync.Mutex
	total int                // guarded by mu
	perIP map[netip.Addr]int // guarded by mu; sum of values == total
}

func newGate(cfg Config) *gate {
	g := &gate{
		max: cfg.MaxConnections, maxPerIP: cfg.MaxPerIP,
		strangers: rationOf(cfg.HandshakesPerSecond),
		known:     rationOf(cfg.HandshakesPerSecond * knownFactor),
		perIP:     make(map[netip.Addr]int),
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

// mustProve asks a stranger for a Retry when the table fills: a sender of forged addresses then costs neither memory nor somebody
// else's share. The Retry is taken out of the strangers' ration, because who answers it is no stranger; without a ration left it is
// not asked for, and admit refuses.
func (g *gate) mustProve(net.Addr) bool {
	g.mu.Lock()
	crowded := g.total >= g.max/2
	g.mu.Unlock()
	if !crowded || !g.strangers.Allow() {
		return false
	}
	g.retries.Inc()
	return true
}

// admit counts a new connection until ctx, which quic-go ends with the connection, is done.
func (g *gate) admit(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	ration := g.strangers
	if info.AddrVerified {
		ration = g.known
	}
	if !ration.Allow() {
		g.refused.WithLabelValues("fast").Inc()
		return nil, errFast
	}
	ip := addrOf(info.RemoteAddr)
	if err := g.enter(ip); err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { g.leave(ip) })
	return ctx, nil
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

func addrOf(a net.Addr) netip.Addr {
	if u, ok := a.(*net.UDPAddr); ok {
		return u.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
