package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/bench/hostile"
)

func hostileCommand() *cobra.Command {
	o := hostile.Options{}.WithDefaults()
	cmd := &cobra.Command{
		Use:   "hostile",
		Short: "Throw random and mutated frames at a cluster, and prove that it goes on serving",
		Example: `  trunkbench hostile
  trunkbench hostile --frames 100000 --seed 7
  trunkbench hostile --seed 7 --shot 41       # that shot of that attack alone`,
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
			res, err := hostile.Run(cmd.Context(), o)
			if err != nil {
				return err
			}
			if err := json.NewEncoder(cmd.OutOrStdout()).Encode(res); err != nil {
				return err
			}
			if !res.OK() {
				return errors.New(strings.Join(res.Violations, "; "))
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Binary, "trunklined", "", "path of the daemon (default: beside this program)")
	f.Int64Var(&o.Frames, "frames", o.Frames, "frames to throw")
	f.Uint64Var(&o.Seed, "seed", o.Seed, "what is thrown follows from it")
	f.Uint64Var(&o.Shot, "shot", 0, "fire only this shot, counted from 1 (default: all)")
	f.IntVar(&o.Lanes, "lanes", o.Lanes, "shots at a time")
	f.IntVar(&o.Brokers, "brokers", o.Brokers, "brokers")
	f.IntVar(&o.Rate, "rate", o.Rate, "records a second of the well-behaved producer")
	f.Int64Var(&o.MaxRSS, "max-rss", o.MaxRSS, "fail if a broker takes more MiB")
	f.BoolVar(&o.Keep, "keep", false, "keep the brokers' logs and data")
	return cmd
}
