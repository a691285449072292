package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/bench/chaos/worker"
)

// chaosClientCommand is what a chaos run starts as a client: for nobody else.
func chaosClientCommand() *cobra.Command {
	return &cobra.Command{
		Use: "chaos-client", Hidden: true, Args: cobra.NoArgs,
		Short: "A client of a chaos run: its task comes on standard input, its reports go to descriptor 3",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return worker.Main(cmd.Context(), os.Stdin, os.NewFile(worker.ReportsFD, "reports"))
		},
	}
}
