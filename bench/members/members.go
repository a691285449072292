// Package members puts what operators are promised of a cluster that grows, shrinks, rolls and loses brokers beside what is measured.
//
// Each scenario is a run of its own: rows of package chaos at half load, which check every message, or package scale with many
// partitions. It gives points: what is asked and what was measured. Points of safety decide about the outcome; those of speed are
// reported as missed, since on a machine that others use too a miss is no proof.
//
//	grow        3 brokers, 5, 3                       chaos row two-more, after none with five brokers
//	grow-kill   the same, a leader killed every 10 s  chaos row two-more-kill, likewise
//	roll        all brokers, Rounds times             chaos row roll
//	lost        a broker killed for good              chaos row lost-broker
//	many        1 000 partitions: leaders come back, a broker joins under a bandwidth limit    scale.Grow
//
// Half load is half of what the brokers take flat out when they take least. On one machine, whose processors they share, that is when there are
// most of them; so a cluster that grows goes at half of what five brokers take, or of what three do if that is less.
//
// Run uses one goroutine of its own; what a scenario bounds is said in those packages.
package members

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/trunkline/trunkline/bench/chaos"
	"github.com/trunkline/trunkline/bench/scale"
)

// Options say what to do. Zero fields take the defaults of WithDefaults.
type Options struct {
	Binary    string   // path of trunklined
	Scenarios []string // of Scenarios
	Seed      uint64   // of the schedules
	Rounds    int      // of roll
	Load      float64  // of what the brokers take flat out
	CargoMB   int      // MiB that lost lays in, a replica each
	Many      scale.GrowOptions
	Dir       string            // where runs make their directories; "": the system's temporary directory
	Config    map[string]string // more keys of the brokers' configuration
	Progress  io.Writer         // lines for people

	grown float64 // messages a second that a grown cluster took flat out; 0: not measured yet
}

// A grown cluster has widest brokers; partitions have as many replicas as before.
const (
	widest   = 5
	replicas = 3
)

// WithDefaults fills in what is zero.
func (o Options) WithDefaults() Options {
	if len(o.Scenarios) == 0 {
		o.Scenarios = Scenarios
	}
	if o.Seed == 0 {
		o.Seed = 1
	}
	if o.Rounds == 0 {
		o.Rounds = 10
	}
	if o.Load == 0 {
		o.Load = 0.5
	}
	if o.CargoMB == 0 {
		o.CargoMB = 2048
	}
	o.Many = o.Many.WithDefaults()
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	return o
}

// Scenarios are the names of all of them.
var Scenarios = []string{"grow", "grow-kill", "roll", "lost", "many"}

// Run runs the scenarios one after the other and returns the points of those that could be carried out. An error says which could not.
func Run(ctx context.Context, o Options) ([]Point, error) {
	o = o.WithDefaults()
	for _, name := range o.Scenarios {
		if !slices.Contains(Scenarios, name) {
			return nil, fmt.Errorf("there is no scenario %q: choose of %s", name, strings.Join(Scenarios, ", "))
		}
	}
	var all []Point
	for _, name := range o.Scenarios {
		points, err := o.run(ctx, name)
		if err != nil {
			return all, fmt.Errorf("scenario %s: %w", name, err)
		}
		for i := range points {
			points[i].Scenario = name
		}
		all = append(all, points...)
	}
	return all, nil
}

func (o *Options) run(ctx context.Context, name string) ([]Point, error) {
	switch name {
	case "grow":
		return o.grow(ctx, "two-more", growing)
	case "grow-kill":
		return o.grow(ctx, "two-more-kill", func(*chaos.Result) []Point { return nil })
	case "roll":
		return o.chaos(ctx, o.row("roll", o.Rounds), rolling)
	case "lost":
		return o.chaos(ctx, o.row("lost-broker", 1), repairing)
	}
	many := o.Many
	many.Binary, many.Config, many.Progress = o.Binary, o.Config, o.Progress
	g, err := scale.Grow(ctx, many)
	if err != nil {
		return nil, err
	}
	return crowd(g), nil
}

// row is a run of a row at a part of the load that the brokers can take.
func (o *Options) row(name string, count int) chaos.Options {
	return chaos.Options{
		Binary: o.Binary, Rows: []string{name}, Count: count, Seed: o.Seed, Load: o.Load, CargoMB: o.CargoMB, Dir: o.Dir, Config: o.Config,
		Progress: o.Progress,
	}
}

// grow runs a row in which brokers join, at a part of the load that they can take also then.
func (o *Options) grow(ctx context.Context, name string, more func(*chaos.Result) []Point) ([]Point, error) {
	if o.grown == 0 {
		rest := o.row("none", 1)
		rest.Brokers, rest.Replicas = widest, replicas
		res, err := chaos.Run(ctx, rest)
		if err != nil {
			return nil, err
		}
		if res.PartLoad == nil {
			return nil, fmt.Errorf("%d brokers took no load: %v", widest, res.Violations)
		}
		o.grown = res.PartLoad.FlatOut
	}
	opts := o.row(name, 1)
	opts.Rate = o.Load * o.grown
	points, err := o.chaos(ctx, opts, more)
	return append([]Point{crowded(o.grown)}, points...), err
}

// chaos does a run and returns its points. Limits of pauses are left to the points, apart from what the row itself says.
func (o *Options) chaos(ctx context.Context, opts chaos.Options, more func(*chaos.Result) []Point) ([]Point, error) {
	res, err := chaos.Run(ctx, opts)
	if err != nil {
		return nil, err
	}
	if err := res.Print(o.Progress); err != nil {
		return nil, err
	}
	return append(safety(res), more(res)...), nil
}
