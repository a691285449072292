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
	"github.com/trunkline/trunkline/bench/chaos/report"
)

func chaosCommand() *cobra.Command {
	o := chaos.Options{}.WithDefaults()
	var rows strings.Builder
	var pages string
	var each bool
	var others besides
	for _, r := range chaos.Rows {
		fmt.Fprintf(&rows, "\n  %-18s %s", r.Name, r.Doc)
	}
	rows.WriteString("\n\nMany rows at once:\n")
	for _, w := range chaos.Words {
		fmt.Fprintf(&rows, "\n  %-18s %s", w.Name, w.Doc)
	}
	cmd := &cobra.Command{
		Use:   "chaos",
		Short: "Kill brokers and cut their power under full load, and prove that nothing was lost, repeated or reordered",
		Long: `Kill brokers and cut their power under full load, and prove that nothing was lost, repeated or reordered.

Rows:` + rows.String() + `

Power cuts need root and loop devices: each broker's data lies on an ext4 image that is mounted for the run. Faults of the network
need root, nft and tc (Debian: nftables, iproute2): the run and each broker get network namespaces of their own.

` + besidesHelp(),
		Example: `  trunkbench chaos --row sigkill --count 50 --seed 7
  trunkbench chaos --row powercut,powercut-all --images /dev/shm
  trunkbench chaos --system trunkline,jetstream:default,rabbitmq --row leader,powercut-all --rate 1000 --rounds 3`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("images") {
				o.Images = o.Dir
			}
			o.Progress = cmd.ErrOrStderr()
			if len(others.systems) > 0 {
				return others.run(cmd, &o)
			}
			if err := isolate(o.WithDefaults().Rows); err != nil {
				return err
			}
			if o.Binary == "" {
				self, err := os.Executable()
				if err != nil {
					return err
				}
				o.Binary = filepath.Join(filepath.Dir(self), "trunklined")
			}
			runs := []chaos.Options{o}
			if each {
				runs = chaos.Each(o)
			}
			results, err := runChaos(cmd, runs)
			return errors.Join(err, leavePages(cmd, pages, results), verdict(results))
		},
	}
	chaosFlags(cmd, &o)
	others.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&pages, "html", "", "write the run's page and an overview into this directory")
	f.BoolVar(&each, "each", false, "a run of its own for each row, one after the other, instead of a mix")
	return cmd
}

// chaosFlags are those of the options themselves.
func chaosFlags(cmd *cobra.Command, o *chaos.Options) {
	f := cmd.Flags()
	f.StringVar(&o.Binary, "trunklined", "", "path of the daemon (default: beside this program)")
	f.StringSliceVar(&o.Rows, "row", o.Rows, "what happens; of several rows the seed mixes")
	f.BoolVar(&o.Pairs, "pairs", false, "some faults of brokers come while one of the network is in force")
	f.Float64Var(&o.Load, "load", 0, "the load goes at this part of the rate that it reaches, like 0.5, and how long publishes take is compared with before the faults")
	f.Float64Var(&o.Rate, "load-rate", 0, "with --load: so many messages a second at most (default: no bound)")
	f.IntVar(&o.CargoMB, "cargo-mb", o.CargoMB, "MiB of stored records that row lost-broker lays in first")
	f.IntVar(&o.Count, "count", o.Count, "faults, at most")
	f.DurationVar(&o.Time, "time", 0, "no fault begins later (default: --count alone decides)")
	f.DurationVar(&o.Every, "every", 0, "from the beginning of one fault to that of the next (default: the schedule's times)")
	f.Float64Var(&o.Slack, "slack", 1, "publish pauses may be so many times as long as rows allow")
	f.Uint64Var(&o.Seed, "seed", o.Seed, "the schedule follows from it")
	f.IntVar(&o.Brokers, "brokers", 0, "brokers (default: as many as the rows need, at least 3)")
	f.IntVar(&o.Replicas, "replicas", 0, "replicas of each partition (default: one on every broker); fewer only with rows that hit no broker")
	f.IntVar(&o.Partitions, "partitions", o.Partitions, "partitions of the topic")
	f.IntVar(&o.Producers, "producers", o.Producers, "producers, each on every partition")
	f.IntVar(&o.Subscriptions, "subscriptions", o.Subscriptions, "subscriptions, each of everything")
	f.IntVar(&o.InFlight, "in-flight", o.InFlight, "messages of each producer and partition that wait for an answer, at most")
	f.StringVar(&o.Dir, "dir", o.Dir, "where the run makes its directory")
	f.StringVar(&o.Images, "images", "", "where the brokers' disks are made, for power cuts (default: --dir)")
	f.IntVar(&o.ImageMB, "image-mb", o.ImageMB, "size of a broker's disk in MiB")
	f.StringToStringVar(&o.Config, "set", nil, "more keys of the brokers' configuration, like raft.tick=200ms")
	f.BoolVar(&o.Keep, "keep", false, "keep logs and data also if all went well")
}

// runChaos runs one after the other and prints each result, also as a line of JSON. What this machine cannot do is said and left out
// where there are several; a run that cannot be carried out does not stop those after it.
func runChaos(cmd *cobra.Command, runs []chaos.Options) ([]*chaos.Result, error) {
	var results []*chaos.Result
	var failed []error
	for _, o := range runs {
		res, err := chaos.Run(cmd.Context(), o)
		var unavailable *chaos.UnavailableError
		if errors.As(err, &unavailable) && len(runs) > 1 {
			fmt.Fprintf(cmd.ErrOrStderr(), "NOT RUN: %s: %v\n", strings.Join(o.Rows, ","), err)
			continue
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", strings.Join(o.Rows, ","), err))
			fmt.Fprintln(cmd.ErrOrStderr(), "NOT CARRIED OUT:", failed[len(failed)-1])
			if cmd.Context().Err() != nil {
				break
			}
			continue
		}
		results = append(results, res)
		if err := res.Print(cmd.ErrOrStderr()); err != nil {
			return results, err
		}
		if err := json.NewEncoder(cmd.OutOrStdout()).Encode(res); err != nil {
			return results, err
		}
	}
	return results, errors.Join(failed...)
}

// leavePages writes a page of each run and an overview; dir "" is nowhere.
func leavePages(cmd *cobra.Command, dir string, results []*chaos.Result) error {
	if dir == "" {
		return nil
	}
	var runs []*report.Run
	for _, res := range results {
		run, err := report.Of(res)
		if err != nil {
			return err
		}
		runs = append(runs, run)
	}
	index, err := report.Leave(dir, runs)
	if err == nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "report:", index)
	}
	return err
}

func verdict(results []*chaos.Result) error {
	broken := 0
	for _, res := range results {
		if !res.OK() {
			broken++
		}
	}
	if broken > 0 {
		return fmt.Errorf("a promise was broken in %d of %d runs: see above", broken, len(results))
	}
	return nil
}

// isolate returns in a process that may run the rows. One that may not ends with the exit code of the one that did.
func isolate(rows []string) error {
	code, inside, err := chaos.Isolate(rows)
	if err == nil && !inside {
		os.Exit(code)
	}
	return err
}
