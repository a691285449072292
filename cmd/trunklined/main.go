// Command trunklined runs one broker of a Trunkline cluster.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/broker"
	"github.com/trunkline/trunkline/cmd/internal/program"
)

// exitForGood (EX_CONFIG of sysexits.h) tells a supervisor not to start this broker again before somebody has done something.
const exitForGood = 78

// forGood is an error that a new process would meet again.
type forGood struct{ error }

func (e forGood) Unwrap() error { return e.error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "trunklined:", err)
		os.Exit(exitCode(err))
	}
}

func exitCode(err error) int {
	if errors.As(err, &forGood{}) || errors.Is(err, broker.ErrDecommissioned) {
		return exitForGood
	}
	return 1
}

func command() *cobra.Command {
	var file string
	var printConfig bool
	values := map[string]*string{}
	cmd := &cobra.Command{
		Use:   "trunklined",
		Short: "A broker of a Trunkline cluster",
		Long: `trunklined runs one broker. Without any configuration it forms a cluster of its own in ./trunkline-data.

Keys are set by a YAML file, then by environment variables (log.level is TRUNKLINE_LOG_LEVEL), then by
flags (--log-level). SIGTERM drains: clients are told where to go, leaderships are handed over, then it exits.

The exit code is 0 after SIGTERM, 78 if the configuration cannot be used or the broker was decommissioned, so that starting it
again is of no use, and 1 after anything else. A service manager that speaks sd_notify(3) is told when the broker serves, why it
does not, and that it is alive.`,
		Example: `  trunklined
  trunklined --config /etc/trunkline/trunkline.yaml
  trunklined --config trunkline.yaml --log-format json --print-config`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       program.Version(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			flags := map[string]string{}
			for _, k := range broker.Keys() {
				if cmd.Flags().Changed(k.Flag()) {
					flags[k.Name] = *values[k.Name]
				}
			}
			cfg, err := broker.Load(file, os.Environ(), flags)
			if err != nil {
				return forGood{err}
			}
			if printConfig {
				text, err := cfg.YAML()
				if err != nil {
					return err
				}
				_, err = cmd.OutOrStdout().Write(text)
				return err
			}
			return run(cmd.Context(), cfg)
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "YAML file")
	cmd.Flags().BoolVar(&printConfig, "print-config", false, "print the effective configuration and exit")
	for _, k := range broker.Keys() {
		values[k.Name] = cmd.Flags().String(k.Flag(), "", k.Doc)
	}
	cmd.AddCommand(program.ManualCommand("8"))
	return cmd
}

func run(ctx context.Context, cfg broker.Config) error {
	broker.RaiseProcs()
	b, err := broker.Open(ctx, cfg)
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return nil // asked to stop while starting
		}
		return err
	}
	fmt.Fprintln(os.Stderr, b.Welcome())
	notifying, cancel := context.WithCancel(ctx)
	wait := supervise(notifying, b)
	defer func() { cancel(); wait() }()
	return b.Run(ctx)
}
