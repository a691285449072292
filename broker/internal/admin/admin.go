// Package admin serves a broker's HTTP endpoints for operators:
//
//	/livez        200 when every part of the broker answers; 503 with the part that does not, within aliveLimit: only a new process helps
//	/readyz       200 when the broker serves, and a line for each damaged segment; 503 with the reason when it does not
//	/readyz?caught-up
//	              200 when it serves and every replica on it has all that was committed before the question: then another broker may be
//	              restarted as far as this one is concerned. Plain /readyz does not wait for that, because it steers clients: a broker
//	              that lags on a few partitions serves the others. It asks the leaders and takes up to caughtUpLimit
//	/metrics      Prometheus
//	/debug/pprof  profiles, only to callers on the loopback interface
//
// and, in builds with the tag faults alone, /debug/failpoints (package failpoint).
//
// It reads state through the functions in Config and changes nothing. Requests are bounded by read, write
// and header limits; it holds no queue.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/trunkline/trunkline/broker/internal/failpoint"
)

// Config says what to serve.
type Config struct {
	Listen   string                      // TCP address
	Alive    func(context.Context) error // nil when alive, otherwise what is not; ends with the context
	Ready    func() error                // nil when ready, otherwise the reason; must not block
	Damage   func() []error              // what is damaged and not repaired; must not block; nil: nothing ever is
	CaughtUp func(context.Context) error // nil when every replica here has everything, otherwise the reason; ends with the context
	Gatherer prometheus.Gatherer         // metrics
	Register prometheus.Registerer       // where the handler counts its own errors; may be nil
	Log      *slog.Logger
}

// Bounds of the answers that wait for others.
const (
	aliveLimit    = 3 * time.Second // /livez
	caughtUpLimit = 5 * time.Second // /readyz?caught-up
)

// alive answers a request to /livez.
func (cfg *Config) alive(r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), aliveLimit)
	defer cancel()
	return cfg.Alive(ctx)
}

// ready answers a request to /readyz.
func (cfg *Config) ready(r *http.Request) error {
	if !r.URL.Query().Has("caught-up") {
		return cfg.Ready()
	}
	ctx, cancel := context.WithTimeout(r.Context(), caughtUpLimit)
	defer cancel()
	return cfg.CaughtUp(ctx)
}

// Server is a running admin server.
type Server struct {
	http *http.Server
	addr string
	done chan struct{}
}

// Start binds the address and serves until Close.
func Start(cfg Config) (*Server, error) {
	ln, err := net.Listen("tcp", cfg.Listen) //nolint:noctx // a bind does not block
	if err != nil {
		return nil, fmt.Errorf("admin_listen: %w", err)
	}
	s := &Server{
		addr: ln.Addr().String(),
		done: make(chan struct{}),
		http: &http.Server{
			Handler: handler(cfg), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
			IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		},
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			cfg.Log.Error("admin server stopped", "error", err)
		}
	}()
	return s, nil
}

func handler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, r *http.Request) {
		if err := cfg.alive(r); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := cfg.ready(r); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
		if cfg.Damage == nil {
			return
		}
		for _, err := range cfg.Damage() {
			_, _ = fmt.Fprintln(w, "damaged:", err)
		}
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(cfg.Gatherer, promhttp.HandlerOpts{Registry: cfg.Register}))
	mux.Handle("/debug/pprof/", loopbackOnly(http.HandlerFunc(pprof.Index)))
	mux.Handle("/debug/pprof/profile", loopbackOnly(http.HandlerFunc(pprof.Profile)))
	mux.Handle("/debug/pprof/trace", loopbackOnly(http.HandlerFunc(pprof.Trace)))
	mux.Handle("/debug/pprof/symbol", loopbackOnly(http.HandlerFunc(pprof.Symbol)))
	if failpoint.Enabled {
		mux.Handle("/debug/failpoints", failpoint.Handler())
	}
	return mux
}

// loopbackOnly refuses callers from other machines: a profile shows memory.
func loopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			http.Error(w, "profiles are served on the loopback interface only", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Addr returns the bound address.
func (s *Server) Addr() string { return s.addr }

// Close stops the server; requests under way have a second to end. Idempotent.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	<-s.done
	return err
}
