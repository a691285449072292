package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/bench/chaos"
	"github.com/trunkline/trunkline/bench/drivers"
)

// runSystems runs rows on systems in turns: every system once, then the next row, and all of it again with the next seed, so that
// all of a round get the same schedule. Each result is a line of JSON; a table of all comes at the end. A run that cannot be carried
// out does not stop those after it.
func runSystems(cmd *cobra.Command, specs, rows []string, rounds int, o chaos.SystemOptions) error {
	var systems []drivers.Selection
	for _, spec := range specs {
		found, err := drivers.Parse(spec)
		if err != nil {
			return err
		}
		systems = append(systems, found...)
	}
	var results []*chaos.SystemResult
	var failed []error
	for range rounds {
		for _, row := range rows {
			for _, s := range systems {
				o.Driver, o.Profile, o.Row = s.Driver, s.Profile.Name, row
				res, err := chaos.RunSystem(cmd.Context(), o)
				if cmd.Context().Err() != nil {
					return err
				}
				if err != nil {
					failed = append(failed, fmt.Errorf("%v, row %s: %w", s, row, err))
					fmt.Fprintln(cmd.ErrOrStderr(), "NOT CARRIED OUT:", failed[len(failed)-1])
					continue
				}
				res.Print(cmd.ErrOrStderr())
				if err := json.NewEncoder(cmd.OutOrStdout()).Encode(res); err != nil {
					return err
				}
				results = append(results, res)
			}
		}
		o.Seed++
	}
	return errors.Join(append(failed, chaos.PrintSystems(cmd.ErrOrStderr(), results), systemsVerdict(results))...)
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
