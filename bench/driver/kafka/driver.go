package kafka

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/driver/nodes"
)

// The profiles.
const (
	asShipped = "default"
	flushEach = "flush-every-message"
)

// patience bounds the start of a cluster: three JVMs on a small machine take 10 to 20 s.
const patience = 90 * time.Second

// Driver is the driver of Apache Kafka. The zero value is ready.
type Driver struct{}

var _ driver.Driver = Driver{}

// Name returns "kafka".
func (Driver) Name() string { return "kafka" }

// Profiles returns default, which is how Kafka is run nearly everywhere, and flush-every-message, which is what a system that
// syncs before it acknowledges is to be compared with.
func (Driver) Profiles() []driver.Profile {
	return []driver.Profile{
		{Name: asShipped, Doc: "acks=all, nothing is fsynced: an ack means in the page cache of every in-sync replica"},
		{Name: flushEach, Doc: "acks=all, flush.messages=1: an ack means fsynced by every in-sync replica"},
	}
}

// Installed reports whether the jars and a Java runtime are there.
func (Driver) Installed() error { return installed(jarDir("")) }

func jarDir(chosen string) string {
	if chosen != "" {
		return chosen
	}
	return filepath.Join(driver.PeersDir(), "kafka")
}

func installed(jars string) error {
	if _, err := exec.LookPath("java"); err != nil {
		return fmt.Errorf("kafka: %w: %w; install a Java 17 runtime", driver.ErrNotInstalled, err)
	}
	if found, _ := filepath.Glob(filepath.Join(jars, "kafka_2.13-*.jar")); len(found) == 0 {
		return fmt.Errorf("kafka: %w: no kafka_2.13 jar in %s; `make peers` installs it", driver.ErrNotInstalled, jars)
	}
	return nil
}

// Open starts a cluster, or connects to the one at opts.Addrs (host:port of any of its brokers). opts.Binary is the directory
// of the jars. It takes at most 90 s.
func (Driver) Open(ctx context.Context, opts driver.Options) (driver.System, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if opts.Profile == "" {
		opts.Profile = asShipped
	}
	if opts.Profile != asShipped && opts.Profile != flushEach {
		return nil, fmt.Errorf("kafka has no profile %q: there are %s and %s", opts.Profile, asShipped, flushEach)
	}
	s := &system{profile: opts.Profile, addrs: opts.Addrs}
	if len(opts.Addrs) == 0 {
		if err := s.boot(ctx, opts); err != nil {
			return nil, err
		}
	}
	if err := s.connect(ctx); err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	return s, nil
}

// boot starts own nodes.
func (s *system) boot(ctx context.Context, opts driver.Options) error {
	jars := jarDir(opts.Binary)
	if err := installed(jars); err != nil {
		return err
	}
	c, err := newCluster(opts.Dir, jars, opts.Nodes)
	if err != nil {
		return err
	}
	s.dir = opts.Dir
	if err := c.format(ctx); err != nil {
		return errors.Join(err, os.RemoveAll(s.dir))
	}
	for _, n := range c.nodes {
		s.addrs = append(s.addrs, n.addr())
	}
	s.servers = serverSettings(len(c.nodes))
	if s.nodes, err = nodes.Up(ctx, c.specs()); err != nil {
		return errors.Join(fmt.Errorf("start kafka: %w", err), os.RemoveAll(s.dir))
	}
	return nil
}

// connect opens the client for administration and waits until the brokers know each other.
func (s *system) connect(ctx context.Context) error {
	// A request to a paused broker is given up after 3 s, and another broker is asked.
	admin, err := kgo.NewClient(append(s.base("admin"), kgo.RequestTimeoutOverhead(3*time.Second))...)
	if err != nil {
		return fmt.Errorf("kafka client: %w", err)
	}
	s.admin = admin
	if s.nodes == nil {
		return s.readVersion(ctx)
	}
	return errors.Join(s.readVersion(ctx), until(ctx, func() error {
		meta, err := askMetadata(ctx, s.admin, nil)
		if err != nil {
			return err
		}
		if len(meta.Brokers) < len(s.addrs) {
			return fmt.Errorf("%d of %d brokers are registered", len(meta.Brokers), len(s.addrs))
		}
		return nil
	}))
}

// until asks every 50 ms until the answer is nil or ctx ends.
func until(ctx context.Context, ask func() error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		last := ask()
		if last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", last, ctx.Err())
		case <-tick.C:
		}
	}
}
