package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProbe(t *testing.T) {
	broker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.RequestURI() {
		case "/livez":
			_, _ = w.Write([]byte("ok\n"))
		case "/readyz":
			_, _ = w.Write([]byte("ok\ndamaged: t/0\n"))
		case "/readyz?caught-up":
			http.Error(w, "1 of 3 replicas lack something", http.StatusServiceUnavailable)
		}
	}))
	defer broker.Close()
	run := func(args ...string) (string, error) {
		cmd := root()
		var out strings.Builder
		cmd.SetOut(&out)
		cmd.SetArgs(append([]string{"broker", "probe", "--admin", broker.Listener.Addr().String()}, args...))
		err := cmd.ExecuteContext(t.Context())
		return out.String(), err
	}
	out, err := run()
	require.NoError(t, err)
	require.Equal(t, "ok\n", out)
	out, err = run("--ready")
	require.NoError(t, err)
	require.Equal(t, "ok\ndamaged: t/0\n", out)
	_, err = run("--caught-up")
	require.ErrorContains(t, err, "1 of 3 replicas lack something")
	broker.Close()
	_, err = run()
	require.ErrorContains(t, err, "does not answer")
}
