package jetstream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/driver/nodes"
)

// The profiles.
const (
	fsyncAlways = "fsync-always"
	asShipped   = "default"
)

// Driver is the driver of NATS JetStream. The zero value is ready.
type Driver struct{}

var _ driver.Driver = Driver{}

// Name returns "jetstream".
func (Driver) Name() string { return "jetstream" }

// Profiles returns fsync-always, which is what a peer that syncs before it acknowledges is to be compared with, and default.
func (Driver) Profiles() []driver.Profile {
	return []driver.Profile{
		{Name: fsyncAlways, Doc: "sync_interval: always; an ack means fsynced in the Raft log of a majority"},
		{Name: asShipped, Doc: "nothing set; an ack means in the page cache of a majority, fsynced within 2 minutes"},
	}
}

// Installed reports whether the server binary is there.
func (Driver) Installed() error { return installed(serverBinary("")) }

func serverBinary(chosen string) string {
	if chosen != "" {
		return chosen
	}
	return filepath.Join(driver.PeersDir(), "nats-server")
}

func installed(binary string) error {
	if _, err := os.Stat(binary); err != nil {
		return fmt.Errorf("nats-server: %w: %w; `make peers` installs it", driver.ErrNotInstalled, err)
	}
	return nil
}

// Open starts a cluster, or connects to the one at opts.Addrs (host:port, one for each server).
func (Driver) Open(ctx context.Context, opts driver.Options) (driver.System, error) {
	if opts.Profile == "" {
		opts.Profile = fsyncAlways
	}
	if opts.Profile != fsyncAlways && opts.Profile != asShipped {
		return nil, fmt.Errorf("jetstream has no profile %q: there are %s and %s", opts.Profile, fsyncAlways, asShipped)
	}
	s := &system{profile: opts.Profile, dir: opts.Dir, topics: make(map[string]int)}
	for i, addr := range opts.Addrs {
		s.servers = append(s.servers, server{id: i + 1, addr: addr})
	}
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

// system is one cluster.
type system struct {
	profile string
	dir     string
	servers []server
	nodes   *nodes.Nodes // nil: not ours
	version string
	admin   *nats.Conn
	js      jetstream.JetStream // on admin

	mu     sync.Mutex
	topics map[string]int // number of partitions
}

// server is one server of the cluster.
type server struct {
	id   int
	addr string
	name string // as the server calls itself
}

// connect opens the connection for administration and asks each server for its name.
func (s *system) connect(ctx context.Context) error {
	for i, srv := range s.servers {
		conn, err := nats.Connect(srv.url(), nats.Name("trunkbench names"))
		if err != nil {
			return fmt.Errorf("connect to %s: %w", srv.addr, err)
		}
		s.servers[i].name, s.version = conn.ConnectedServerName(), conn.ConnectedServerVersion()
		conn.Close()
	}
	conn, err := s.dialAny(0, "trunkbench admin")
	if err != nil {
		return err
	}
	s.admin = conn
	if s.js, err = jetstream.New(conn); err != nil {
		return fmt.Errorf("jetstream: %w", err)
	}
	if _, err := s.js.AccountInfo(ctx); err != nil {
		return fmt.Errorf("ask for JetStream at %s: %w", s.servers[0].addr, err)
	}
	return nil
}

// Close ends the admin connection and the nodes. Producers and consumers are closed by who opened them.
func (s *system) Close(context.Context) error {
	if s.admin != nil {
		s.admin.Close()
	}
	if s.nodes == nil {
		return nil
	}
	if err := s.nodes.Down(); err != nil {
		return err
	}
	return s.clear()
}

// Nodes returns the servers that Open started.
func (s *system) Nodes() []driver.Node {
	if s.nodes == nil {
		return nil
	}
	return s.nodes.List()
}

func (s *system) Kill(ctx context.Context, node int) error {
	return s.ours(func() error { return s.nodes.Kill(ctx, node) })
}

func (s *system) Stop(ctx context.Context, node int) error {
	return s.ours(func() error { return s.nodes.Stop(ctx, node) })
}

func (s *system) Start(ctx context.Context, node int) error {
	return s.ours(func() error { return s.nodes.Start(ctx, node) })
}

func (s *system) Pause(_ context.Context, node int) error {
	return s.ours(func() error { return s.nodes.Pause(node) })
}

func (s *system) Resume(_ context.Context, node int) error {
	return s.ours(func() error { return s.nodes.Resume(node) })
}

func (s *system) ours(do func() error) error {
	if s.nodes == nil {
		return driver.ErrNotOurs
	}
	return do()
}
