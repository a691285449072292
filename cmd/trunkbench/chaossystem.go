package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/bench/chaos"
	"github.com/trunkline/trunkline/bench/drivers"
)

// besides are Trunkline and its peers beside each other.
type besides struct {
	systems []string
	rate    int
	rounds  int
	warmUp  time.Duration
}

func besidesHelp() string {
	return `With --system the rows ` + strings.Join(chaos.SystemRows(), ", ") + ` run on Trunkline and its peers in turns, each with what
its driver sets (see ` + "`trunkbench drivers`" + `): the same schedule, the same faults, a fixed rate in an open loop, and everything that was
acknowledged read back at the end. --count, --every, --seed, --partitions, --producers, --dir, --images and --image-mb mean the same there.`
}

func (b *besides) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&b.systems, "system", nil, "run on these, each DRIVER, DRIVER:PROFILE or DRIVER:* (see trunkbench drivers), instead of Trunkline's own harness")
	f.IntVar(&b.rate, "rate", 1000, "with --system: messages a second")
	f.DurationVar(&b.warmUp, "warm-up", time.Second, "with --system: time under load before the first fault")
	f.IntVar(&b.rounds, "rounds", 1, "with --system: how often all of it is done, each time with the next seed")
}

// run runs the rows on the systems in turns: a row on every system, then the next row, and all of it again with the next seed, so
// that all of a round get the same schedule. Each result is a line of JSON; a table of all comes at the end.
func (b *besides) run(cmd *cobra.Command, o *chaos.Options) error {
	var systems []drivers.Selection
	for _, spec := range b.systems {
		found, err := drivers.Parse(spec)
		if err != nil {
			return err
		}
		systems = append(systems, found...)
	}
	one := chaos.SystemOptions{
		Count: o.Count, WarmUp: b.warmUp, Every: o.Every, Seed: o.Seed, Rate: b.rate, Partitions: o.Partitions, Producers: o.Producers,
		Dir: o.Dir, Images: o.Images, ImageMB: o.ImageMB, Progress: o.Progress,
	}
	var results []*chaos.SystemResult
	var failed []error
	for range b.rounds {
		for _, one.Row = range o.Rows {
			for _, s := range systems {
				one.Driver, one.Profile = s.Driver, s.Profile.Name
				res, err := runSystem(cmd, one)
				if err != nil {
					failed = append(failed, fmt.Errorf("%v, row %s: %w", s, one.Row, err))
					fmt.Fprintln(cmd.ErrOrStderr(), "NOT CARRIED OUT:", failed[len(failed)-1])
				}
				if res != nil {
					results = append(results, res)
				}
				if cmd.Context().Err() != nil {
					return errors.Join(failed...)
				}
			}
		}
		one.Seed++
	}
	return errors.Join(append(failed, chaos.PrintSystems(cmd.ErrOrStderr(), results), systemsVerdict(results))...)
}

// runSystem runs one row on one system and prints what it found. A result may come with an error.
func runSystem(cmd *cobra.Command, o chaos.SystemOptions) (*chaos.SystemResult, error) {
	res, err := chaos.RunSystem(cmd.Context(), o)
	if res == nil {
		return nil, err
	}
	res.Print(cmd.ErrOrStderr())
	return res, errors.Join(err, json.NewEncoder(cmd.OutOrStdout()).Encode(res))
}

func systemsVerdict(results []*chaos.SystemResult) error {
	broken := 0
	for _, res := range results {
		if !res.OK() {
			broken++
		}
	}
	if broken > 0 {
		return fmt.Errorf("what a system promises was broken, or a run did not come to its end, in %d of %d runs: see above", broken, len(results))
	}
	return nil
}
