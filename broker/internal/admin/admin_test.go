package admin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEndpoints(t *testing.T) {
	var hung, unready, behind atomic.Bool
	unready.Store(true)
	behind.Store(true)
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "trunkline_test_value", Help: "x"}))
	s, err := Start(Config{
		Listen: "127.0.0.1:0", Gatherer: reg, Register: reg, Log: slog.Default(),
		Alive: func(ctx context.Context) error {
			_, bounded := ctx.Deadline()
			require.True(t, bounded)
			if hung.Load() {
				return errors.New("the controller has not answered for 3s")
			}
			return nil
		},
		Ready: func() error {
			if unready.Load() {
				return errors.New("metadata has no leader")
			}
			return nil
		},
		CaughtUp: func(ctx context.Context) error {
			_, bounded := ctx.Deadline()
			require.True(t, bounded)
			if behind.Load() {
				return errors.New("1 of 3 replicas lack something")
			}
			return nil
		},
	})
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(path string) (int, string) {
		resp, err := client.Get("http://" + s.Addr() + path)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(body)
	}
	code, _ := get("/livez")
	require.Equal(t, 200, code)
	hung.Store(true)
	code, body := get("/livez")
	require.Equal(t, 503, code)
	require.Contains(t, body, "the controller has not answered")
	hung.Store(false)
	code, body = get("/readyz")
	require.Equal(t, 503, code)
	require.Contains(t, body, "metadata has no leader")
	unready.Store(false)
	code, _ = get("/readyz")
	require.Equal(t, 200, code)
	code, body = get("/readyz?caught-up")
	require.Equal(t, 503, code, "it serves, and lacks something")
	require.Contains(t, body, "1 of 3 replicas")
	behind.Store(false)
	code, _ = get("/readyz?caught-up")
	require.Equal(t, 200, code)
	_, body = get("/metrics")
	require.Contains(t, body, "trunkline_test_value")
	code, _ = get("/debug/pprof/goroutine?debug=1")
	require.Equal(t, 200, code)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
}

func TestProfilesAreForLoopbackOnly(t *testing.T) {
	h := handler(Config{Ready: func() error { return nil }, Gatherer: prometheus.NewRegistry()})
	for addr, want := range map[string]int{"192.0.2.1:5": http.StatusForbidden, "127.0.0.1:5": http.StatusOK, "[::1]:5": http.StatusOK, "junk": http.StatusForbidden} {
		r := httptest.NewRequest(http.MethodGet, "/debug/pprof/goroutine", nil)
		r.RemoteAddr = addr
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Equal(t, want, w.Code, addr)
	}
}
