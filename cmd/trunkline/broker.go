package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

func brokerCommand(contextFile *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "broker",
		Short: "Show, drain, decommission and replace brokers",
		Example: `  trunkline broker list
  trunkline broker drain 2          # before its machine is restarted: it leads nothing and gets nothing new
  trunkline broker undrain 2
  trunkline broker decommission 2   # for good: its replicas move away first
  trunkline broker replace 2 --with 4
  trunkline broker probe            # is the one on this machine alive?`,
	}
	cmd.AddCommand(brokerList(contextFile), brokerDrain(contextFile), brokerUndrain(contextFile), brokerDecommission(contextFile),
		brokerReplace(contextFile), brokerMoves(contextFile), brokerProbe())
	return cmd
}

type memberRow struct {
	ID       uint64 `json:"id"`
	Listen   string `json:"listen"`
	Zone     string `json:"zone"`
	State    string `json:"state"`
	Alive    bool   `json:"alive"`
	Leads    int    `json:"leads"`
	Replicas int    `json:"replicas"`
	Version  string `json:"version"`
}

// line is the row for people: of a broker that does not answer nothing is known.
func (r memberRow) line() string {
	if !r.Alive {
		return fmt.Sprintf("%d\t%s\t%s\t%s\tno\t-\t-\t-", r.ID, r.Listen, r.Zone, r.State)
	}
	return fmt.Sprintf("%d\t%s\t%s\t%s\tyes\t%d\t%d\t%s", r.ID, r.Listen, r.Zone, r.State, r.Leads, r.Replicas, r.Version)
}

func brokerList(contextFile *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the brokers of the cluster with their states", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withAdmin(cmd.Context(), *contextFile, func(ctx context.Context, a *client.Admin) error {
				brokers, err := a.ClusterStatus(ctx)
				if err != nil {
					return err
				}
				rows := make([]memberRow, 0, len(brokers))
				for _, b := range brokers {
					rows = append(rows, memberRow{
						ID: uint64(b.ID), Listen: b.Listen, Zone: b.Zone, State: b.State.String(), Alive: b.Err == nil,
						Leads: b.Leading, Replicas: b.Replicas, Version: b.Version,
					})
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), rows)
				}
				return table(cmd.OutOrStdout(), "BROKER\tLISTEN\tZONE\tSTATE\tANSWERS\tLEADS\tREPLICAS\tVERSION", rows, memberRow.line)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func find(brokers []client.BrokerStatus, id protocol.BrokerID) *client.BrokerStatus {
	for i := range brokers {
		if brokers[i].ID == id {
			return &brokers[i]
		}
	}
	return nil
}

type moveRow struct {
	ID        uint64 `json:"id"`
	Topic     string `json:"topic"`
	Partition uint32 `json:"partition"`
	Add       uint64 `json:"add"`
	Remove    uint64 `json:"remove"`
	Undo      bool   `json:"undo"`
}

func brokerMoves(contextFile *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "moves", Short: "List the moves of replicas that are under way; `cluster plan` says how far they are", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withAdmin(cmd.Context(), *contextFile, func(ctx context.Context, a *client.Admin) error {
				moves, err := a.Moves(ctx)
				if err != nil {
					return err
				}
				names, err := topicNames(ctx, a)
				if err != nil {
					return err
				}
				rows := make([]moveRow, 0, len(moves))
				for _, m := range moves {
					rows = append(rows, moveRow{m.ID, names[m.Topic], uint32(m.Partition), uint64(m.Add), uint64(m.Remove), m.Undo})
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), rows)
				}
				return table(cmd.OutOrStdout(), "MOVE\tTOPIC\tPARTITION\tTO\tFROM\tUNDONE", rows, func(r moveRow) string {
					return fmt.Sprintf("%d\t%s\t%d\t%s\t%s\t%t", r.ID, r.Topic, r.Partition, orNone(r.Add), orNone(r.Remove), r.Undo)
				})
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func orNone(broker uint64) string {
	if broker == 0 {
		return "-"
	}
	return strconv.FormatUint(broker, 10)
}

func brokerID(text string) (protocol.BrokerID, error) {
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil || id == 0 {
		return 0, fmt.Errorf("%q is not a broker ID", text)
	}
	return protocol.BrokerID(id), nil
}
