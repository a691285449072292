package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// watchEvery is how often a command that waits looks at the cluster.
const watchEvery = 500 * time.Millisecond

// brokerChange is a command that changes the state of the broker named by its argument, and then waits until look says that it is done.
type brokerChange struct {
	use, short string
	to         protocol.BrokerState
	check      func(ctx context.Context, a clusterAdmin, id protocol.BrokerID) error // before; nil: none
	// look returns what is left to be done or, if nothing is, what is said of that. nil: it is done at once.
	look func(ctx context.Context, a clusterAdmin, id protocol.BrokerID) (left, done string, err error)
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
			return withClient(cmd.Context(), *contextFile, func(cl *client.Client) error {
				return c.run(cmd.Context(), cmd.OutOrStdout(), cl.Admin(), id, wait)
			})
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", time.Hour, "wait so long until it is done (0: do not wait); it goes on when this command has ended")
	return cmd
}

// run changes the state and waits. One client does both: what it knows never gets older than the change.
func (c brokerChange) run(ctx context.Context, out io.Writer, a clusterAdmin, id protocol.BrokerID, wait time.Duration) error {
	if err := c.change(ctx, a, id); err != nil {
		return err
	}
	if c.look == nil || wait == 0 {
		_, err := fmt.Fprintf(out, "broker %d: %s\n", id, c.to)
		return err
	}
	return c.watch(ctx, out, a, id, wait)
}

func (c brokerChange) change(ctx context.Context, a clusterAdmin, id protocol.BrokerID) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	if c.check != nil {
		if err := c.check(ctx, a, id); err != nil {
			return err
		}
	}
	return a.SetBrokerState(ctx, id, c.to)
}

// watch prints what is left whenever that changes, until nothing is.
func (c brokerChange) watch(ctx context.Context, out io.Writer, a clusterAdmin, id protocol.BrokerID, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	said := ""
	for {
		call, end := context.WithTimeout(ctx, callLimit)
		left, done, err := c.look(call, a, id)
		end()
		switch {
		case err != nil && ctx.Err() == nil:
			left = err.Error()
		case err == nil && left == "":
			_, err := fmt.Fprintf(out, "broker %d: %s\n", id, done)
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

func brokerDrain(contextFile *string) *cobra.Command {
	return brokerChange{
		use: "drain ID", short: "Take the leaderships from a broker and give it nothing new", to: protocol.BrokerDrained, look: lookDrained,
	}.command(contextFile)
}

func brokerUndrain(contextFile *string) *cobra.Command {
	return brokerChange{
		use: "undrain ID", short: "Make a drained broker, or one that leaves, active again", to: protocol.BrokerActive,
	}.command(contextFile)
}

// lookDrained says what keeps a broker that is drained.
func lookDrained(ctx context.Context, a clusterAdmin, id protocol.BrokerID) (left, done string, err error) {
	facts, err := readFacts(ctx, a)
	if err != nil {
		return "", "", err
	}
	left, stay := facts.draining(id)
	const proviso = "can be stopped, if `trunkline cluster health` finds no replica elsewhere that lacks records"
	if pausing := facts.willPause(stay); pausing != "" {
		return left, "drained: it leads nothing that others can lead, and " + proviso + "; " + pausing, nil
	}
	return left, "drained: it leads nothing and " + proviso, nil
}

// lookRetired says what keeps a broker that leaves. That it is gone is the word of the metadata, not of the list, which is that of a broker
// that may lag: what is done to the broker then cannot be undone.
func lookRetired(ctx context.Context, a clusterAdmin, id protocol.BrokerID) (left, done string, err error) {
	brokers, err := a.ClusterStatus(ctx)
	if err != nil {
		return "", "", err
	}
	if b := find(brokers, id); b != nil {
		return leaving(b), "", nil
	}
	err = a.SetBrokerState(ctx, id, protocol.BrokerLeaving)
	switch {
	case errors.Is(err, client.ErrNotFound):
		return "", "retired: its process can be stopped and its data_dir deleted; its ID is never used again", nil
	case err != nil:
		return "", "", err
	}
	return "the brokers that answer do not know it yet", "", nil
}

// leaving says what keeps a broker of the list that leaves.
func leaving(b *client.BrokerStatus) string {
	switch {
	case b.Err != nil:
		return "does not answer; its replicas are made anew on others"
	case b.State != protocol.BrokerLeaving:
		return fmt.Sprintf("it is %s", b.State)
	case b.Replicas > 0:
		return plural(b.Replicas, "replica") + " to be moved away"
	}
	return "its replicas are gone; it is about to be retired"
}

func brokerDecommission(contextFile *string) *cobra.Command {
	return brokerChange{
		use: "decommission ID", short: "Move everything off a broker, alive or lost, and retire it for good", to: protocol.BrokerLeaving, look: lookRetired,
	}.command(contextFile)
}

func brokerReplace(contextFile *string) *cobra.Command {
	var with string
	change := brokerChange{
		use: "replace ID", short: "Put a broker that has joined in the place of another one, which is retired", to: protocol.BrokerLeaving, look: lookRetired,
		check: func(ctx context.Context, a clusterAdmin, id protocol.BrokerID) error {
			heir, err := brokerID(with)
			if err != nil {
				return fmt.Errorf("--with: %w", err)
			}
			return mayReplace(ctx, a, id, heir)
		},
	}
	cmd := change.command(contextFile)
	cmd.Flags().StringVar(&with, "with", "", "ID of the broker that has joined for it (required)")
	if err := cmd.MarkFlagRequired("with"); err != nil {
		panic(err) // the flag is defined one line above
	}
	return cmd
}

func mayReplace(ctx context.Context, a clusterAdmin, id, heir protocol.BrokerID) error {
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
}
