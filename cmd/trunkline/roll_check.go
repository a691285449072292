package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// inTheWay says what speaks against stopping a broker, "" if nothing does. With id 0 it says why the cluster is not whole. The broker
// itself may be drained already; pauses accepts that partitions stop for want of replicas.
func (c *clusterFacts) inTheWay(id protocol.BrokerID, pauses bool) string {
	for _, b := range c.brokers {
		switch {
		case b.Err != nil:
			return fmt.Sprintf("broker %d does not answer: %v", b.ID, b.Err)
		case b.NotReady != "":
			return fmt.Sprintf("broker %d does not serve: %s", b.ID, b.NotReady)
		case b.State != protocol.BrokerActive && b.ID != id:
			return fmt.Sprintf("broker %d is %s: `trunkline broker undrain %[1]d`, or wait until it has left", b.ID, b.State)
		}
	}
	for _, b := range c.brokers {
		switch {
		case b.BehindTotal > 0:
			p := b.Behind[0]
			return fmt.Sprintf("replicas lack records in %s led by broker %d, for instance of %s on %s", plural(b.BehindTotal, "partition"), b.ID,
				c.names([]protocol.TopicPartition{{Topic: p.Topic, Partition: p.Partition}}), brokerNames(p.Brokers))
		case b.LeaderlessTotal > 0:
			p := b.Leaderless[0]
			return fmt.Sprintf("there is no leader for %s, for instance %s", plural(b.LeaderlessTotal, "partition"),
				c.names([]protocol.TopicPartition{{Topic: p.Topic, Partition: p.Partition}}))
		}
	}
	switch {
	case c.metadataLeader() == 0:
		return "the metadata has no leader"
	case c.moves > 0:
		return plural(c.moves, "move") + " of replicas under way: `trunkline cluster plan`"
	case !pauses:
		return c.wouldStop(id)
	}
	return ""
}

// wouldStop names the partitions that cannot do without a broker, and the metadata if it cannot.
func (c *clusterFacts) wouldStop(id protocol.BrokerID) string {
	var stop []protocol.TopicPartition
	if voters := c.brokers[0].MetadataVoters; slices.Contains(voters, id) && len(voters) <= 2 {
		stop = append(stop, protocol.TopicPartition{})
	}
	for _, t := range c.topics {
		for _, p := range t.Partitions {
			if slices.Contains(p.Replicas, id) && len(p.Replicas) <= 2 {
				stop = append(stop, protocol.TopicPartition{Topic: t.ID, Partition: p.Partition})
			}
		}
	}
	if len(stop) == 0 {
		return ""
	}
	return fmt.Sprintf("broker %d cannot be missed by %s with fewer than 3 replicas: %s. Give their topics more, or accept that they stop meanwhile with --accept-pauses",
		id, plural(len(stop), "partition"), c.names(stop))
}

// draining says what keeps a broker from being drained, "" if nothing does. Partitions that nobody else can lead stay with it, since they
// would have no leader at all, and are returned.
func (c *clusterFacts) draining(id protocol.BrokerID) (left string, stay []protocol.TopicPartition) {
	b := find(c.brokers, id)
	switch {
	case b == nil:
		return "it is not in the cluster any more", nil
	case b.Err != nil:
		return fmt.Sprintf("it does not answer: %v", b.Err), nil
	case b.State != protocol.BrokerDrained:
		return fmt.Sprintf("it is %s", b.State), nil
	}
	stay = c.heirless(id)
	if n := b.Leading - len(stay); n > 0 {
		return fmt.Sprintf("it leads %s", plural(n, "partition")), nil
	}
	return "", stay
}

// heirless returns the partitions led by a broker of which no other active broker has a replica: only such a one takes leaderships over.
func (c *clusterFacts) heirless(id protocol.BrokerID) []protocol.TopicPartition {
	var stay []protocol.TopicPartition
	for _, t := range c.topics {
		for _, p := range t.Partitions {
			heir := slices.ContainsFunc(p.Replicas, func(r protocol.BrokerID) bool {
				b := find(c.brokers, r)
				return r != id && b != nil && b.State == protocol.BrokerActive
			})
			if p.Leader == id && !heir {
				stay = append(stay, protocol.TopicPartition{Topic: t.ID, Partition: p.Partition})
			}
		}
	}
	return stay
}

// willPause says that partitions stop with the broker that leads them, "" if there are none.
func (c *clusterFacts) willPause(stay []protocol.TopicPartition) string {
	if len(stay) == 0 {
		return ""
	}
	return fmt.Sprintf("%s will pause while it is down, since no other active broker has a replica: %s", plural(len(stay), "partition"), c.names(stay))
}

// drained waits until a broker leads nothing, or only what may pause, and names that.
func (r *roller) drained(ctx context.Context, id protocol.BrokerID) error {
	pausing := ""
	err := r.until(ctx, r.wait, id, func(facts *clusterFacts) string {
		left, stay := facts.draining(id)
		pausing = facts.willPause(stay)
		if left == "" && !r.pauses {
			return pausing
		}
		return left
	})
	if err == nil && pausing != "" {
		r.say("broker %d: %s", id, pausing)
	}
	return err
}

// notBack says why a broker whose restart began a while ago is not back, "" if it is.
func (c *clusterFacts) notBack(id protocol.BrokerID, since time.Duration) string {
	b := find(c.brokers, id)
	switch {
	case b == nil:
		return "it is not in the cluster any more"
	case b.Err != nil:
		return fmt.Sprintf("it does not answer: %v", b.Err)
	case b.Uptime >= since:
		return fmt.Sprintf("its process is the old one, up for %v", b.Uptime.Round(time.Second))
	case b.NotReady != "":
		return "it does not serve: " + b.NotReady
	}
	return ""
}

// expand puts a broker's ID and addresses into a command. They are quoted: a broker names its addresses itself, and is not to run anything
// on this machine.
func expand(command string, b client.Broker) string {
	host, _, err := net.SplitHostPort(b.Listen)
	if err != nil {
		host = b.Listen
	}
	return strings.NewReplacer("{id}", fmt.Sprint(uint64(b.ID)), "{listen}", quote(b.Listen), "{admin}", quote(b.Admin), "{host}", quote(host)).Replace(command)
}

// quote makes one word of text for sh, as it is if it has only characters of addresses.
func quote(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".:-_%", r)
	}
	if text != "" && !strings.HasPrefix(text, "-") && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// maxCommandOutput bounds what is kept of a command's output for an error.
const maxCommandOutput = 4 << 10

// runCommand runs a command under sh for at most limit. What it prints goes to out, and the end of it into the error.
func runCommand(ctx context.Context, command string, limit time.Duration, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.WaitDelay = time.Second // what the command started may hold its output open
	var said tail
	both := io.MultiWriter(out, &said)
	cmd.Stdout, cmd.Stderr = both, both // one writer: os/exec writes from one goroutine
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil // it has ended well, and what it left behind runs on
	}
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("%w within %v", ctx.Err(), limit)
	}
	return fmt.Errorf("`%s`: %w: %s", command, err, bytes.TrimSpace(said))
}

// tail keeps the last maxCommandOutput bytes of what is written.
type tail []byte

func (t *tail) Write(p []byte) (int, error) {
	*t = append(*t, p...)
	*t = append((*t)[:0], (*t)[max(0, len(*t)-maxCommandOutput):]...)
	return len(p), nil
}
