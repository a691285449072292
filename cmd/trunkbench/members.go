package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/bench/members"
)

func membersCommand() *cobra.Command {
	o := members.Options{}.WithDefaults()
	cmd := &cobra.Command{
		Use:   "members",
		Short: "Grow, shrink, roll and repair a cluster at half load, and put what is asked beside what is measured",
		Long: `Grow, shrink, roll and repair a cluster at half load, and put what is asked beside what is measured.

The exit code is not 0 when a promise was broken; a speed that was missed is only said.`,
		Example: `  trunkbench members
  trunkbench members --scenario roll --rounds 3`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Binary == "" {
				self, err := os.Executable()
				if err != nil {
					return err
				}
				o.Binary = filepath.Join(filepath.Dir(self), "trunklined")
			}
			o.Progress = cmd.ErrOrStderr()
			points, err := members.Run(cmd.Context(), o)
			if len(points) > 0 {
				err = errors.Join(err, members.Print(cmd.ErrOrStderr(), points), json.NewEncoder(cmd.OutOrStdout()).Encode(points))
			}
			if n := members.Broken(points); n > 0 {
				err = errors.Join(err, fmt.Errorf("%d points of safety do not hold: see above", n))
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Binary, "trunklined", "", "path of the daemon (default: beside this program)")
	f.StringSliceVar(&o.Scenarios, "scenario", o.Scenarios, "what happens, of "+strings.Join(members.Scenarios, ", "))
	f.Uint64Var(&o.Seed, "seed", o.Seed, "the schedules follow from it")
	f.IntVar(&o.Rounds, "rounds", o.Rounds, "how often roll restarts all brokers")
	f.Float64Var(&o.Load, "load", o.Load, "the load goes at this part of the rate that it reaches")
	f.IntVar(&o.CargoMB, "cargo-mb", o.CargoMB, "MiB of stored records, a replica each, that lost lays in")
	f.IntVar(&o.Many.Partitions, "partitions", o.Many.Partitions, "partitions of many")
	f.IntVar(&o.Many.FillMB, "fill-mb", o.Many.FillMB, "MiB of stored records, a replica each, of many")
	f.IntVar(&o.Many.RateMB, "rate-mb", o.Many.RateMB, "raft.snapshot_rate of many, MiB a second")
	f.StringVar(&o.Dir, "dir", "", "where runs make their directories")
	f.StringToStringVar(&o.Config, "set", nil, "more keys of the brokers' configuration, like raft.snapshot_rate=16MiB")
	return cmd
}
