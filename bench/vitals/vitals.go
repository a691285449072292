// Package vitals reads what a server process costs: memory, processor time and bytes written from /proc, for any process and its
// descendants; of our own brokers also goroutines and descriptors, from their metrics, and what their logs say of panics.
//
// It only reads, so it may be used from several goroutines. Linux only.
package vitals

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
)

// Signs are what one broker costs at one time.
type Signs struct {
	RSS        int64         // bytes
	CPU        time.Duration // user and system time since the start of the process
	Goroutines int
	FDs        int
}

// Take reads all signs of a broker that runs.
func Take(ctx context.Context, b cluster.Broker) (Signs, error) {
	var s Signs
	var errs [3]error
	s.RSS, errs[0] = RSS(b)
	s.CPU, errs[1] = CPU(b)
	var m map[string]float64
	if m, errs[2] = metrics(ctx, b, "go_goroutines", "process_open_fds"); errs[2] == nil {
		s.Goroutines, s.FDs = int(m["go_goroutines"]), int(m["process_open_fds"])
	}
	return s, errors.Join(errs[:]...)
}

// RSS returns the resident memory of a broker in bytes.
func RSS(b cluster.Broker) (int64, error) {
	n, err := rss(b.PID)
	if err != nil {
		return 0, fmt.Errorf("broker %d: %w", b.ID, err)
	}
	return n, nil
}

// CPU returns the user and system time that a broker has used.
func CPU(b cluster.Broker) (time.Duration, error) {
	st, err := readStat(b.PID)
	if err != nil {
		return 0, fmt.Errorf("broker %d: %w", b.ID, err)
	}
	return st.cpu, nil
}

// metrics returns metrics without labels by name.
func metrics(ctx context.Context, b cluster.Broker, names ...string) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.Admin+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("broker %d: metrics: %w", b.ID, err)
	}
	defer resp.Body.Close()
	found := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		for _, name := range names {
			if rest, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
				if found[name], err = strconv.ParseFloat(rest, 64); err != nil {
					return nil, fmt.Errorf("broker %d: metric %s: %w", b.ID, name, err)
				}
			}
		}
	}
	if len(found) != len(names) {
		return nil, fmt.Errorf("broker %d: metrics: found %v of %v (%w)", b.ID, found, names, lines.Err())
	}
	return found, nil
}

// maxPanics bounds what Panics returns.
const maxPanics = 20

// Panics returns the lines of a log that speak of a panic or of a fatal error of the Go runtime.
func Panics(logFile string) ([]string, error) {
	f, err := os.Open(logFile)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	defer f.Close()
	var found []string
	lines := bufio.NewReader(f)
	for len(found) < maxPanics {
		line, err := lines.ReadString('\n')
		if strings.Contains(line, "panic") || strings.Contains(line, "fatal error:") || strings.Contains(line, "DATA RACE") {
			found = append(found, strings.TrimSpace(line))
		}
		if err != nil {
			break // the end of the log
		}
	}
	return found, nil
}
