package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/driver/nodes"
)

// The profiles.
const (
	asShipped  = "default"
	moreCredit = "more-credit"
)

// usualServer is where Debian and Ubuntu have the script that runs a node as whoever calls it. The one in /usr/sbin insists on
// the user rabbitmq.
const usualServer = "/usr/lib/rabbitmq/bin/rabbitmq-server"

// Driver is the driver of RabbitMQ. The zero value is ready.
type Driver struct{}

var _ driver.Driver = Driver{}

// Name returns "rabbitmq".
func (Driver) Name() string { return "rabbitmq" }

// Profiles returns default and more-credit. They differ in flow control only: an ack means the same.
func (Driver) Profiles() []driver.Profile {
	return []driver.Profile{
		{Name: asShipped, Doc: "flow control as shipped; a confirm means fdatasynced in the Raft log of a majority"},
		{Name: moreCredit, Doc: "wider flow control, so that more messages share an fdatasync; a confirm means the same"},
	}
}

// Installed reports whether the server is there.
func (Driver) Installed() error { return installed(serverScript("")) }

func serverScript(chosen string) string {
	if chosen != "" {
		return chosen
	}
	return usualServer
}

func installed(script string) error {
	_, noServer := os.Stat(script)
	_, noNames := exec.LookPath("epmd")
	if err := errors.Join(noServer, noNames); err != nil {
		return fmt.Errorf("rabbitmq-server: %w: %w; `make peers` installs it", driver.ErrNotInstalled, err)
	}
	return nil
}

// Open starts a cluster, or connects to the one at opts.Addrs: host:port with the user guest, or amqp:// URLs, one for each
// broker. Leaders are known only where the management plugin answers at its usual port 15672.
func (Driver) Open(ctx context.Context, opts driver.Options) (driver.System, error) {
	if opts.Profile == "" {
		opts.Profile = asShipped
	}
	if opts.Profile != asShipped && opts.Profile != moreCredit {
		return nil, fmt.Errorf("rabbitmq has no profile %q: there are %s and %s", opts.Profile, asShipped, moreCredit)
	}
	s := &system{
		profile: opts.Profile, dir: opts.Dir, api: newAPI(), topics: make(map[string]*topic), clients: make(map[closer]struct{}),
	}
	if err := s.reach(ctx, opts); err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	return s, nil
}

// system is one cluster.
type system struct {
	profile string
	dir     string
	brokers []broker
	names   *nodes.Nodes // epmd, which tells Erlang nodes their ports; nil: not ours
	nodes   *nodes.Nodes // nil: not ours
	version string
	api     *api
	speaker atomic.Uint32 // the broker that is asked about leaders, modulo their number

	mu      sync.Mutex
	topics  map[string]*topic
	clients map[closer]struct{} // producers and consumers that were not closed yet
}

type closer interface {
	Close(ctx context.Context) error
}

// reach starts the cluster or finds the one that runs.
func (s *system) reach(ctx context.Context, opts driver.Options) error {
	if len(opts.Addrs) == 0 {
		if err := s.boot(ctx, opts); err != nil {
			return err
		}
	}
	for i, addr := range opts.Addrs {
		b, err := brokerAt(i+1, addr)
		if err != nil {
			return err
		}
		b.name, _ = s.api.nodeName(ctx, b) // without it leaders are not known, which is not needed
		s.brokers = append(s.brokers, b)
	}
	conn, err := s.brokers[0].dial(ctx, "trunkbench version")
	if err != nil {
		return err
	}
	s.version, _ = conn.amqp.Properties["version"].(string)
	conn.close(ctx)
	return nil
}

// About says what this cluster is.
func (s *system) About() driver.About {
	return driver.About{
		System: Driver{}.Name(), Profile: s.profile, Version: s.version, Client: clientVersion(),
		Config: s.settings(),
		Ack: "each queue that the message was routed to (one for each subscription) has it in the Raft write-ahead log of a majority " +
			"of its members, fdatasynced there, and the leader has applied it",
		Durable: true,
	}
}

func (s *system) settings() []driver.Setting {
	var out []driver.Setting
	if s.nodes != nil {
		out = append(out, serverSettings(s.profile)...)
	}
	return append(out,
		driver.Setting{Key: "x-queue-type", Value: "quorum", Why: "replicated queues"},
		driver.Setting{Key: "x-queue-leader-locator", Value: "client-local", Why: "declared through each broker in turn"},
		driver.Setting{Key: "delivery_mode", Value: "2", Why: "persistent"},
		driver.Setting{Key: "confirm.select", Value: "on", Why: "acknowledged publishing"},
		driver.Setting{Key: "unconfirmed per producer", Value: fmt.Sprint(defaultWindow), Why: "unless the workload bounds it"},
		driver.Setting{Key: "basic.qos prefetch_count", Value: fmt.Sprint(prefetch), Why: "for each partition and consumer"},
		driver.Setting{Key: "basic.ack multiple", Value: fmt.Sprintf("every %d or %v", ackBatch, ackAfter), Why: "each is a Raft command"},
		driver.Setting{Key: "heartbeat", Value: heartbeat.String(), Why: "the shortest that RabbitMQ recommends"},
	)
}
