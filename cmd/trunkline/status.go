package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/client"
)

type peerRow struct {
	Broker      uint64 `json:"broker"`
	State       string `json:"state"`
	SinceMS     int64  `json:"since_ms"`
	SilentMS    int64  `json:"silent_ms"`
	StalledDisk bool   `json:"stalled_disk"`
	Starved     bool   `json:"starved"`
}

type brokerRow struct {
	ID              uint64    `json:"id"`
	Listen          string    `json:"listen"`
	Alive           bool      `json:"alive"`
	Error           string    `json:"error,omitempty"`
	Cluster         string    `json:"cluster"`
	Version         string    `json:"version"`
	UptimeMS        int64     `json:"uptime_ms"`
	MetadataVersion uint64    `json:"metadata_version"`
	MetadataLeader  uint64    `json:"metadata_leader"`
	Replicas        int       `json:"replicas"`
	Leading         int       `json:"leading"`
	Draining        bool      `json:"draining"`
	Peers           []peerRow `json:"peers"`
}

func clusterCommand(contextFile *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "cluster", Short: "Show the cluster, say what is wrong with it, restart its brokers one by one, end an upgrade, back up its metadata",
		Example: `  trunkline cluster status --json
  trunkline cluster health          # exit code 0 healthy, 2 warnings, 3 critical
  trunkline cluster plan            # what moves, what comes next, and what waits
  trunkline cluster finalize        # after an upgrade: let the brokers use what it brings
  trunkline cluster roll --dry-run --restart-cmd 'ssh {host} systemctl restart trunklined'`,
	}
	status := &cobra.Command{
		Use: "status", Short: "Show every broker and what it believes about the others", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withAdmin(cmd.Context(), *contextFile, func(ctx context.Context, a *client.Admin) error {
				brokers, err := a.ClusterStatus(ctx)
				if err != nil {
					return err
				}
				rows := make([]brokerRow, 0, len(brokers))
				for _, b := range brokers {
					rows = append(rows, newBrokerRow(b))
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), map[string]any{"brokers": rows})
				}
				return table(cmd.OutOrStdout(), "BROKER\tLISTEN\tSTATE\tLEADS\tREPLICAS\tMETADATA\tBELIEVES", rows, func(r brokerRow) string {
					return fmt.Sprintf("%d\t%s\t%s\t%d\t%d\tv%d, leader %d\t%s", r.ID, r.Listen, r.state(), r.Leading, r.Replicas, r.MetadataVersion, r.MetadataLeader, r.beliefs())
				})
			})
		},
	}
	status.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(status, clusterHealth(contextFile), clusterPlan(contextFile), clusterRoll(contextFile), clusterFinalize(contextFile), clusterBackup(contextFile), clusterRestore(contextFile))
	return cmd
}

func newBrokerRow(b client.BrokerStatus) brokerRow {
	r := brokerRow{ID: uint64(b.ID), Listen: b.Listen, Alive: b.Err == nil, Cluster: b.Cluster, Version: b.Version, UptimeMS: b.Uptime.Milliseconds(),
		MetadataVersion: b.MetadataVersion, MetadataLeader: uint64(b.MetadataLeader), Replicas: b.Replicas, Leading: b.Leading, Draining: b.Draining}
	if b.Err != nil {
		r.Error = b.Err.Error()
	}
	for _, p := range b.Peers {
		r.Peers = append(r.Peers, peerRow{uint64(p.Broker), p.State, p.Since.Milliseconds(), p.Silent.Milliseconds(), p.StalledDisk, p.Starved})
	}
	return r
}

func (r brokerRow) state() string {
	switch {
	case r.Error != "":
		return "no answer"
	case r.Draining:
		return "draining"
	}
	return "up"
}

func (r brokerRow) beliefs() string {
	words := make([]string, 0, len(r.Peers))
	for _, p := range r.Peers {
		words = append(words, fmt.Sprintf("%d %s", p.Broker, p.State))
	}
	return strings.Join(words, ", ")
}
