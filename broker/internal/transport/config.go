package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Key is a secret that should survive restarts of the broker.
type Key [32]byte

// Config says where to listen and what to allow. Zero fields take the default.
type Config struct {
	// Listen is the host:port to bind; port 0 picks one.
	Listen string
	// TLS has the certificates. The application protocol and TLS 1.3 are set here.
	TLS *tls.Config
	// ResetKey lets a restarted broker tell clients at once that it lost their connections. It is
	// random, and so useless after a restart, if it is nil.
	ResetKey *Key
	// TokenKey signs address tokens; brokers of one cluster may share it. Random if it is nil.
	TokenKey *Key

	MaxConnections      int // default 10 000
	MaxPerIP            int // default MaxConnections: many clients come through one address
	MaxStreams          int // of one connection, default 4096
	HandshakesPerSecond int // of clients without a token of this broker, default 500; ten times as many of those with one

	StreamWindow  int // most bytes unread on one stream, default 1 MiB
	ConnWindow    int // most bytes unread on one connection, default 64 MiB
	ConnWindowNow int // the connection window before any growth, default 16 MiB
	GrowBudget    int // sum of what all connection windows grew by, default 1 GiB

	IdleTimeout      time.Duration // silence after which a connection is forgotten, default 10 s
	HandshakeTimeout time.Duration // silence during a handshake, default 3 s

	Log        *slog.Logger          // nil: none
	Registerer prometheus.Registerer // nil: none
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// withDefaults returns c with every unset field set.
func (c Config) withDefaults() Config {
	setDefault(&c.MaxConnections, 10_000)
	setDefault(&c.MaxPerIP, c.MaxConnections)
	setDefault(&c.MaxStreams, 4096)
	setDefault(&c.HandshakesPerSecond, 500)
	setDefault(&c.StreamWindow, 1<<20)
	setDefault(&c.ConnWindow, 64<<20)
	setDefault(&c.ConnWindowNow, min(16<<20, c.ConnWindow))
	setDefault(&c.GrowBudget, 1<<30)
	setDefault(&c.IdleTimeout, 10*time.Second)
	setDefault(&c.HandshakeTimeout, 3*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// windowRatio is how many stalled streams a connection must survive before its window has grown.
const windowRatio = 8

func (c *Config) validate() error {
	switch {
	case c.TLS == nil:
		return errors.New("transport: no TLS configuration")
	case c.MaxConnections < 0 || c.MaxPerIP < 0 || c.MaxStreams < 0 || c.HandshakesPerSecond < 0:
		return errors.New("transport: a limit is negative")
	case c.StreamWindow < 16<<10:
		return fmt.Errorf("transport: stream window of %d bytes, at least 16 KiB are needed", c.StreamWindow)
	case c.ConnWindowNow > c.ConnWindow:
		return fmt.Errorf("transport: connection window begins at %d bytes, above its bound of %d",
			c.ConnWindowNow, c.ConnWindow)
	case c.ConnWindowNow/windowRatio < c.StreamWindow:
		return fmt.Errorf("transport: connection window of %d bytes must be at least %d stream windows of %d, "+
			"or a few stalled streams freeze a connection", c.ConnWindowNow, windowRatio, c.StreamWindow)
	}
	return nil
}
