package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/bench/drivers"
	"github.com/trunkline/trunkline/bench/engine"
	"github.com/trunkline/trunkline/bench/report"
	"github.com/trunkline/trunkline/bench/results"
	"github.com/trunkline/trunkline/bench/rounds"
	"github.com/trunkline/trunkline/bench/workload"
)

// measuring is what run, compare and failover share.
type measuring struct {
	systems   []string
	workloads []string
	rounds    int
	addrs     []string
	duration  time.Duration // 0: the workload's own
	warmup    time.Duration // negative: the workload's own
	out       string
	dir       string
}

func (m *measuring) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVar(&m.rounds, "rounds", m.rounds, "how often each system does the same, in turns")
	f.DurationVar(&m.duration, "duration", 0, "measured time of each workload without faults (default: its own)")
	f.DurationVar(&m.warmup, "warmup", -1, "time before measuring (default: the workload's own)")
	f.StringVar(&m.out, "out", "trunkbench-out", "directory for results.json, report.html and plots/; files of these names are replaced")
	f.StringVar(&m.dir, "dir", "", "where the clusters keep their data while they run (default: the system's temporary directory)")
}

func runCommand() *cobra.Command {
	m := measuring{rounds: 1}
	var system string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run workloads on one system and check every message",
		Example: `  trunkbench run --workload publish-256b-4p
  trunkbench run --driver jetstream:default --workload rate-10k,sync-1p --rounds 3
  trunkbench run --workload ../benchmark/workloads/1-topic-16-partitions-1kb.yaml --duration 1m
  trunkbench run --driver kafka --addrs 127.0.0.1:9092 --workload e2e-half`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m.systems = []string{system}
			return m.measure(cmd)
		},
	}
	m.flags(cmd)
	cmd.Flags().StringVar(&system, "driver", "trunkline", "system as DRIVER or DRIVER:PROFILE (see `trunkbench drivers`)")
	cmd.Flags().StringSliceVar(&m.workloads, "workload", []string{"publish-256b-4p"}, "names (see `trunkbench workloads`) or files")
	cmd.Flags().StringSliceVar(&m.addrs, "addrs", nil, "measure a running cluster at these addresses")
	return cmd
}

func compareCommand() *cobra.Command {
	m := measuring{rounds: 3}
	cmd := &cobra.Command{
		Use:   "compare",
		Short: "Run the same workloads on several systems in turns, and print each figure's median, spread and ratio",
		Example: `  trunkbench compare --drivers trunkline,jetstream --workload publish-256b-4p,sync-1p
  trunkbench compare --drivers 'trunkline,jetstream:*,kafka:*,rabbitmq' --workload rate-10k --rounds 5`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return m.measure(cmd) },
	}
	m.flags(cmd)
	cmd.Flags().StringSliceVar(&m.systems, "drivers", []string{"trunkline", "jetstream"}, "systems as DRIVER, DRIVER:PROFILE or DRIVER:*")
	cmd.Flags().StringSliceVar(&m.workloads, "workload", []string{"publish-256b-4p"}, "names (see `trunkbench workloads`) or files")
	return cmd
}

func failoverCommand() *cobra.Command {
	m := measuring{rounds: 1}
	kills, hang := 10, false
	cmd := &cobra.Command{
		Use:   "failover",
		Short: "Kill the node that leads most, again and again, and print how long publishing and delivery paused",
		Example: `  trunkbench failover --kills 20
  trunkbench failover --drivers trunkline,jetstream,rabbitmq --kills 10
  trunkbench failover --hang        # nodes are stopped (SIGSTOP), not killed`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if kills < 1 || kills > 1000 {
				return fmt.Errorf("--kills %d is outside 1 to 1000", kills)
			}
			w, err := workload.Find("failover")
			if err != nil {
				return err
			}
			what := "killed (SIGKILL)"
			if hang {
				w.Name, w.Faults[0].Kind, what = "failover-hang", workload.Pause, "stopped (SIGSTOP)"
			}
			w.Faults[0].Repeat = kills
			w.Doc = fmt.Sprintf("The node that leads most partitions is %s %d times at %.0f messages a second, %d B", what, kills, w.ProducerRate, w.MessageSize)
			w.Duration = w.FaultsLast() + w.Faults[0].Every
			return m.measure(cmd, w)
		},
	}
	m.flags(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&m.systems, "drivers", []string{"trunkline"}, "systems as DRIVER, DRIVER:PROFILE or DRIVER:*")
	f.IntVar(&kills, "kills", kills, "nodes to kill")
	f.BoolVar(&hang, "hang", false, "stop nodes with SIGSTOP instead of killing them")
	return cmd
}

// measure runs the named workloads, or those given, and leaves table, results file and report.
func (m *measuring) measure(cmd *cobra.Command, list ...*workload.Workload) error {
	opts := rounds.Options{Workloads: list, Rounds: m.rounds, Addrs: m.addrs, Dir: m.dir, Command: commandLine(cmd), Version: version()}
	if m.rounds < 1 || m.rounds > 100 {
		return fmt.Errorf("--rounds %d is outside 1 to 100", m.rounds)
	}
	for _, spec := range m.systems {
		found, err := drivers.Parse(spec)
		if err != nil {
			return err
		}
		opts.Systems = append(opts.Systems, found...)
	}
	if len(list) == 0 {
		for _, name := range m.workloads {
			w, err := workload.Find(name)
			if err != nil {
				return err
			}
			opts.Workloads = append(opts.Workloads, w)
		}
	}
	for _, w := range opts.Workloads {
		if err := m.override(w); err != nil {
			return err
		}
	}
	live := newLive(cmd.ErrOrStderr())
	opts.Progress, opts.Say, opts.Ended = live.progress, live.say, live.ended
	file, err := rounds.Run(cmd.Context(), opts)
	if file == nil || len(file.Runs)+len(file.NotMeasured) == 0 {
		return err
	}
	return errors.Join(err, m.leave(cmd.OutOrStdout(), file), broken(file))
}

// override puts the flags in the place of the workload's own times, where there are any.
func (m *measuring) override(w *workload.Workload) error {
	if m.duration > 0 && len(w.Faults) == 0 {
		w.Duration, w.TestDurationMinutes = m.duration, 0
	}
	if m.warmup >= 0 {
		w.Warmup, w.WarmupDurationMinutes = m.warmup, 0
	}
	return w.Validate()
}

// leave prints the table and writes the files.
func (m *measuring) leave(w io.Writer, file *results.File) error {
	if err := results.Compare(file).Print(w); err != nil {
		return err
	}
	if err := os.MkdirAll(m.out, 0o755); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	if err := file.Write(filepath.Join(m.out, "results.json")); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nresults: %s", filepath.Join(m.out, "results.json"))
	return leaveReport(w, filepath.Join(m.out, "report.html"), filepath.Join(m.out, "plots"), []*results.File{file})
}

// broken returns an error if a run broke a promise: the command then fails, whatever else was measured.
func broken(file *results.File) error {
	var errs []error
	for _, r := range file.Runs {
		if r.Verdict == results.Failed {
			errs = append(errs, fmt.Errorf("%s on %s, round %d, failed: %s", r.Workload, r.System, r.Round, strings.Join(r.Reasons, "; ")))
		}
	}
	return errors.Join(errs...)
}

// commandLine returns what was typed, without the directory of the program and without flags that name places of this machine.
func commandLine(cmd *cobra.Command) string {
	words := []string{filepath.Base(os.Args[0])}
	for i := 1; i < len(os.Args); i++ {
		if w := os.Args[i]; w == "--out" || w == "--dir" {
			i++
		} else if !strings.HasPrefix(w, "--out=") && !strings.HasPrefix(w, "--dir=") {
			words = append(words, w)
		}
	}
	return strings.Join(words, " ")
}

// leaveReport writes the page and the plots, those of them that are wanted, and says where they are.
func leaveReport(w io.Writer, page, plots string, files []*results.File) error {
	if page != "" {
		if err := writePage(page, files); err != nil {
			return err
		}
		fmt.Fprintf(w, "\nreport:  %s\n", page)
	}
	if plots == "" {
		return nil
	}
	paths, err := report.PNGs(plots, files)
	if err == nil {
		fmt.Fprintf(w, "plots:   %d in %s\n", len(paths), plots)
	}
	return err
}

func writePage(path string, files []*results.File) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := errors.Join(report.HTML(f, files), f.Close()); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// live shows how it goes, a line a second.
type live struct {
	w     io.Writer
	begun time.Time
}

func newLive(w io.Writer) *live { return &live{w: w, begun: time.Now()} }

func (l *live) say(format string, args ...any) {
	fmt.Fprintf(l.w, "%7.1fs  "+format+"\n", append([]any{time.Since(l.begun).Seconds()}, args...)...)
}

func (l *live) progress(p engine.Progress) {
	of := ""
	if p.Of > 0 {
		of = fmt.Sprintf(" of %.0fs", p.Of.Seconds())
	}
	l.say("  %-9s %3.0fs%-7s published %7.0f/s  p50 %8s  p99 %8s  consumed %7.0f/s  backlog %d  waiting %d", p.Phase, p.At.Seconds(), of,
		p.Point.Published, micros(p.Point.PublishP50), micros(p.Point.PublishP99), p.Point.Consumed, p.Point.Backlog, p.Point.Waiting)
}

func (l *live) ended(r *results.Run) {
	l.say("%s %s round %d: %s: published %.0f/s (%.1f MB/s), p50 %s p99 %s, end to end p99 %s %s", r.System, r.Workload, r.Round, r.Verdict,
		r.PublishRate, r.PublishMBps, micros(r.Publish.P50), micros(r.Publish.P99), micros(r.EndToEnd.P99), strings.Join(r.Reasons, "; "))
	for i, f := range r.Faults {
		l.say("  %s %d of %d: node %d led %d partitions; publish pause %.0f ms, delivery pause %.0f ms", f.Kind, i+1, len(r.Faults), f.Node,
			f.Led, f.PublishPause, f.DeliveryPause)
	}
}

func micros(us int64) string {
	return (time.Duration(us) * time.Microsecond).Round(10 * time.Microsecond).String()
}
