package vitals

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/cluster"
)

func TestTakeOfThisProcess(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("# HELP go_goroutines x\ngo_goroutines 12\ngo_goroutines_more 7\nprocess_open_fds 3.1e+01\n"))
	}))
	defer srv.Close()
	b := cluster.Broker{ID: 1, PID: os.Getpid(), Admin: strings.TrimPrefix(srv.URL, "http://")}
	before, err := Take(t.Context(), b)
	require.NoError(t, err)
	require.Equal(t, 12, before.Goroutines)
	require.Equal(t, 31, before.FDs)
	require.Greater(t, before.RSS, int64(1<<20))
	for end := time.Now().Add(10 * time.Second); ; {
		now, err := CPU(b)
		require.NoError(t, err)
		if now > before.CPU {
			return
		}
		require.True(t, time.Now().Before(end), "processor time does not grow")
	}
}

func TestTakeSaysWhatIsMissing(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	_, err := Take(t.Context(), cluster.Broker{ID: 3, PID: os.Getpid(), Admin: strings.TrimPrefix(srv.URL, "http://")})
	require.ErrorContains(t, err, "broker 3: metrics")
	_, err = RSS(cluster.Broker{ID: 3})
	require.ErrorContains(t, err, "broker 3")
}

func TestPanics(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	text := "level=INFO msg=fine\npanic: oh\n\ngoroutine 1\nfatal error: all goroutines are asleep\nlast line, cut: panic"
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	found, err := Panics(file)
	require.NoError(t, err)
	require.Equal(t, []string{"panic: oh", "fatal error: all goroutines are asleep", "last line, cut: panic"}, found)
}
