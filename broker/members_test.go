package broker

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/partition"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
	"github.com/trunkline/trunkline/protocol/wire"
)

// soon is how long the tests of whole clusters wait for what must happen.
const soon = 60 * time.Second

// party is a cluster of whole brokers in this process.
type party struct {
	t       *testing.T
	dir     string
	members []Member // founders
	brokers map[protocol.BrokerID]*Broker
	sent    map[protocol.TopicPartition]protocol.Sequence
	log     lines
}

// lines is a log that is shown when a test fails. Safe for concurrent use.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// newParty starts a cluster of n founders.
func newParty(t *testing.T, n int) *party {
	return newPartyOf(t, n, func(cfg Config) Config { return cfg })
}

// newPartyOf starts n founders, each with its configuration changed.
func newPartyOf(t *testing.T, n int, change func(Config) Config) *party {
	p := &party{
		t: t, dir: t.TempDir(), brokers: map[protocol.BrokerID]*Broker{}, sent: map[protocol.TopicPartition]protocol.Sequence{},
	}
	t.Cleanup(func() {
		for _, b := range p.brokers {
			_ = b.Close() // for tests that fail
		}
		if t.Failed() {
			t.Log(p.log.text.String())
		}
	})
	for id := 1; id <= n; id++ {
		p.members = append(p.members, Member{ID: protocol.BrokerID(id), Listen: free(t, "udp"), Raft: free(t, "tcp"), Admin: free(t, "tcp")})
	}
	for _, m := range p.members {
		p.open(change(p.founder(m.ID)))
	}
	p.await("ready", p.ready)
	return p
}

// free returns an address on which nobody listens.
func free(t *testing.T, network string) string {
	t.Helper()
	var config net.ListenConfig
	if network == "udp" {
		c, err := config.ListenPacket(t.Context(), network, "127.0.0.1:0")
		require.NoError(t, err)
		defer c.Close()
		return c.LocalAddr().String()
	}
	l, err := config.Listen(t.Context(), network, "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

func (p *party) config(id protocol.BrokerID) Config {
	return Config{
		Broker: id, DataDir: filepath.Join(p.dir, fmt.Sprint("b", id)), TLS: TLSConfig{DevDir: filepath.Join(p.dir, "ca")},
		Limits: LimitsConfig{DiskReserve: 1}, Moves: MovesConfig{CalmAfter: time.Millisecond},
		Logger: slog.New(slog.NewTextHandler(&p.log, nil)),
	}
}

func (p *party) founder(id protocol.BrokerID) Config {
	cfg := p.config(id)
	cfg.Members = p.members
	return cfg
}

// joiner is the configuration of a broker that asks those that run to let it join.
func (p *party) joiner(id protocol.BrokerID) Config {
	cfg := p.config(id)
	cfg.Members = []Member{{ID: id, Listen: free(p.t, "udp"), Raft: free(p.t, "tcp"), Admin: free(p.t, "tcp")}}
	for _, b := range p.brokers {
		cfg.Join = append(cfg.Join, b.self.Raft)
	}
	return cfg
}

func (p *party) open(cfg Config) *Broker {
	p.t.Helper()
	cfg.Registerer = prometheus.NewRegistry()
	b, err := Open(p.t.Context(), cfg)
	require.NoError(p.t, err)
	p.brokers[cfg.Broker] = b
	return b
}

// close closes a broker without a word to the others.
func (p *party) close(ids ...protocol.BrokerID) {
	p.t.Helper()
	for _, id := range ids {
		require.NoError(p.t, p.brokers[id].Close())
		delete(p.brokers, id)
	}
}

func (p *party) closeAll() { p.close(slices.Collect(maps.Keys(p.brokers))...) }

func (p *party) await(what string, ok func() bool) {
	p.t.Helper()
	require.Eventually(p.t, ok, soon, 10*time.Millisecond, what)
}

func (p *party) ready() bool {
	for _, b := range p.brokers {
		if b.Ready() != nil {
			return false
		}
	}
	return true
}

// any returns a broker that runs.
func (p *party) any() *Broker { return p.brokers[slices.Min(slices.Collect(maps.Keys(p.brokers)))] }

func (p *party) topic(name string, partitions, replicas uint32) {
	p.t.Helper()
	_, err := p.any().meta.CreateTopic(p.t.Context(), wire.CreateTopic{Name: name, Partitions: partitions, Replicas: replicas})
	require.NoError(p.t, err)
}

// publish appends records to every partition, each once whatever happens to its leader.
func (p *party) publish(n int) {
	p.t.Helper()
	for _, t := range p.any().meta.Image().Topics() {
		for i := range t.Partitions {
			tp := protocol.TopicPartition{Topic: t.ID, Partition: protocol.Partition(i)}
			for range n {
				p.append(tp, p.sent[tp])
				p.sent[tp]++
			}
		}
	}
}

func (p *party) append(tp protocol.TopicPartition, seq protocol.Sequence) {
	p.t.Helper()
	builder := batch.NewBuilder(batch.None)
	builder.Add(batch.Record{Value: fmt.Appendf(nil, "record %d of %v", seq, tp)})
	raw, err := builder.Build(nil, 5, 1, seq)
	require.NoError(p.t, err)
	h, err := batch.ParseHeader(raw)
	require.NoError(p.t, err)
	p.await(fmt.Sprintf("record %d of %v is appended", seq, tp), func() bool {
		for _, b := range p.brokers {
			replica, ok := b.controller.Get(tp)
			if !ok {
				continue
			}
			acks := make(chan partition.Ack, 1)
			if replica.Append(p.t.Context(), raw, h, func(a partition.Ack) { acks <- a }) != nil {
				continue
			}
			if a := <-acks; a.Err == nil {
				require.EqualValues(p.t, seq, a.Offset)
				return true
			}
		}
		return false
	})
}

// settled reports whether no move is under way, everybody knows the same, and every replica is where the metadata has it, equal to the others.
func (p *party) settled() bool {
	newest := p.any().meta.Image()
	for id, b := range p.brokers {
		if im := b.meta.Image(); im.Version != newest.Version || len(im.Moves()) > 0 || b.Ready() != nil {
			return false
		}
		if _, known := newest.Broker(id); !known {
			return false
		}
	}
	if !p.isMeta(newest) {
		return false
	}
	for _, t := range newest.Topics() {
		for i := range t.Partitions {
			if len(t.Partitions[i].Replicas) != t.Replicas || !p.isPlaced(t, protocol.Partition(i)) {
				return false
			}
		}
	}
	return true
}

// isMeta reports whether the metadata shard has the voters that the metadata names and a learner on every other broker.
func (p *party) isMeta(im *meta.Image) bool {
	is, err := p.any().node.Membership(p.t.Context(), raftnode.MetaShard)
	if err != nil || len(is.Voters)+len(is.Learners) != len(im.Brokers()) {
		return false
	}
	return slices.Equal(slices.Sorted(maps.Values(is.Voters)), slices.Sorted(slices.Values(im.Meta.Brokers())))
}

func (p *party) isPlaced(t *meta.Topic, n protocol.Partition) bool {
	placed := &t.Partitions[n]
	tp := protocol.TopicPartition{Topic: t.ID, Partition: n}
	want := map[uint64]protocol.BrokerID{}
	hashes := map[[32]byte]bool{}
	for _, r := range placed.Replicas {
		want[r.ReplicaID] = r.Broker
	}
	for id, b := range p.brokers {
		replica, runs := b.controller.Get(tp)
		stored := slices.ContainsFunc(b.node.Stored(), func(s raftnode.Stored) bool { return s.Shard == placed.Shard })
		if _, here := placed.On(id); here != runs || here != stored {
			return false
		}
		if !runs {
			continue
		}
		if _, next := replica.FSM().Bounds(); next != protocol.Offset(p.sent[tp]) {
			return false
		}
		_, hash := replica.FSM().Hash()
		hashes[hash] = true
		is, err := b.node.Membership(p.t.Context(), placed.Shard)
		if err != nil || !maps.Equal(is.Voters, want) || len(is.Learners) > 0 {
			return false
		}
	}
	return len(hashes) == 1
}

// even reports whether the brokers have the same number of replicas, give or take one.
func (p *party) even() bool {
	counts := map[protocol.BrokerID]int{}
	for id := range p.brokers {
		counts[id] = 0
	}
	for _, t := range p.any().meta.Image().Topics() {
		for _, placed := range t.Partitions {
			for _, b := range placed.Brokers() {
				counts[b]++
			}
		}
	}
	all := slices.Sorted(maps.Values(counts))
	return all[len(all)-1]-all[0] <= 1
}

// retire decommissions a broker, waits until it stops by itself and until the others know.
func (p *party) retire(id protocol.BrokerID) {
	p.t.Helper()
	leaver := p.brokers[id]
	delete(p.brokers, id)
	ended := make(chan error, 1)
	go func() { ended <- leaver.Run(context.WithoutCancel(p.t.Context())) }()
	require.NoError(p.t, p.any().meta.SetBrokerState(p.t.Context(), id, 0, meta.Leaving))
	select {
	case err := <-ended:
		require.ErrorContains(p.t, err, "data_dir")
		require.ErrorContains(p.t, err, "can be deleted")
	case <-time.After(soon):
		_ = leaver.Close()
		require.FailNow(p.t, "the broker does not end", "%d", id)
	}
	p.await("retired", func() bool { return p.any().meta.Image().Retired(id) })
}

// TestMembershipChanges takes a cluster through what an operator does with it: it grows, loses founders, and its topics change the number of
// replicas, also to one and back. Partitions of one replica are there all the time: their only leader is moved.
func TestMembershipChanges(t *testing.T) {
	if testing.Short() {
		t.Skip("starts five brokers")
	}
	defer goleak.VerifyNone(t)
	p := newParty(t, 3)
	p.topic("calls", 3, 3)
	p.topic("solo", 3, 1)
	p.publish(5)
	p.await("settled", p.settled)

	p.open(p.joiner(4))
	p.await("balanced", func() bool { return p.even() && p.settled() })
	p.publish(5)

	leader := p.any().meta.Leader()
	p.retire(leader) // of the metadata
	p.await("the leader of the metadata has left", p.settled)
	p.publish(5)

	for _, n := range []uint32{1, 3} {
		_, err := p.any().meta.AlterTopic(t.Context(), wire.AlterTopic{Name: "calls", Replicas: &n})
		require.NoError(t, err)
		p.publish(5)
		p.await(fmt.Sprintf("%d replicas", n), p.settled)
	}
	p.publish(5)
	p.await("replicas are equal", p.settled)
	p.closeAll()
}
