package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// rollFlags are the settings of a roll.
type rollFlags struct {
	command   string
	local     string
	skip      []uint
	commandIn time.Duration
	wait      time.Duration
	pauses    bool
	dryRun    bool
}

func clusterRoll(contextFile *string) *cobra.Command {
	var f rollFlags
	cmd := &cobra.Command{
		Use: "roll", Short: "Restart the brokers one by one without a pause that clients see", Args: cobra.NoArgs,
		Long: `Restart the brokers one by one: for an upgrade, a new configuration, or the machines below.

For each broker, the leader of the metadata last: wait until every other one serves and no replica lacks anything,
drain it, run the command that restarts it, wait until its new process serves and has caught up, undrain it. It stops
at the first thing that is not as it should be, leaves the broker as it is, and says how to go on.

In the command, {id}, {listen}, {admin} and {host} (of listen) stand for the broker's. It runs under sh -c, must be done
within --command-timeout, and must return when the restart has begun, not before: a broker whose process is the old one
is waited for until --wait is over.`,
		Example: `  trunkline cluster roll --restart-cmd 'ssh {host} systemctl restart trunklined'
  trunkline cluster roll --restart-cmd 'systemctl restart trunklined@{id}' --dry-run
  trunkline cluster roll --local /tmp/tl      # a cluster of trunkline local`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withClient(cmd.Context(), *contextFile, func(c *client.Client) error {
				r, err := f.roller(c.Admin(), cmd.OutOrStdout())
				if err != nil {
					return err
				}
				if f.dryRun {
					return r.rehearse(cmd.Context())
				}
				return r.roll(cmd.Context())
			})
		},
	}
	cmd.Flags().StringVar(&f.command, "restart-cmd", "", "command that restarts a broker")
	cmd.Flags().StringVar(&f.local, "local", "", "directory of a cluster of `trunkline local`, whose brokers are stopped and started")
	cmd.Flags().UintSliceVar(&f.skip, "skip", nil, "IDs of brokers to leave out, for instance because they were restarted already")
	cmd.Flags().DurationVar(&f.commandIn, "command-timeout", 2*time.Minute, "bound of one run of the command")
	cmd.Flags().DurationVar(&f.wait, "wait", 10*time.Minute, "bound of each wait: until the cluster is calm, the broker drained, back")
	cmd.Flags().BoolVar(&f.pauses, "accept-pauses", false, "restart brokers also if partitions (with fewer than 3 replicas) stop meanwhile")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "say what would be done, and what is in its way")
	cmd.MarkFlagsMutuallyExclusive("restart-cmd", "local")
	cmd.MarkFlagsOneRequired("restart-cmd", "local")
	return cmd
}

func (f *rollFlags) roller(a clusterAdmin, out io.Writer) (*roller, error) {
	r := &roller{admin: a, out: out, wait: f.wait, every: watchEvery, firstWait: 5 * time.Second, pauses: f.pauses, skip: map[protocol.BrokerID]bool{}}
	for _, id := range f.skip {
		r.skip[protocol.BrokerID(id)] = true
	}
	if f.local == "" {
		r.what = func(b client.BrokerStatus) string { return expand(f.command, b.Broker) }
		r.restart = func(ctx context.Context, b client.BrokerStatus) error {
			return runCommand(ctx, expand(f.command, b.Broker), f.commandIn, out)
		}
		return r, nil
	}
	c, err := cluster.Open(f.local)
	if err != nil {
		return nil, err
	}
	r.what = func(b client.BrokerStatus) string {
		return fmt.Sprintf("trunkline local stop %d --dir %s && trunkline local start %[1]d --dir %[2]s", b.ID, f.local)
	}
	r.restart = func(ctx context.Context, b client.BrokerStatus) error {
		ctx, cancel := context.WithTimeout(ctx, f.commandIn)
		defer cancel()
		if err := c.Stop(ctx, int(b.ID)); err != nil {
			return err
		}
		return c.Start(ctx, int(b.ID))
	}
	return r, nil
}

// roller restarts brokers one by one. One goroutine uses it.
type roller struct {
	admin     clusterAdmin
	out       io.Writer
	restart   func(context.Context, client.BrokerStatus) error
	what      func(client.BrokerStatus) string // what restart does, for people
	wait      time.Duration                    // bound of each wait
	firstWait time.Duration                    // for a cluster that is calm, before anything is touched
	every     time.Duration                    // between two looks
	pauses    bool                             // partitions may stop
	skip      map[protocol.BrokerID]bool
	done      []protocol.BrokerID
}

// roll restarts all brokers that are not skipped.
func (r *roller) roll(ctx context.Context) error {
	for {
		facts, err := r.look(ctx)
		if err != nil {
			return err
		}
		b, ok := r.next(facts)
		if !ok {
			r.say("all brokers are restarted")
			return nil
		}
		if err := r.one(ctx, b); err != nil {
			return err
		}
		r.done = append(r.done, b.ID)
	}
}

// look asks the cluster; a call that fails is repeated for a while, since the broker that was asked may be the one that restarts.
func (r *roller) look(ctx context.Context) (facts *clusterFacts, err error) {
	for range 3 {
		call, cancel := context.WithTimeout(ctx, callLimit)
		facts, err = readFacts(call, r.admin)
		cancel()
		if err == nil || ctx.Err() != nil {
			return facts, err
		}
	}
	return nil, err
}

// next returns who is restarted next: by ID, the leader of the metadata last, so that it changes once.
func (r *roller) next(facts *clusterFacts) (b client.BrokerStatus, ok bool) {
	left := slices.DeleteFunc(slices.Clone(facts.brokers), func(b client.BrokerStatus) bool {
		return r.skip[b.ID] || slices.Contains(r.done, b.ID)
	})
	if len(left) == 0 {
		return b, false
	}
	for _, b := range left {
		if b.ID != facts.metadataLeader() {
			return b, true
		}
	}
	return left[0], true
}

func (c *clusterFacts) metadataLeader() protocol.BrokerID {
	for _, b := range c.answering() {
		if b.MetadataLeader != 0 {
			return b.MetadataLeader
		}
	}
	return 0
}

// one restarts a broker. On an error the broker stays as it is then.
func (r *roller) one(ctx context.Context, b client.BrokerStatus) error {
	patience := r.wait
	if len(r.done) == 0 {
		patience = r.firstWait // who begins wants to know at once
	}
	calm := func(facts *clusterFacts) string { return facts.inTheWay(b.ID, r.pauses) }
	if err := r.until(ctx, patience, b.ID, calm); err != nil {
		return r.stopped(b.ID, "nothing was done to it", err)
	}
	if err := r.setState(ctx, b.ID, protocol.BrokerDrained); err != nil {
		return r.stopped(b.ID, "it may be drained", err)
	}
	if err := r.drained(ctx, b.ID); err != nil {
		return r.stopped(b.ID, "it is drained and was not restarted", err)
	}
	r.say("broker %d: drained; %s", b.ID, r.what(b))
	began := time.Now()
	if err := r.restart(ctx, b); err != nil {
		return r.stopped(b.ID, "it is drained, and the command that restarts it did not succeed", err)
	}
	back := func(facts *clusterFacts) string {
		if left := facts.notBack(b.ID, time.Since(began)); left != "" {
			return left
		}
		return facts.inTheWay(b.ID, true)
	}
	if err := r.until(ctx, r.wait, b.ID, back); err != nil {
		return r.stopped(b.ID, "it is drained and was restarted", err)
	}
	if err := r.setState(ctx, b.ID, protocol.BrokerActive); err != nil {
		return r.stopped(b.ID, "it was restarted, and is drained still", err)
	}
	if err := r.until(ctx, r.wait, b.ID, func(facts *clusterFacts) string { return facts.inTheWay(0, true) }); err != nil {
		return r.stopped(b.ID, "it was restarted and is active again", err)
	}
	r.say("broker %d: serves and has caught up after %v", b.ID, time.Since(began).Round(100*time.Millisecond))
	return nil
}

func (r *roller) setState(ctx context.Context, id protocol.BrokerID, to protocol.BrokerState) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return r.admin.SetBrokerState(ctx, id, to)
}

// until looks at the cluster until left returns "", and says what is left whenever that changes.
func (r *roller) until(ctx context.Context, wait time.Duration, id protocol.BrokerID, left func(*clusterFacts) string) error {
	end, said := time.Now().Add(wait), ""
	for {
		now := r.left(ctx, left)
		if now == "" {
			return nil
		}
		if now != said {
			said = now
			r.say("broker %d: waiting: %s", id, now)
		}
		if time.Now().After(end) {
			return fmt.Errorf("after %v: %s", wait, now)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("interrupted: %s", now)
		case <-time.After(r.every):
		}
	}
}

// left returns what is left, or why that is not known.
func (r *roller) left(ctx context.Context, left func(*clusterFacts) string) string {
	facts, err := r.look(ctx)
	if err != nil {
		return err.Error()
	}
	return left(facts)
}

// stopped is the error of a roll that ends, with what to do.
func (r *roller) stopped(id protocol.BrokerID, state string, err error) error {
	done := slices.Clone(r.done)
	for id := range r.skip {
		done = append(done, id)
	}
	slices.Sort(done)
	again := "give the same command again"
	if len(done) > 0 {
		words := make([]string, 0, len(done))
		for _, d := range done {
			words = append(words, fmt.Sprint(uint64(d)))
		}
		again += " with --skip " + strings.Join(words, ",")
	}
	return fmt.Errorf("the roll stopped at broker %d (%s): %w\nTo go on, %s; if broker %[1]d is drained and you do not: `trunkline broker undrain %[1]d`",
		id, state, err, again)
}

func (r *roller) say(format string, args ...any) {
	_, _ = fmt.Fprintf(r.out, time.Now().Format("15:04:05 ")+format+"\n", args...) // who does not read it has it done all the same
}

// rehearse prints what a roll would do.
func (r *roller) rehearse(ctx context.Context) error {
	facts, err := r.look(ctx)
	if err != nil {
		return err
	}
	blocked := false
	for i := 1; ; i++ {
		b, ok := r.next(facts)
		if !ok {
			break
		}
		_, _ = fmt.Fprintf(r.out, "%d. broker %d: drain, `%s`, wait until it serves and has caught up, undrain\n", i, b.ID, r.what(b))
		if way := facts.inTheWay(b.ID, r.pauses); way != "" {
			blocked = true
			_, _ = fmt.Fprintf(r.out, "   in the way now: %s\n", way)
		}
		r.done = append(r.done, b.ID)
	}
	if blocked {
		return errors.New("the roll would not begin now")
	}
	return nil
}
