package kafka

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/driver/nodes"
)

// jvm are the options of the distribution's kafka-server-start.sh.
var jvm = []string{
	"-Xmx1g", "-Xms1g", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
	"-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true",
}

// logging sends what the distribution writes to files to standard output, which is the node's log.
const logging = `rootLogger.level = info
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = [%d] %p %m (%c)%n
`

// cluster is what the nodes to start have in common.
type cluster struct {
	dir   string
	jars  string
	id    string
	nodes []node
}

// node is one combined broker and controller.
type node struct {
	id         int
	dir        string
	broker     int // port
	controller int // port
	storage    string
}

func (n node) addr() string { return "127.0.0.1:" + strconv.Itoa(n.broker) }
func (n node) file() string { return filepath.Join(n.dir, "server.properties") }

// newCluster finds ports and writes the configurations.
func newCluster(dir, jars string, size int) (*cluster, error) {
	ports, err := nodes.FreePorts(2 * size)
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir, jars: jars, id: newID()}
	for i := range size {
		name := filepath.Join(dir, fmt.Sprintf("node-%d", i+1))
		c.nodes = append(c.nodes, node{id: i + 1, dir: name, broker: ports[2*i], controller: ports[2*i+1], storage: newID()})
	}
	for _, n := range c.nodes {
		if err := os.MkdirAll(n.dir, 0o700); err != nil {
			return nil, fmt.Errorf("kafka node %d: %w", n.id, err)
		}
		if err := os.WriteFile(n.file(), []byte(c.properties(n)), 0o600); err != nil {
			return nil, fmt.Errorf("kafka node %d: %w", n.id, err)
		}
	}
	if err := os.WriteFile(c.logging(), []byte(logging), 0o600); err != nil {
		return nil, fmt.Errorf("kafka logging: %w", err)
	}
	return c, nil
}

func (c *cluster) logging() string { return filepath.Join(c.dir, "log4j2.properties") }

// newID returns a random ID in Kafka's form: 16 bytes in URL base 64. It does not begin with '-', which would read as a flag.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[0] &= 0x7f
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// serverSettings are the settings that are not Kafka's defaults and not addresses or paths.
func serverSettings(size int) []driver.Setting {
	replicas, insync := strconv.Itoa(min(size, 3)), strconv.Itoa(min(size, 3)/2+1)
	return []driver.Setting{
		{Key: "process.roles", Value: "broker,controller", Why: "combined nodes: as many processes as the other systems have"},
		{Key: "auto.create.topics.enable", Value: "false", Why: "topics are made on purpose"},
		{Key: "offsets.topic.replication.factor", Value: replicas, Why: "the nodes there are"},
		{Key: "transaction.state.log.replication.factor", Value: replicas, Why: "the nodes there are"},
		{Key: "transaction.state.log.min.isr", Value: insync, Why: "a majority"},
		{Key: "group.initial.rebalance.delay.ms", Value: "0", Why: "consumers start at once, as in the shipped server.properties"},
		{Key: "log.segment.delete.delay.ms", Value: "1000", Why: "a deleted topic is off the disk before the next measurement"},
	}
}

func (c *cluster) properties(n node) string {
	var voters []string
	for _, m := range c.nodes {
		voters = append(voters, fmt.Sprintf("127.0.0.1:%d", m.controller))
	}
	var b strings.Builder
	for _, s := range serverSettings(len(c.nodes)) {
		fmt.Fprintf(&b, "%s=%s\n", s.Key, s.Value)
	}
	fmt.Fprintf(&b, "node.id=%d\n", n.id)
	fmt.Fprintf(&b, "listeners=PLAINTEXT://%s,CONTROLLER://127.0.0.1:%d\n", n.addr(), n.controller)
	fmt.Fprintf(&b, "advertised.listeners=PLAINTEXT://%s,CONTROLLER://127.0.0.1:%d\n", n.addr(), n.controller)
	fmt.Fprintf(&b, "controller.listener.names=CONTROLLER\n")
	fmt.Fprintf(&b, "controller.quorum.bootstrap.servers=%s\n", strings.Join(voters, ","))
	fmt.Fprintf(&b, "log.dirs=%s\n", filepath.Join(n.dir, "data"))
	return b.String()
}

// format writes the storage of all nodes side by side: each takes a JVM's start.
func (c *cluster) format(ctx context.Context) error {
	var voters []string
	for _, n := range c.nodes {
		voters = append(voters, fmt.Sprintf("%d@127.0.0.1:%d:%s", n.id, n.controller, n.storage))
	}
	done := make(chan error, len(c.nodes))
	for _, n := range c.nodes {
		go func() {
			cmd := exec.CommandContext(ctx, "java", "-Xmx256m", "-cp", filepath.Join(c.jars, "*"), "kafka.tools.StorageTool",
				"format", "--cluster-id", c.id, "--config", n.file(), "--initial-controllers", strings.Join(voters, ","))
			out, err := cmd.CombinedOutput()
			if err != nil {
				err = fmt.Errorf("format the storage of kafka node %d: %w: %s", n.id, err, out)
			}
			done <- err
		}()
	}
	var errs []error
	for range c.nodes {
		errs = append(errs, <-done)
	}
	return errors.Join(errs...)
}

func (c *cluster) specs() []nodes.Spec {
	var specs []nodes.Spec
	for _, n := range c.nodes {
		args := slices.Concat([]string{"java"}, jvm, []string{
			"-Dlog4j2.configurationFile=" + c.logging(), "-cp", filepath.Join(c.jars, "*"), "kafka.Kafka", n.file(),
		})
		specs = append(specs, nodes.Spec{
			ID: n.id, Addr: n.addr(), Dir: n.dir, Args: args,
			Healthy: func(ctx context.Context) error { return healthy(ctx, n) },
		})
	}
	return specs
}

// healthy asks a node whether it is registered and unfenced, which takes a controller that leads, and in sync on each partition
// that it stores.
func healthy(ctx context.Context, n node) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(n.addr()), kgo.DialTimeout(time.Second))
	if err != nil {
		return fmt.Errorf("kafka client: %w", err)
	}
	defer cl.Close()
	meta, err := askMetadata(ctx, cl.SeedBrokers()[0], nil)
	if err != nil {
		return err
	}
	id := int32(n.id)
	if !slices.ContainsFunc(meta.Brokers, func(b kmsg.MetadataResponseBroker) bool { return b.NodeID == id }) {
		return fmt.Errorf("kafka node %d is not registered", n.id)
	}
	for _, t := range meta.Topics {
		for _, p := range t.Partitions {
			if slices.Contains(p.Replicas, id) && !slices.Contains(p.ISR, id) {
				return fmt.Errorf("kafka node %d is not in sync on partition %d of %s", n.id, p.Partition, *t.Topic)
			}
		}
	}
	return nil
}

// askMetadata asks for topics, or for all if nil. It goes past the cache of the client.
func askMetadata(ctx context.Context, to kmsg.Requestor, topics []string) (*kmsg.MetadataResponse, error) {
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(name)
		req.Topics = append(req.Topics, t)
	}
	meta, err := req.RequestWith(ctx, to)
	if err != nil {
		return nil, fmt.Errorf("ask kafka for its metadata: %w", err)
	}
	return meta, nil
}
