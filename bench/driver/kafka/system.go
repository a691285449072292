package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/driver/nodes"
)

// system is one cluster.
type system struct {
	profile string
	dir     string
	addrs   []string
	servers []driver.Setting // of own nodes
	nodes   *nodes.Nodes     // nil: not ours
	version string
	admin   *kgo.Client
}

// readVersion takes the version from the first node's log, where the server says it; a cluster of others does not tell, but
// the requests that it knows do.
func (s *system) readVersion(ctx context.Context) error {
	if s.nodes == nil {
		brokers, err := kadm.NewClient(s.admin).ApiVersions(ctx)
		if err != nil {
			return fmt.Errorf("ask kafka at %s for its version: %w", strings.Join(s.addrs, ","), err)
		}
		for _, b := range brokers.Sorted() {
			s.version = b.VersionGuess() + " (by the requests it knows)"
		}
		return nil
	}
	text, err := os.ReadFile(s.nodes.List()[0].Log)
	if err != nil {
		return fmt.Errorf("read kafka's version: %w", err)
	}
	if _, after, ok := bytes.Cut(text, []byte("Kafka version: ")); ok {
		s.version = string(bytes.Fields(after)[0])
	}
	return nil
}

// About says what was measured.
func (s *system) About() driver.About {
	a := driver.About{
		System: "kafka", Profile: s.profile, Version: s.version, Client: "franz-go " + moduleVersion("github.com/twmb/franz-go"),
		Ack: "Every in-sync replica, at least a majority (min.insync.replicas), has the message in its page cache; " +
			"nothing is fsynced before the acknowledgement.",
		NoDuplicates: true,
		Ordered:      true,
	}
	if s.profile == flushEach {
		a.Durable = true
		a.Ack = "Every in-sync replica, at least a majority (min.insync.replicas), has appended the batch with the message to its log " +
			"and fsynced it."
	}
	if s.nodes != nil {
		a.Config = append(a.Config, s.servers...)
		a.Config = append(a.Config, driver.Setting{
			Key: "JVM", Value: strings.Join(jvm, " "), Why: "those of the distribution's kafka-server-start.sh",
		})
	}
	a.Config = append(a.Config, s.topicSettings(3)...)
	a.Config = append(a.Config, clientSettings()...)
	return a
}

// moduleVersion is what this program was built with.
func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "of unknown version"
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return "of unknown version"
}

// Nodes returns the own processes.
func (s *system) Nodes() []driver.Node {
	if s.nodes == nil {
		return nil
	}
	return s.nodes.List()
}

// topicSettings are those of each topic.
func (s *system) topicSettings(replicas int) []driver.Setting {
	set := []driver.Setting{{
		Key: "min.insync.replicas", Value: strconv.Itoa(replicas/2 + 1),
		Why: "topic: acks=all needs a majority of the replicas in sync",
	}}
	if s.profile == flushEach {
		set = append(set, driver.Setting{
			Key: "flush.messages", Value: "1",
			Why: "topic: leader and followers fsync each append, a follower before it fetches on, which is what the ack waits for",
		})
	}
	return set
}

// CreateTopic makes a topic and waits until every broker knows the leader of each partition.
func (s *system) CreateTopic(ctx context.Context, t driver.Topic) error {
	configs := make(map[string]*string)
	for _, set := range s.topicSettings(t.Replicas) {
		configs[set.Key] = kadm.StringPtr(set.Value)
	}
	_, err := kadm.NewClient(s.admin).CreateTopic(ctx, int32(t.Partitions), int16(t.Replicas), configs, t.Name)
	if err != nil {
		return fmt.Errorf("create topic %s: %w", t.Name, err)
	}
	if err := until(ctx, func() error { return s.known(ctx, t) }); err != nil {
		return fmt.Errorf("create topic %s: %w", t.Name, err)
	}
	return nil
}

// known returns nil once every broker knows the leader of each partition.
func (s *system) known(ctx context.Context, t driver.Topic) error {
	meta, err := askMetadata(ctx, s.admin, []string{})
	if err != nil {
		return err
	}
	for _, b := range meta.Brokers {
		leaders, err := leadersAt(ctx, s.admin.Broker(int(b.NodeID)), t.Name)
		if err != nil {
			return err
		}
		if len(leaders) != t.Partitions || slices.Contains(leaders, 0) {
			return fmt.Errorf("broker %d does not know the leader of each partition yet", b.NodeID)
		}
	}
	return nil
}

// Leaders returns what one of the brokers knows.
func (s *system) Leaders(ctx context.Context, topic string) ([]int, error) {
	return leadersAt(ctx, s.admin, topic)
}

func leadersAt(ctx context.Context, to kmsg.Requestor, topic string) ([]int, error) {
	meta, err := askMetadata(ctx, to, []string{topic})
	if err != nil {
		return nil, err
	}
	if len(meta.Topics) != 1 {
		return nil, fmt.Errorf("leaders of %s: kafka told about %d topics", topic, len(meta.Topics))
	}
	t := meta.Topics[0]
	if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
		return nil, fmt.Errorf("leaders of %s: %w", topic, err)
	}
	leaders := make([]int, len(t.Partitions))
	for _, p := range t.Partitions {
		if int(p.Partition) < len(leaders) {
			leaders[p.Partition] = max(int(p.Leader), 0)
		}
	}
	return leaders, nil
}

// group names the consumer group of a subscription. Names of topics have no dot, so the prefix says whose it is.
func group(topic, subscription string) string { return topic + "." + subscription }

// DeleteTopic deletes a topic and the groups of its subscriptions. Their consumers must be closed.
func (s *system) DeleteTopic(ctx context.Context, name string) error {
	admin := kadm.NewClient(s.admin)
	if _, err := admin.DeleteTopic(ctx, name); err != nil {
		return fmt.Errorf("delete topic %s: %w", name, err)
	}
	groups, err := admin.ListGroups(ctx)
	if err != nil {
		return fmt.Errorf("list the groups of topic %s: %w", name, err)
	}
	ours := slices.DeleteFunc(groups.Groups(), func(g string) bool { return !strings.HasPrefix(g, group(name, "")) })
	deleted, err := admin.DeleteGroups(ctx, ours...)
	if err != nil {
		return fmt.Errorf("delete the groups of topic %s: %w", name, err)
	}
	// Kafka removes an empty group by itself when its last topic goes.
	if err := deleted.Error(); err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return fmt.Errorf("delete the groups of topic %s: %w", name, err)
	}
	return nil
}

// Kill ends a node with SIGKILL.
func (s *system) Kill(ctx context.Context, node int) error {
	return s.fault(func() error { return s.nodes.Kill(ctx, node) })
}

// Stop asks a node to end: it hands its partitions over first.
func (s *system) Stop(ctx context.Context, node int) error {
	return s.fault(func() error { return s.nodes.Stop(ctx, node) })
}

// Pause stops a node where it is.
func (s *system) Pause(_ context.Context, node int) error {
	return s.fault(func() error { return s.nodes.Pause(node) })
}

// Resume lets a paused node go on.
func (s *system) Resume(_ context.Context, node int) error {
	return s.fault(func() error { return s.nodes.Resume(node) })
}

// Start starts a node and waits until it is in sync again.
func (s *system) Start(ctx context.Context, node int) error {
	return s.fault(func() error { return s.nodes.Start(ctx, node) })
}

func (s *system) fault(make func() error) error {
	if s.nodes == nil {
		return driver.ErrNotOurs
	}
	return make()
}

// Close ends the client, the nodes and what they stored.
func (s *system) Close(context.Context) error {
	if s.admin != nil {
		s.admin.Close()
	}
	if s.nodes == nil {
		return nil
	}
	return errors.Join(s.nodes.Down(), os.RemoveAll(s.dir))
}
