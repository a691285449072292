// Command trunkline is the operator's tool: it runs local clusters, manages topics, shows the state of a cluster, and
// publishes and reads records.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/cmd/internal/program"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := root().ExecuteContext(ctx)
	stop()
	var code exitCode
	switch {
	case err == nil:
	case errors.As(err, &code):
		os.Exit(int(code))
	default:
		if !errors.Is(err, errReported) {
			fmt.Fprintln(os.Stderr, "trunkline:", err)
		}
		os.Exit(1)
	}
}

// exitCode ends the program with a code other than 1, which stands for a command that did not succeed. Everything was said.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trunkline",
		Short: "Run, manage and try Trunkline clusters",
		Example: `  trunkline local up --dir /tmp/tl --brokers 3
  export TRUNKLINE_CONTEXT=/tmp/tl/context.json
  trunkline topic create calls --partitions 8 --replicas 3
  seq 1 1000 | trunkline pub calls
  trunkline sub calls --subscription demo --from earliest --idle-exit 2s`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       program.Version(),
	}
	var contextFile string
	cmd.PersistentFlags().StringVar(&contextFile, "context", os.Getenv("TRUNKLINE_CONTEXT"),
		"file that says how to reach the cluster (default $TRUNKLINE_CONTEXT)")
	cmd.AddCommand(localCommand(), topicCommand(&contextFile), clusterCommand(&contextFile), brokerCommand(&contextFile), pubCommand(&contextFile),
		subCommand(&contextFile), readCommand(&contextFile), program.ManualCommand("1"))
	return cmd
}
