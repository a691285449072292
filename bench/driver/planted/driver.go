package planted

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline/trunkline/bench/driver"
)

// The profiles.
const (
	sound      = "sound"
	loses      = "loses"
	duplicates = "duplicates"
	reorders   = "reorders"
	damages    = "damages"
	slow       = "slow"
	refuses    = "refuses"
)

// period is how many messages of a partition there are to one that is dealt with badly.
const period = 1000

// Driver is the driver of the system that misbehaves.
type Driver struct{}

var _ driver.Driver = Driver{}

// Name returns "planted".
func (Driver) Name() string { return "planted" }

// Profiles returns the ways to misbehave; the first is not to.
func (Driver) Profiles() []driver.Profile {
	return []driver.Profile{
		{Name: sound, Doc: "keeps every promise, in memory: the bench measures itself"},
		{Name: loses, Doc: "acknowledges one in 1000 messages and never delivers it"},
		{Name: duplicates, Doc: "stores one in 1000 messages twice"},
		{Name: reorders, Doc: "stores one in 1000 messages after the next one of its producer"},
		{Name: damages, Doc: "changes a byte in one of 1000 messages"},
		{Name: slow, Doc: "stands still for 200 ms of every second"},
		{Name: refuses, Doc: "answers one in 1000 messages as not appended and delivers it"},
	}
}

// Installed returns nil: it is part of the bench.
func (Driver) Installed() error { return nil }

// Open makes a system of imaginary nodes.
func (d Driver) Open(_ context.Context, opts driver.Options) (driver.System, error) {
	if len(opts.Addrs) > 0 {
		return nil, errors.New("planted runs inside the bench only: leave out the addresses")
	}
	if opts.Profile == "" {
		opts.Profile = sound
	}
	for _, p := range d.Profiles() {
		if p.Name == opts.Profile {
			return newSystem(opts), nil
		}
	}
	return nil, fmt.Errorf("planted has no profile %q", opts.Profile)
}

// system is one imaginary cluster.
type system struct {
	profile string
	begin   time.Time
	bytes   atomic.Int64       // of all payloads stored
	ctx     context.Context    // ends with Close
	cancel  context.CancelFunc //
	wg      sync.WaitGroup     // leaders and consumers

	mu      sync.Mutex
	nodes   []state           // guarded by mu; by ID-1
	changed chan struct{}     // guarded by mu; closed when nodes change
	topics  map[string]*topic // guarded by mu
}

// state is what a node does.
type state string

const (
	running state = "running"
	paused  state = "paused"
	down    state = "down"
)

func newSystem(opts driver.Options) *system {
	s := &system{profile: opts.Profile, begin: time.Now(), changed: make(chan struct{}), topics: map[string]*topic{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for range max(opts.Nodes, 1) {
		s.nodes = append(s.nodes, running)
	}
	return s
}

// About says what is measured. It promises what its profiles break.
func (s *system) About() driver.About {
	return driver.About{
		System: "planted", Profile: s.profile, Version: "of this bench", Client: "none: function calls",
		Ack:          "in the memory of the bench's own process",
		NoDuplicates: true,
		Ordered:      true,
	}
}

// Nodes returns the imaginary nodes, which have no process.
func (s *system) Nodes() []driver.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	nodes := make([]driver.Node, len(s.nodes))
	for i := range nodes {
		nodes[i] = driver.Node{ID: i + 1, Addr: "none"}
	}
	return nodes
}

// Kill takes a node down.
func (s *system) Kill(_ context.Context, node int) error {
	return s.become(node, down, running, paused)
}

// Stop takes a node down.
func (s *system) Stop(_ context.Context, node int) error { return s.become(node, down, running) }

// Pause suspends a node.
func (s *system) Pause(_ context.Context, node int) error { return s.become(node, paused, running) }

// Resume lets a paused node go on.
func (s *system) Resume(_ context.Context, node int) error { return s.become(node, running, paused) }

// Start brings a node back that is down.
func (s *system) Start(_ context.Context, node int) error { return s.become(node, running, down) }

// become changes the state of a node.
func (s *system) become(node int, to state, from ...state) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if node < 1 || node > len(s.nodes) {
		return fmt.Errorf("there is no node %d: there are 1 to %d", node, len(s.nodes))
	}
	for _, f := range from {
		if s.nodes[node-1] == f {
			s.nodes[node-1] = to
			close(s.changed)
			s.changed = make(chan struct{})
			return nil
		}
	}
	return fmt.Errorf("node %d is %s", node, s.nodes[node-1])
}

// leader returns the node that leads a partition.
func (s *system) leader(partition int32) int { return int(partition)%len(s.nodes) + 1 }

// serves reports whether the leader of a partition runs, and returns a channel that is closed at the next change.
func (s *system) serves(partition int32) (bool, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodes[s.leader(partition)-1] == running, s.changed
}

// Leaders returns who leads each partition. Nobody takes over from a node that is down.
func (s *system) Leaders(_ context.Context, name string) ([]int, error) {
	t, err := s.topic(name)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	leaders := make([]int, len(t.partitions))
	for p := range leaders {
		if id := s.leader(int32(p)); s.nodes[id-1] != down {
			leaders[p] = id
		}
	}
	return leaders, nil
}

// Close ends everything. Messages without an answer are answered with an error.
func (s *system) Close(context.Context) error {
	s.mu.Lock()
	topics := s.topics
	s.topics = map[string]*topic{}
	s.mu.Unlock()
	s.cancel()
	for _, t := range topics {
		t.close(s)
	}
	s.wg.Wait()
	return nil
}
