package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/client/archive"
)

func clusterBackup(contextFile *string) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "backup --out FILE",
		Short: "Write the topics, their settings, the brokers and the cursors to a file",
		Long: `backup writes what clients can see of the cluster's metadata. It holds no records: those are exported topic by topic. It does not
hold the identities of named producers, which no client can list.`,
		Example: "  trunkline cluster backup --out /backup/cluster.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withClient(cmd.Context(), *contextFile, func(c *client.Client) error {
				b, err := archive.BackupCluster(cmd.Context(), c, out)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "backed up cluster %s: %d topics, %d brokers\n", b.Cluster, len(b.Topics), len(b.Brokers))
				return err
			})
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "file; replaced if it is there (required)")
	if err := cmd.MarkFlagRequired("out"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

// notRestored is printed after every restore.
const notRestored = `not restored:
  records and cursors     trunkline topic import DIR --subscriptions, for each export
  named producers         their sequences begin at 0 again: a program that asks how far it got (NextSequence) must not trust that here
  brokers and placement   the cluster places the replicas on the brokers that it has
`

func clusterRestore(contextFile *string) *cobra.Command {
	return &cobra.Command{
		Use:   "restore FILE",
		Short: "Create the topics of a backup, empty",
		Long: `restore creates the topics that the cluster does not have. It refuses, before it creates anything, a backup with a topic that the
cluster has in another shape. Interrupted, it goes on when it is run again.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withClient(cmd.Context(), *contextFile, func(c *client.Client) error {
				r, err := archive.RestoreCluster(cmd.Context(), c, args[0])
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "created %d topics %v, %d were there %v\n%s",
					len(r.Created), r.Created, len(r.Present), r.Present, notRestored)
				return err
			})
		},
	}
}
