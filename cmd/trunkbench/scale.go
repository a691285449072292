package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/bench/scale"
)

func scaleCommand() *cobra.Command {
	o := scale.Options{}.WithDefaults()
	cmd := &cobra.Command{
		Use:   "scale",
		Short: "Measure what hundreds of partitions cost while idle, and the pause of a kill among them",
		Example: `  trunkbench scale
  trunkbench scale --partitions 1000 --kills 1 --max-idle-cpu 13.3`,
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
			res, err := scale.Run(cmd.Context(), o)
			if err != nil {
				return err
			}
			if err := json.NewEncoder(cmd.OutOrStdout()).Encode(res); err != nil {
				return err
			}
			if !res.OK() {
				return errors.New("missed: " + strings.Join(res.Missed, "; "))
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Binary, "trunklined", "", "path of the daemon (default: beside this program)")
	f.IntVar(&o.Brokers, "brokers", o.Brokers, "brokers")
	f.IntVar(&o.Partitions, "partitions", o.Partitions, "partitions of the topic")
	f.IntVar(&o.Replicas, "replicas", o.Replicas, "replicas of each partition")
	f.DurationVar(&o.Idle, "idle", o.Idle, "how long idle brokers are measured")
	f.IntVar(&o.Kills, "kills", o.Kills, "leaders to kill")
	f.IntVar(&o.Rate, "rate", o.Rate, "records a second during the kills, over all partitions")
	f.DurationVar(&o.Hold, "hold", o.Hold, "how long a victim stays away")
	f.Float64Var(&o.MaxIdleCPU, "max-idle-cpu", o.MaxIdleCPU, "fail above so many percent of one core per idle broker")
	f.DurationVar(&o.MaxPause, "max-pause", o.MaxPause, "fail if a kill pauses publishing for longer")
	f.Float64Var(&o.MaxMemory, "max-memory", o.MaxMemory, "fail above so many MiB of resident memory a replica")
	f.DurationVar(&o.MaxRestart, "max-restart", o.MaxRestart, "fail if all brokers, killed and started, serve every partition later")
	f.StringToStringVar(&o.Config, "set", nil, "more keys of the brokers' configuration, like raft.tick=200ms")
	f.BoolVar(&o.Keep, "keep", false, "keep the brokers' logs and data")
	return cmd
}
