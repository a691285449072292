package trunkline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/client"
)

// profile is the only one: there is no mode that acknowledges before the disk.
const profile = "default"

// Driver is the driver of Trunkline.
type Driver struct{}

var _ driver.Driver = Driver{}

// Name returns "trunkline".
func (Driver) Name() string { return "trunkline" }

// Profiles returns the only one.
func (Driver) Profiles() []driver.Profile {
	return []driver.Profile{{Name: profile, Doc: "nothing set; an ack means fsynced by a majority of the replicas"}}
}

// Installed reports whether trunklined is beside this program.
func (Driver) Installed() error {
	_, err := serverBinary("")
	return err
}

// serverBinary returns the path of trunklined: as chosen, or beside this program.
func serverBinary(chosen string) (string, error) {
	if chosen == "" {
		self, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("trunklined: %w: %w; name it by its path", driver.ErrNotInstalled, err)
		}
		chosen = filepath.Join(filepath.Dir(self), "trunklined")
	}
	if _, err := os.Stat(chosen); err != nil {
		return "", fmt.Errorf("trunklined: %w: %w; `make build` puts it beside trunkbench", driver.ErrNotInstalled, err)
	}
	return chosen, nil
}

// Open starts a cluster in opts.Dir, or connects to the brokers at opts.Addrs: host:port of some of them, or the path of one
// context file.
func (Driver) Open(ctx context.Context, opts driver.Options) (driver.System, error) {
	if opts.Profile != "" && opts.Profile != profile {
		return nil, fmt.Errorf("trunkline has no profile %q: there is %s", opts.Profile, profile)
	}
	s := &system{addrs: opts.Addrs}
	if len(opts.Addrs) == 0 {
		if err := s.boot(ctx, opts); err != nil {
			return nil, err
		}
	}
	if err := s.greet(ctx); err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	return s, nil
}

// system is one cluster.
type system struct {
	cluster *cluster.Cluster // nil: not ours
	addrs   []string         // to connect to
	dial    []client.Option  // how to connect
	admin   *client.Client   // nil: not connected
	version string           // of the brokers
}

// boot starts own brokers.
func (s *system) boot(ctx context.Context, opts driver.Options) error {
	binary, err := serverBinary(opts.Binary)
	if err != nil {
		return err
	}
	spec := cluster.Spec{Dir: opts.Dir, Brokers: opts.Nodes, Binary: binary, Tied: true}
	for _, data := range opts.Data {
		spec.Places = append(spec.Places, cluster.Place{Env: []string{"TRUNKLINE_DATA_DIR=" + data}})
	}
	s.cluster, err = cluster.Up(ctx, spec)
	if err != nil {
		return errors.Join(fmt.Errorf("trunkline: %w", err), os.RemoveAll(opts.Dir))
	}
	s.addrs = []string{s.cluster.Context()}
	return nil
}

// greet connects the client for administration and asks for the version.
func (s *system) greet(ctx context.Context) error {
	if len(s.addrs) == 1 && filepath.Ext(s.addrs[0]) == ".json" {
		file, err := client.LoadContext(s.addrs[0])
		if err != nil {
			return fmt.Errorf("trunkline: %w", err)
		}
		if s.dial, err = file.Options(); err != nil {
			return fmt.Errorf("trunkline: %w", err)
		}
		s.addrs = file.Brokers
	}
	var err error
	if s.admin, err = s.connect(ctx, "trunkbench admin"); err != nil {
		return err
	}
	brokers, err := s.admin.Admin().ClusterStatus(ctx)
	if err != nil {
		return fmt.Errorf("trunkline: ask for the version: %w", err)
	}
	for _, b := range brokers {
		if b.Err == nil {
			s.version = b.Version
		}
	}
	return nil
}

// connect opens a client.
func (s *system) connect(ctx context.Context, name string) (*client.Client, error) {
	c, err := client.Connect(ctx, s.addrs, append(s.dial[:len(s.dial):len(s.dial)], client.WithName(name))...)
	if err != nil {
		return nil, fmt.Errorf("connect %s: %w", name, err)
	}
	return c, nil
}

// About says what is measured.
func (s *system) About() driver.About {
	a := driver.About{
		System:  "trunkline",
		Profile: profile,
		Version: s.version,
		Client:  clientVersion(),
		Config: []driver.Setting{
			{Key: "messages in flight", Value: fmt.Sprintf("%d a producer", pipelined), Why: "the bench's bound, unless the workload has one: the best rate without a long queue"},
			{Key: "client.WithLinger", Value: "0", Why: fmt.Sprintf("only with 1 to %d in flight: a lone message waits for nobody", batchesInFlight)},
			{Key: "client.StartAt", Value: "Earliest()", Why: "a subscription gets every message"},
		},
		Ack:          "fsynced by a majority of the replicas and applied by the leader",
		Durable:      true,
		NoDuplicates: true,
		Ordered:      true,
	}
	if s.cluster != nil {
		a.Config = append(a.Config,
			driver.Setting{Key: "tls.dev_dir", Value: "pki", Why: "certificates of a development CA; all connections are encrypted"},
			driver.Setting{Key: "GOMAXPROCS", Value: strconv.Itoa(cluster.Processors(len(s.cluster.Brokers()))), Why: "a broker's share of the machine, unless the environment says otherwise"},
		)
	}
	return a
}

// clientVersion names the SDK, which is of the same module as this program.
func clientVersion() string {
	const path = "github.com/trunkline/trunkline/client"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return path + " " + info.Main.Version
	}
	return path
}

// Nodes returns the brokers that were started here.
func (s *system) Nodes() []driver.Node {
	if s.cluster == nil {
		return nil
	}
	var out []driver.Node
	for _, b := range s.cluster.Brokers() {
		out = append(out, driver.Node{ID: b.ID, PID: b.PID, Addr: b.Listen, Log: s.cluster.Log(b.ID)})
	}
	return out
}

// Kill ends a broker with SIGKILL.
func (s *system) Kill(ctx context.Context, node int) error {
	return s.fault(func() error { return s.cluster.Kill(ctx, node) })
}

// Stop ends a broker with SIGTERM: it hands over what it leads first.
func (s *system) Stop(ctx context.Context, node int) error {
	return s.fault(func() error { return s.cluster.Stop(ctx, node) })
}

// Pause stops a broker where it is.
func (s *system) Pause(_ context.Context, node int) error {
	return s.fault(func() error { return s.cluster.Pause(node) })
}

// Resume lets a paused broker go on.
func (s *system) Resume(_ context.Context, node int) error {
	return s.fault(func() error { return s.cluster.Resume(node) })
}

// Start starts a broker and waits until it is ready.
func (s *system) Start(ctx context.Context, node int) error {
	return s.fault(func() error { return s.cluster.Start(ctx, node) })
}

func (s *system) fault(do func() error) error {
	if s.cluster == nil {
		return fmt.Errorf("trunkline: %w", driver.ErrNotOurs)
	}
	return do()
}

// goodbye bounds how long the clients may take to close, and the brokers to end before they are killed.
const goodbye = 5 * time.Second

// Close ends the clients and own brokers and removes their directory.
func (s *system) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, goodbye)
	defer cancel()
	if s.admin != nil {
		_ = s.admin.Close(ctx) // only asked questions
	}
	if s.cluster == nil {
		return nil
	}
	return s.cluster.Down(ctx)
}
