// Package rounds measures several systems side by side: every round gives each system, one after the other, a fresh cluster and
// the same workloads. Figures of one round were taken within minutes of each other on the same machine, so their ratios mean
// something even where the machine drifts.
//
//	round 1: A: up, w1, w2, down   B: up, w1, w2, down   round 2: A ...
//
// A system that is not installed, or whose cluster does not start, is "not measured", and the others go on. A workload that cannot
// be run on a system is a failed run. Only the end of the context ends the whole. One cluster runs at a time; its data lives in a
// directory of its own that is gone afterwards.
package rounds

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/drivers"
	"github.com/trunkline/trunkline/bench/engine"
	"github.com/trunkline/trunkline/bench/results"
	"github.com/trunkline/trunkline/bench/workload"
)

// Limits of starting and ending a cluster. Three Java virtual machines on two cores take the longest.
const (
	upLimit   = 3 * time.Minute
	downLimit = time.Minute
)

// Options say what to measure.
type Options struct {
	Systems   []drivers.Selection
	Workloads []*workload.Workload
	Rounds    int
	Addrs     []string // of a running cluster; one system only
	Dir       string   // data of the clusters goes below; empty: the system's directory for temporary files
	Command   string   // for the results file
	Version   string   // of trunkbench

	Progress func(engine.Progress)            // once a second
	Say      func(format string, args ...any) // a line for people
	Ended    func(run *results.Run)           // after each run
}

// measurement is one call of Run.
type measurement struct {
	Options
	file    *results.File
	skipped map[string]bool // systems that are not measured
}

// Run measures. The file holds what was measured even if the context ended, which is then the error.
func Run(ctx context.Context, opts Options) (*results.File, error) {
	if len(opts.Addrs) > 0 && len(opts.Systems) > 1 {
		return nil, errors.New("addresses are those of one cluster: name one system")
	}
	base, err := os.MkdirTemp(opts.Dir, "trunkbench-")
	if err != nil {
		return nil, fmt.Errorf("directory for clusters: %w", err)
	}
	defer func() { _ = os.RemoveAll(base) }() // empty by now, unless a node could not be ended
	opts.Dir = base
	m := &measurement{Options: opts, skipped: map[string]bool{}}
	m.file = &results.File{Schema: results.Schema, Created: time.Now().UTC(), Command: opts.Command}
	m.file.Environment = engine.Environment(base)
	m.file.Environment.Trunkbench = opts.Version
	for round := 1; round <= opts.Rounds; round++ {
		for _, s := range opts.Systems {
			m.system(ctx, s, round)
			if err := ctx.Err(); err != nil {
				return m.file, fmt.Errorf("stopped in round %d at %s: %w", round, s, err)
			}
		}
	}
	return m.file, nil
}

// system runs all workloads of a round on one system, on a fresh cluster for each number of nodes.
func (m *measurement) system(ctx context.Context, s drivers.Selection, round int) {
	if m.skipped[s.String()] {
		return
	}
	if len(m.Addrs) == 0 {
		if err := s.Driver.Installed(); err != nil {
			m.skip(s, err)
			return
		}
	}
	for rest := m.Workloads; len(rest) > 0 && ctx.Err() == nil; {
		n := 1
		for n < len(rest) && rest[n].Nodes == rest[0].Nodes {
			n++
		}
		if err := m.cluster(ctx, s, round, rest[:n]); err != nil {
			m.skip(s, err)
			return
		}
		rest = rest[n:]
	}
}

func (m *measurement) skip(s drivers.Selection, err error) {
	m.skipped[s.String()] = true
	m.file.NotMeasured = append(m.file.NotMeasured, results.NotMeasured{System: s.String(), Why: err.Error()})
	m.Say("%s is not measured: %v", s, err)
}

// cluster opens a system, runs workloads on it and closes it.
func (m *measurement) cluster(ctx context.Context, s drivers.Selection, round int, list []*workload.Workload) error {
	dir := filepath.Join(m.Dir, fmt.Sprintf("%s-%s-%d", s.Driver.Name(), s.Profile.Name, round))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	begun := time.Now()
	up, cancel := context.WithTimeout(ctx, upLimit)
	sys, err := s.Driver.Open(up, driver.Options{Profile: s.Profile.Name, Nodes: list[0].Nodes, Dir: dir, Addrs: m.Addrs})
	cancel()
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	m.Say("round %d of %d: %s %s is up after %.1fs", round, m.Rounds, s, sys.About().Version, time.Since(begun).Seconds())
	for _, w := range list {
		if ctx.Err() != nil {
			break
		}
		m.one(ctx, sys, s, round, w)
	}
	down, cancel := context.WithTimeout(context.WithoutCancel(ctx), downLimit)
	defer cancel()
	if err := sys.Close(down); err != nil {
		return fmt.Errorf("end: %w", err)
	}
	return nil
}

// one runs one workload once and keeps the result.
func (m *measurement) one(ctx context.Context, sys driver.System, s drivers.Selection, round int, w *workload.Workload) {
	begun := time.Now()
	run, err := engine.Run(ctx, sys, w, engine.Options{System: s.String(), Round: round, Seed: uint64(round), Progress: m.Progress, Log: m.Say})
	if ctx.Err() != nil {
		return // half a run is none
	}
	if err != nil {
		run = &results.Run{
			System: s.String(), Workload: w.Name, Round: round, About: sys.About(), Spec: w, Start: begun.UTC(),
			Verdict: results.Failed, Reasons: []string{err.Error()},
		}
	}
	m.file.Runs = append(m.file.Runs, *run)
	m.Ended(run)
}
