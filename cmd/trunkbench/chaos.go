package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/bench/chaos"
)

func chaosCommand() *cobra.Command {
	o := chaos.Options{}.WithDefaults()
	var rows strings.Builder
	for _, r := range chaos.Rows {
		fmt.Fprintf(&rows, "\n  %-18s %s", r.Name, r.Doc)
	}
	cmd := &cobra.Command{
		Use:   "chaos",
		Short: "Kill brokers and cut their power under full load, and prove that nothing was lost, repeated or reordered",
		Long: `Kill brokers and cut their power under full load, and prove that nothing was lost, repeated or reordered.

Rows:` + rows.String() + `

Power cuts need root and loop devices: each broker's data lies on an ext4 image that is mounted for the run. Faults of the network
need root, nft and tc (Debian: nftables, iproute2): the run and each broker get network namespaces of their own.`,
		Example: `  trunkbench chaos --row sigkill --count 50 --seed 7
  trunkbench chaos --row powercut,powercut-all --images /dev/shm`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := isolate(o.Rows); err != nil {
				return err
			}
			if o.Binary == "" {
				self, err := os.Executable()
				if err != nil {
					return err
				}
				o.Binary = filepath.Join(filepath.Dir(self), "trunklined")
			}
			if !cmd.Flags().Changed("images") {
				o.Images = o.Dir
			}
			o.Progress = cmd.ErrOrStderr()
			res, err := chaos.Run(cmd.Context(), o)
			if err != nil {
				return err
			}
			if err := res.Print(cmd.ErrOrStderr()); err != nil {
				return err
			}
			if err := json.NewEncoder(cmd.OutOrStdout()).Encode(res); err != nil {
				return err
			}
			if !res.OK() {
				return errors.New("a promise was broken: see above")
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Binary, "trunklined", "", "path of the daemon (default: beside this program)")
	f.StringSliceVar(&o.Rows, "row", o.Rows, "what happens; of several rows the seed mixes")
	f.IntVar(&o.Count, "count", o.Count, "faults, at most")
	f.DurationVar(&o.Time, "time", 0, "no fault begins later (default: --count alone decides)")
	f.DurationVar(&o.Every, "every", 0, "from the beginning of one fault to that of the next (default: the schedule's times)")
	f.Float64Var(&o.Slack, "slack", 1, "publish pauses may be so many times as long as rows allow")
	f.Uint64Var(&o.Seed, "seed", o.Seed, "the schedule follows from it")
	f.IntVar(&o.Brokers, "brokers", 0, "brokers (default: as many as the rows need, at least 3), each with a replica of every partition")
	f.IntVar(&o.Partitions, "partitions", o.Partitions, "partitions of the topic")
	f.IntVar(&o.Producers, "producers", o.Producers, "producers, each on every partition")
	f.IntVar(&o.Subscriptions, "subscriptions", o.Subscriptions, "subscriptions, each of everything")
	f.StringVar(&o.Dir, "dir", o.Dir, "where the run makes its directory")
	f.StringVar(&o.Images, "images", "", "where the brokers' disks are made, for power cuts (default: --dir)")
	f.IntVar(&o.ImageMB, "image-mb", o.ImageMB, "size of a broker's disk in MiB")
	f.StringToStringVar(&o.Config, "set", nil, "more keys of the brokers' configuration, like raft.tick=200ms")
	f.BoolVar(&o.Keep, "keep", false, "keep logs and data also if all went well")
	return cmd
}

// isolate returns in a process that may run the rows. One that may not ends with the exit code of the one that did.
func isolate(rows []string) error {
	code, inside, err := chaos.Isolate(rows)
	if err == nil && !inside {
		os.Exit(code)
	}
	return err
}
