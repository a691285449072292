// Command trunkbench measures and proves what a Trunkline cluster does, beside its peers.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/bench/demo"
	"github.com/trunkline/trunkline/cmd/internal/program"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := root().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "trunkbench:", err)
		os.Exit(1)
	}
}

func root() *cobra.Command {
	cmd := &cobra.Command{Use: "trunkbench", Short: "Measure and prove what a Trunkline cluster does", SilenceUsage: true, SilenceErrors: true, Version: program.Version()}
	cmd.AddCommand(
		demoCommand(), scaleCommand(), membersCommand(), hostileCommand(), chaosCommand(), chaosClientCommand(),
		runCommand(), compareCommand(), failoverCommand(), reportCommand(), workloadsCommand(), driversCommand(), program.ManualCommand("1"),
	)
	return cmd
}

func demoCommand() *cobra.Command {
	var o demo.Options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Kill leaders while a file streams through a cluster, and prove that nothing was lost, repeated or reordered",
		Example: `  trunkbench demo
  trunkbench demo --input calls.csv --key-field 3 --field-sep , --kills 20
  trunkbench demo --hang          # leaders are stopped (SIGSTOP), not killed`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			if o.Binary == "" {
				o.Binary = filepath.Join(filepath.Dir(self), "trunklined")
			}
			o.Progress = cmd.ErrOrStderr()
			res, err := demo.Run(cmd.Context(), o)
			if err != nil {
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
	o = demo.Options{}.WithDefaults()
	f := cmd.Flags()
	f.StringVar(&o.Binary, "trunklined", "", "path of the daemon (default: beside this program)")
	f.StringVar(&o.Input, "input", "", "line file to stream (default: the Go distribution's api/*.txt)")
	f.IntVar(&o.KeyField, "key-field", o.KeyField, "field that keys a line, counted from 1")
	f.StringVar(&o.FieldSep, "field-sep", "", "what separates fields (default: white space)")
	f.IntVar(&o.Brokers, "brokers", o.Brokers, "brokers")
	f.IntVar(&o.Partitions, "partitions", o.Partitions, "partitions of the topic")
	f.IntVar(&o.Replicas, "replicas", o.Replicas, "replicas of each partition")
	f.IntVar(&o.Kills, "kills", o.Kills, "leaders to kill")
	f.IntVar(&o.Rate, "rate", o.Rate, "records a second")
	f.BoolVar(&o.Hang, "hang", false, "stop leaders with SIGSTOP instead of killing them")
	f.DurationVar(&o.Hold, "hold", o.Hold, "how long a victim stays away")
	f.BoolVar(&o.Keep, "keep", false, "keep the brokers' logs and data")
	return cmd
}
