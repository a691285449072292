//go:build faults

package failpoint

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
)

// report is what GET answers.
type report struct {
	Plan   string            `json:"plan"`
	Points map[string]counts `json:"points"`
}

type counts struct {
	Passed int64 `json:"passed"`
	Acted  int64 `json:"acted"`
}

// Handler serves plans over HTTP.
func Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		r := report{Plan: inForce.Load().text, Points: make(map[string]counts, len(counters))}
		for name, c := range counters {
			r.Points[name] = counts{Passed: c.passed.Load(), Acted: c.acted.Load()}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(r) // the caller is gone
	})
	mux.HandleFunc("PUT /", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxText))
		if err == nil {
			err = set(string(body))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !trusted(r.RemoteAddr) {
			http.Error(w, "failpoints are for the harness that started this broker", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// trusted tells whether a caller may make this broker fail.
func trusted(remote string) bool {
	host, _, err := net.SplitHostPort(remote)
	ip := net.ParseIP(host)
	if err != nil || ip == nil {
		return false
	}
	_, named := os.LookupEnv(EnvName)
	return ip.IsLoopback() || named && ip.IsPrivate()
}
