package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// watchEvery is how often a command that waits looks at the cluster.
const watchEvery = 500 * time.Millisecond

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

// brokerChange is a command that changes the state of the broker named by its argument, and then waits until done says so.
type brokerChange struct {
	use, short string
	to         protocol.BrokerState
	check      func(ctx context.Context, a *client.Admin, id protocol.BrokerID) error // before; nil: none
	done       func(b *client.BrokerStatus) (left string)                             // b is nil when the broker is gone; left "": done
	say        string
}

func (c brokerChange) command(contextFile *string) *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use: c.use, Short: c.short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := brokerID(args[0])
			if err != nil {
				return err
			}
			err = withAdmin(cmd.Context(), *contextFile, func(ctx context.Context, a *client.Admin) error {
				if c.check != nil {
					if err := c.check(ctx, a, id); err != nil {
						return err
					}
				}
				return a.SetBrokerState(ctx, id, c.to)
			})
			if err != nil {
				return err
			}
			return c.watch(cmd.Context(), cmd.OutOrStdout(), *contextFile, id, wait)
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", time.Hour, "wait so long until it is done (0: do not wait); it goes on when this command has ended")
	return cmd
}

// watch prints what is left whenever that changes, until nothing is.
func (c brokerChange) watch(ctx context.Context, out io.Writer, contextFile string, id protocol.BrokerID, wait time.Duration) error {
	if c.done == nil || wait == 0 {
		_, err := fmt.Fprintf(out, "broker %d: %s\n", id, c.to)
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	said := ""
	for {
		left := ""
		err := withAdmin(ctx, contextFile, func(ctx context.Context, a *client.Admin) error {
			brokers, err := a.ClusterStatus(ctx)
			if err != nil {
				return err
			}
			left = c.done(find(brokers, id))
			return nil
		})
		switch {
		case err != nil && ctx.Err() == nil:
			left = err.Error()
		case err == nil && left == "":
			_, err := fmt.Fprintf(out, "broker %d: %s\n", id, c.say)
			return err
		}
		if left != said && left != "" {
			said = left
			if _, err := fmt.Fprintf(out, "broker %d: %s\n", id, left); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("broker %d: not done after %v, and goes on: %s; `trunkline cluster plan` says how far it is, or what keeps it", id, wait, said)
		case <-time.After(watchEvery):
		}
	}
}

func find(brokers []client.BrokerStatus, id protocol.BrokerID) *client.BrokerStatus {
	for i := range brokers {
		if brokers[i].ID == id {
			return &brokers[i]
		}
	}
	return nil
}

func brokerDrain(contextFile *string) *cobra.Command {
	return brokerChange{
		use: "drain ID", short: "Take the leaderships from a broker and give it nothing new", to: protocol.BrokerDrained,
		say:  "drained: it leads nothing and can be stopped, if `trunkline cluster health` finds no replica elsewhere that lacks records",
		done: draining,
	}.command(contextFile)
}

func brokerUndrain(contextFile *string) *cobra.Command {
	return brokerChange{
		use: "undrain ID", short: "Make a drained broker, or one that leaves, active again", to: protocol.BrokerActive,
	}.command(contextFile)
}

// draining says what keeps a broker that is drained.
func draining(b *client.BrokerStatus) string {
	if b != nil && b.Err == nil && b.Leading > 0 {
		return "it leads " + plural(b.Leading, "partition")
	}
	return ""
}

// leaving says what keeps a broker that leaves.
func leaving(b *client.BrokerStatus) string {
	switch {
	case b == nil:
		return ""
	case b.Err != nil:
		return "does not answer; its replicas are made anew on others"
	case b.Replicas > 0:
		return plural(b.Replicas, "replica") + " to be moved away"
	}
	return "its replicas are gone; it is about to be retired"
}

const goneForGood = "retired: its process can be stopped and its data_dir deleted; its ID is never used again"

func brokerDecommission(contextFile *string) *cobra.Command {
	return brokerChange{
		use: "decommission ID", short: "Move everything off a broker, alive or lost, and retire it for good", to: protocol.BrokerLeaving,
		done: leaving, say: goneForGood,
	}.command(contextFile)
}

func brokerReplace(contextFile *string) *cobra.Command {
	var with string
	change := brokerChange{
		use: "replace ID", short: "Put a broker that has joined in the place of another one, which is retired", to: protocol.BrokerLeaving,
		done: leaving, say: goneForGood,
		check: func(ctx context.Context, a *client.Admin, id protocol.BrokerID) error {
			heir, err := brokerID(with)
			if err != nil {
				return fmt.Errorf("--with: %w", err)
			}
			brokers, err := a.ClusterStatus(ctx)
			if err != nil {
				return err
			}
			switch b := find(brokers, heir); {
			case heir == id:
				return fmt.Errorf("--with %d: a broker cannot replace itself: an ID whose data are lost is never used again", heir)
			case b == nil:
				return fmt.Errorf("--with %d: there is no such broker yet: start it with an empty data_dir and `join`, then ask again", heir)
			case b.Err != nil || b.State != protocol.BrokerActive:
				return fmt.Errorf("--with %d: it is %s and answers: %t; it must be active and answer", heir, b.State, b.Err == nil)
			}
			return nil
		},
	}
	cmd := change.command(contextFile)
	cmd.Flags().StringVar(&with, "with", "", "ID of the broker that has joined for it (required)")
	if err := cmd.MarkFlagRequired("with"); err != nil {
		panic(err) // the flag is defined one line above
	}
	return cmd
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
