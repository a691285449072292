package broker

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/pki"
	"github.com/trunkline/trunkline/broker/internal/raftnet"
	"github.com/trunkline/trunkline/protocol"
)

// ended runs a broker until it stops by itself, and returns why.
func ended(t *testing.T, b *Broker) error {
	t.Helper()
	result := make(chan error, 1)
	go func() { result <- b.Run(context.WithoutCancel(t.Context())) }()
	select {
	case err := <-result:
		return err
	case <-time.After(soon):
		_ = b.Close()
		require.FailNow(t, "the broker goes on")
		return nil
	}
}

// refused opens a broker that must not come up and returns why.
func (p *party) refused(cfg Config) error {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), soon)
	defer cancel()
	b, err := Open(ctx, cfg)
	if err == nil {
		_ = b.Close()
	}
	require.Error(p.t, err)
	require.NoError(p.t, ctx.Err(), "it must not take long: %v", err)
	return err
}

// TestWhoMayNotJoin: each refusal says why, at once, and changes nothing.
func TestWhoMayNotJoin(t *testing.T) {
	defer goleak.VerifyNone(t)
	p := newParty(t, 1)
	p.open(p.joiner(2))
	p.await("settled", p.settled)
	p.retire(2)
	p.open(p.joiner(3))
	p.await("settled", p.settled)
	before := p.any().meta.Image().Brokers()

	elsewhere := func(cfg Config) Config { // and it asks broker 1
		cfg.DataDir += "-other"
		cfg.Join = []string{p.brokers[1].self.Raft}
		return cfg
	}
	require.ErrorContains(t, p.refused(elsewhere(p.joiner(2))), "was retired")
	require.ErrorContains(t, p.refused(elsewhere(p.joiner(3))), "with another data directory")
	require.ErrorContains(t, p.refused(elsewhere(p.joiner(1))), "two brokers use one ID")
	other := p.joiner(4)
	other.Cluster = "other"
	require.ErrorContains(t, p.refused(other), "belongs to cluster")
	require.ErrorContains(t, p.refused(p.impostor(5)), "certificate")
	require.Equal(t, before, p.any().meta.Image().Brokers())
	p.closeAll()
}

// impostor is the configuration of a broker whose certificate names another one.
func (p *party) impostor(id protocol.BrokerID) Config {
	p.t.Helper()
	cfg := p.joiner(id)
	ca, err := pki.EnsureCA(cfg.TLS.DevDir)
	require.NoError(p.t, err)
	files, err := pki.Issue(cfg.TLS.DevDir, pki.BrokerName(id+1), []string{"127.0.0.1"}, pki.Peer)
	require.NoError(p.t, err)
	cfg.TLS = TLSConfig{CA: ca, Cert: files.Cert, Key: files.Key}
	return cfg
}

// TestJoinWithoutAnAnswerEndsWithItsContext, and a later try, of the same directory, joins.
func TestJoinWithoutAnAnswerEndsWithItsContext(t *testing.T) {
	defer goleak.VerifyNone(t)
	p := newParty(t, 1)
	cfg := p.joiner(2)
	there := cfg.Join
	cfg.Join = []string{free(t, "tcp")}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := Open(ctx, cfg)
	require.ErrorContains(t, err, `answered as a broker of cluster "trunkline"`)
	require.ErrorContains(t, err, cfg.Join[0])
	cfg.Join = append(cfg.Join, there...)
	p.open(cfg)
	p.await("joined", p.settled)
	p.closeAll()
}

// TestJoinAfterACrash: the broker was registered, and died before it had written that down.
func TestJoinAfterACrash(t *testing.T) {
	defer goleak.VerifyNone(t)
	p := newParty(t, 1)
	cfg := p.joiner(2)
	dir, err := openDataDir(cfg.WithDefaults())
	require.NoError(t, err)
	require.NoError(t, p.any().meta.RegisterBroker(t.Context(), meta.Broker{
		ID: 2, Listen: "127.0.0.1:1", Admin: "127.0.0.1:2", RaftAddr: "127.0.0.1:3", DirID: meta.DirID(dir.id.DirID), State: meta.Active,
		Levels: meta.Understood(), // or it would be refused by a founder that has finalised itself already
	}))
	require.False(t, dir.id.formed())
	require.NoError(t, dir.close())
	p.open(cfg)
	p.await("joined", p.settled)
	now, _ := p.any().meta.Image().Broker(2)
	require.Equal(t, cfg.Members[0].Raft, now.RaftAddr)
	p.closeAll()
}

// TestABrokerKnowsTheClusterByItself: after it has joined, or founded it, the configuration of the others does not count.
func TestABrokerKnowsTheClusterByItself(t *testing.T) {
	defer goleak.VerifyNone(t)
	p := newParty(t, 2)
	joiner, founder := p.joiner(3), p.founder(1)
	p.open(joiner)
	p.topic("calls", 1, 3)
	p.publish(3)
	p.await("settled", p.settled)
	book := p.brokers[3].known.addresses(0, nil)
	p.close(3)
	joiner.Join = []string{free(t, "tcp")} // nobody is there
	p.open(joiner)
	p.publish(3)
	p.await("it is back", p.settled)
	require.Equal(t, book, p.brokers[3].known.addresses(0, nil))

	p.close(1)
	founder.Members = founder.Members[:1] // it forgets the other founder
	p.open(founder)
	p.publish(3)
	p.await("it is back", p.settled)
	p.closeAll()
}

// TestABrokerMoves: all others learn where it is from its handshakes, also when the metadata has no majority without those that moved.
func TestABrokerMoves(t *testing.T) {
	defer goleak.VerifyNone(t)
	p := newParty(t, 3)
	p.topic("calls", 1, 3)
	p.publish(3)
	p.await("settled", p.settled)
	for _, all := range [][]protocol.BrokerID{{3}, {1, 2}} { // one of them, and so many that the rest is no majority
		configs := map[protocol.BrokerID]Config{}
		for _, id := range all {
			configs[id] = p.brokers[id].cfg
			p.close(id)
		}
		for _, id := range all {
			cfg := configs[id]
			p.members[id-1].Raft = free(t, "tcp")
			cfg.Members = []Member{p.members[id-1]} // it finds the others where they were
			cfg.RaftListen = p.members[id-1].Raft
			p.open(cfg)
		}
		p.publish(3)
		p.await("it is back", p.settled)
		for _, id := range all {
			m, _ := p.any().meta.Image().Broker(id)
			require.Equal(t, p.members[id-1].Raft, m.RaftAddr)
		}
	}
	p.closeAll()
}

// goOn checks that no broker has found that it cannot go on.
func (p *party) goOn() {
	p.t.Helper()
	for id, b := range p.brokers {
		select {
		case err := <-b.fatal:
			require.NoError(p.t, err, "broker %d", id)
		default:
		}
	}
}

// TestANewBrokerWhereADeadOneWas: the others look for the dead one there, and are told whom they meet. That is no reason to stop, neither while
// it is missed nor, at a start with the configuration of long ago, when it has left for good.
func TestANewBrokerWhereADeadOneWas(t *testing.T) {
	defer goleak.VerifyNone(t)
	p := newParty(t, 3)
	p.topic("calls", 1, 3)
	p.publish(3)
	p.await("settled", p.settled)
	p.close(2)
	heir := p.joiner(4)
	heir.Members = []Member{{ID: 4, Listen: p.members[1].Listen, Raft: p.members[1].Raft, Admin: p.members[1].Admin}}
	p.open(heir)
	require.NoError(t, p.brokers[1].meta.SetBrokerState(t.Context(), 2, 0, meta.Leaving))
	p.await("2 is replaced", func() bool { return p.any().meta.Image().Retired(2) && p.settled() })
	p.publish(3)
	p.goOn()

	p.close(1)
	again := p.open(p.founder(1)) // whose members still name 2
	p.await("it is back", p.settled)
	require.NotContains(t, again.peers(), protocol.BrokerID(2))
	p.publish(3)
	p.goOn()
	p.closeAll()
}

// TestARetiredBrokerStops, when it happens and at every start after it.
func TestARetiredBrokerStops(t *testing.T) {
	defer goleak.VerifyNone(t)
	p := newParty(t, 1)
	cfg := p.joiner(2)
	p.open(cfg)
	p.await("settled", p.settled)
	p.retire(2)
	for range 2 {
		b, err := Open(t.Context(), cfg)
		require.NoError(t, err, "what it remembers is older")
		err = ended(t, b)
		require.ErrorContains(t, err, "data_dir")
		require.ErrorContains(t, err, "can be deleted")
	}
	// One that was down meanwhile learns it as well.
	cfg = p.joiner(3)
	p.open(cfg)
	p.await("settled", p.settled)
	p.close(3)
	require.NoError(t, p.any().meta.SetBrokerState(t.Context(), 3, 0, meta.Leaving))
	p.await("retired", func() bool { return p.any().meta.Image().Retired(3) })
	b, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	require.ErrorContains(t, ended(t, b), "can be deleted")
	p.closeAll()
}

func TestAnOldImageDoesNotShrinkTheBook(t *testing.T) {
	cfg := alone(t.TempDir()).WithDefaults()
	dir, err := openDataDir(cfg)
	require.NoError(t, err)
	r := newRegistry(dir, meta.Understood())
	require.False(t, r.formed())
	full := map[protocol.BrokerID]peer{1: {Raft: "a:1", Dir: dirID{1}}, 2: {Raft: "b:1", Dir: dirID{2}}, 3: {Raft: "c:1", Dir: dirID{3}}}
	learn := func(version uint64, book map[protocol.BrokerID]peer) bool {
		news, err := r.learn(version, 0, book)
		require.NoError(t, err)
		return news
	}
	require.True(t, learn(7, map[protocol.BrokerID]peer{2: full[2]}))
	require.False(t, r.formed(), "it knows another one, and is not registered itself")
	require.True(t, learn(9, full))
	require.True(t, r.formed())
	require.False(t, learn(10, full), "nothing is new")
	require.False(t, learn(3, map[protocol.BrokerID]peer{1: full[1]}), "the image of a replay")
	require.False(t, learn(11, nil), "there is no image yet")
	require.NoError(t, dir.close())

	dir, err = openDataDir(cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, dir.close()) }()
	r = newRegistry(dir, meta.Understood())
	require.Equal(t, map[protocol.BrokerID]string{2: "b:1", 3: "c:1"}, r.addresses(1, nil))
	require.False(t, learn(8, map[protocol.BrokerID]peer{1: full[1]}), "nor after a restart")
	require.True(t, learn(9, full), "founders of the configuration that left do not count from here on")
	require.False(t, learn(9, full))
	require.True(t, learn(12, map[protocol.BrokerID]peer{1: full[1], 2: full[2]}), "a broker was retired")

	text, err := os.ReadFile(filepath.Join(cfg.DataDir, "identity.json"))
	require.NoError(t, err)
	var id identity
	require.NoError(t, json.Unmarshal(text, &id))
	require.Equal(t, dir.id, id, "it is on the disk")
}

// TestWhereBrokersSayTheyAre counts until they have registered there, and only if they are who was registered.
func TestWhereBrokersSayTheyAre(t *testing.T) {
	dir, err := openDataDir(alone(t.TempDir()).WithDefaults())
	require.NoError(t, err)
	defer func() { require.NoError(t, dir.close()) }()
	r := newRegistry(dir, meta.Understood())
	book := map[protocol.BrokerID]peer{2: {Raft: "b:1", Dir: dirID{2}}, 3: {Raft: "c:1", Dir: dirID{3}}}
	learn := func(version uint64) {
		_, err := r.learn(version, 0, book)
		require.NoError(t, err)
	}
	learn(1)
	says := func(id protocol.BrokerID, dir byte, addr string) (moved bool) {
		r.check(raftnet.PeerHello{Broker: id, DirID: [16]byte{dir}, Addr: addr})
		select {
		case <-r.moved:
			return true
		default:
			return false
		}
	}
	require.False(t, says(2, 2, "b:1"))
	require.False(t, says(2, 9, "x:1"), "another directory")
	require.False(t, says(7, 7, "x:1"), "nobody that is known")
	require.False(t, says(2, 2, "x"), "no address")
	require.False(t, says(2, 2, ""))
	require.True(t, says(2, 2, "b:2"))
	require.False(t, says(2, 2, "b:2"))
	require.True(t, says(3, 3, "c:2"))
	require.Equal(t, map[protocol.BrokerID]string{2: "b:2", 3: "c:2"}, r.addresses(1, nil))
	book[2] = peer{Raft: "b:3", Dir: dirID{2}}
	learn(2)
	require.Equal(t, map[protocol.BrokerID]string{2: "b:3", 3: "c:2"}, r.addresses(1, nil), "what it registered since counts")
	require.True(t, says(3, 3, "c:1"), "it is back")
	require.Equal(t, map[protocol.BrokerID]string{2: "b:3", 3: "c:1"}, r.addresses(1, nil))
}

func TestWhoKnocks(t *testing.T) {
	dir, err := openDataDir(alone(t.TempDir()).WithDefaults())
	require.NoError(t, err)
	defer func() { require.NoError(t, dir.close()) }()
	dir.id.Founders = []protocol.BrokerID{1, 2, 3}
	r := newRegistry(dir, meta.Understood())
	_, err = r.learn(1, 0, map[protocol.BrokerID]peer{2: {Raft: "b:1", Dir: dirID{2}}})
	require.NoError(t, err)
	require.Nil(t, r.check(raftnet.PeerHello{Broker: 2, DirID: [16]byte{2}}))
	require.Nil(t, r.check(raftnet.PeerHello{Broker: 7, DirID: [16]byte{7}}), "nobody knows it yet")
	wiped := r.check(raftnet.PeerHello{Broker: 2, DirID: [16]byte{9}})
	require.Equal(t, raftnet.RejectWipedDirectory, wiped.Code)
	require.Contains(t, wiped.Reason, "trunkline broker replace 2 --with")
	members := []Member{{ID: 1, Raft: "a:1"}, {ID: 2, Raft: "x:1"}, {ID: 3, Raft: "c:1"}, {ID: 4, Raft: "d:1"}}
	require.Equal(t, map[protocol.BrokerID]string{2: "b:1", 3: "c:1"}, r.addresses(1, members), "what was learned counts, then who founds")
	r.follow(func(b protocol.BrokerID) bool { return b == 3 })
	require.Equal(t, raftnet.RejectRetired, r.check(raftnet.PeerHello{Broker: 3}).Code)
	require.Equal(t, map[protocol.BrokerID]string{2: "b:1"}, r.addresses(1, members))
}

func TestRequestsToJoinAreChecked(t *testing.T) {
	b := &Broker{}
	for text, want := range map[string]string{
		"nonsense":               "not understood",
		`{"raft": "nowhere"}`:    "host:port",
		`{"raft": "0.0.0.0:17"}`: "cannot be dialled",
		`{"raft": "host:0"}`:     "port 0",
	} {
		var answer joinAnswer
		require.NoError(t, json.Unmarshal(b.onJoin(t.Context(), raftnet.PeerHello{Broker: 4}, []byte(text)), &answer))
		require.False(t, answer.Code.Retryable())
		require.Contains(t, answer.Message, want)
		require.Empty(t, answer.Brokers)
	}
}
