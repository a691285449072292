package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// fakeCluster is whole but for what the test breaks. Things that take their time are done after two looks.
type fakeCluster struct {
	*clusterFacts
	t        *testing.T
	log      []string
	starting protocol.BrokerID // it does not answer for so many looks
	looks    int
	stays    bool // restarts keep the old process
	lags     bool // restarted brokers lack records for good
}

func (f *fakeCluster) broker(id protocol.BrokerID) *client.BrokerStatus { return find(f.brokers, id) }

func (f *fakeCluster) ClusterStatus(context.Context) ([]client.BrokerStatus, error) {
	f.looks++
	if f.looks%2 == 0 {
		for i := range f.brokers {
			b := &f.brokers[i]
			if b.State == protocol.BrokerDrained {
				b.Leading = max(len(f.heirless(b.ID)), b.Leading-1)
			}
		}
		if b := f.broker(f.starting); b != nil {
			b.Err, b.Uptime, f.starting = nil, 0, 0
			if f.lags {
				f.brokers[0].BehindTotal, f.brokers[0].Behind = 1, []client.AilingPartition{{Topic: 1, Brokers: []protocol.BrokerID{b.ID}}}
			}
		}
	}
	out := append([]client.BrokerStatus{}, f.brokers...)
	return out, nil
}

func (f *fakeCluster) ListTopics(context.Context) ([]client.Topic, error) { return f.topics, nil }
func (f *fakeCluster) Moves(context.Context) ([]client.Move, error) {
	return make([]client.Move, f.moves), nil
}

func (f *fakeCluster) SetBrokerState(_ context.Context, id protocol.BrokerID, s protocol.BrokerState) error {
	f.log = append(f.log, fmt.Sprintf("%d %s", id, s))
	f.broker(id).State = s
	return nil
}

// restart checks what must hold when a broker is stopped.
func (f *fakeCluster) restart(_ context.Context, b client.BrokerStatus) error {
	f.log = append(f.log, fmt.Sprintf("%d restart", b.ID))
	for _, other := range f.brokers {
		require.NoError(f.t, other.Err)
		require.Equal(f.t, other.ID == b.ID, other.State == protocol.BrokerDrained)
	}
	require.Equal(f.t, len(f.heirless(b.ID)), f.broker(b.ID).Leading, "it leads something that others can lead")
	if !f.stays {
		f.broker(b.ID).Err, f.starting = errors.New("no connection"), b.ID
	}
	return nil
}

func newRoll(t *testing.T) (*fakeCluster, *roller, *bytes.Buffer) {
	f := &fakeCluster{clusterFacts: whole(), t: t}
	for i := range f.brokers {
		f.brokers[i].Leading = 2
	}
	out := &bytes.Buffer{}
	return f, &roller{
		admin: f, out: out, restart: f.restart, what: func(b client.BrokerStatus) string { return expand("restart {id}", b.Broker) },
		wait: 200 * time.Millisecond, firstWait: 10 * time.Millisecond, every: time.Millisecond, skip: map[protocol.BrokerID]bool{},
	}, out
}

func TestRollGoesOneByOneAndTheMetadataLeaderLast(t *testing.T) {
	f, r, out := newRoll(t)
	require.NoError(t, r.roll(t.Context()))
	require.Equal(t, []string{
		"2 drained", "2 restart", "2 active", "3 drained", "3 restart", "3 active", "1 drained", "1 restart", "1 active",
	}, f.log)
	require.Contains(t, out.String(), "all brokers are restarted")
	require.Contains(t, out.String(), "broker 2: waiting: it leads")
}

// TestRollRefuses: something is in the way before anything was touched.
func TestRollRefuses(t *testing.T) {
	for says, change := range map[string]func(*fakeCluster){
		"broker 3 does not answer":          func(f *fakeCluster) { f.die(3, time.Second) },
		"broker 3 is drained":               func(f *fakeCluster) { f.brokers[2].State = protocol.BrokerDrained },
		"broker 1 does not serve: starting": func(f *fakeCluster) { f.brokers[0].NotReady = "starting" },
		"2 moves of replicas under way":     func(f *fakeCluster) { f.moves = 2 },
		"for instance of (metadata) on broker 2": func(f *fakeCluster) {
			f.brokers[0].BehindTotal, f.brokers[0].Behind = 1, []client.AilingPartition{{Brokers: []protocol.BrokerID{2}}}
		},
		"there is no leader for 1 partition": func(f *fakeCluster) {
			f.brokers[0].LeaderlessTotal, f.brokers[0].Leaderless = 1, []client.AilingPartition{{Topic: 1}}
		},
		"broker 2 cannot be missed by 1 partition":   func(f *fakeCluster) { f.topics[0].Partitions[3].Replicas = []protocol.BrokerID{1, 2} },
		"cannot be missed by 1 partition with fewer": func(f *fakeCluster) { f.brokers[0].MetadataVoters = []protocol.BrokerID{1, 2} },
		"the metadata has no leader": func(f *fakeCluster) {
			for i := range f.brokers {
				f.brokers[i].MetadataLeader = 0
			}
		},
	} {
		f, r, _ := newRoll(t)
		change(f)
		err := r.roll(t.Context())
		require.ErrorContains(t, err, says)
		require.ErrorContains(t, err, "nothing was done to it")
		require.Empty(t, f.log)

		f, r, out := newRoll(t)
		change(f)
		require.ErrorContains(t, r.rehearse(t.Context()), "would not begin now")
		require.Contains(t, out.String(), says)
		require.Empty(t, f.log)
	}
}

// TestRollMayAcceptPauses: a partition with one replica keeps its leader until that is restarted.
func TestRollMayAcceptPauses(t *testing.T) {
	f, r, out := newRoll(t)
	f.topics[0].Partitions[3].Replicas = []protocol.BrokerID{1}
	r.pauses = true
	require.NoError(t, r.roll(t.Context()))
	require.Contains(t, out.String(), "broker 1: 1 partition will pause while it is down, since no other active broker has a replica: calls/3")
	require.NotContains(t, out.String(), "broker 2: 1 partition will pause")
}

// TestRollDoesNotPauseUnasked: somebody drained the other brokers meanwhile.
func TestRollDoesNotPauseUnasked(t *testing.T) {
	f, r, _ := newRoll(t)
	f.brokers[0].State, f.brokers[2].State, f.brokers[1].State = protocol.BrokerDrained, protocol.BrokerDrained, protocol.BrokerDrained
	require.ErrorContains(t, r.drained(t.Context(), 2), "1 partition will pause")
	r.pauses = true
	require.NoError(t, r.drained(t.Context(), 2))
}

// TestRollStopsAndGoesOn: at the first problem the broker stays as it is, and a roll that leaves the others out ends the work.
func TestRollStopsAndGoesOn(t *testing.T) {
	f, r, _ := newRoll(t)
	r.restart = func(ctx context.Context, b client.BrokerStatus) error {
		if b.ID == 3 {
			return errors.New("unit not found")
		}
		return f.restart(ctx, b)
	}
	err := r.roll(t.Context())
	require.ErrorContains(t, err, "the roll stopped at broker 3 (it is drained, and the command that restarts it did not succeed): unit not found")
	require.ErrorContains(t, err, "with --skip 2;")
	require.ErrorContains(t, err, "trunkline broker undrain 3")
	require.Equal(t, protocol.BrokerDrained, f.broker(3).State)

	_, again, _ := newRoll(t)
	again.admin, again.restart, again.skip = f, f.restart, map[protocol.BrokerID]bool{2: true}
	f.log = nil
	require.NoError(t, again.roll(t.Context()))
	require.Equal(t, []string{"3 drained", "3 restart", "3 active", "1 drained", "1 restart", "1 active"}, f.log)
}

func TestRollWaitsForTheNewProcess(t *testing.T) {
	f, r, _ := newRoll(t)
	f.stays = true
	require.ErrorContains(t, r.roll(t.Context()), "its process is the old one, up for 1h0m0s")
	require.Equal(t, []string{"2 drained", "2 restart"}, f.log)
}

func TestRollWaitsForWhatIsLacking(t *testing.T) {
	f, r, _ := newRoll(t)
	f.lags = true
	require.ErrorContains(t, r.roll(t.Context()), "for instance of calls/0 on broker 2")
	require.Equal(t, []string{"2 drained", "2 restart"}, f.log, "the others are not touched")
}

func TestRollIsInterrupted(t *testing.T) {
	f, r, _ := newRoll(t)
	f.stays = true
	r.wait = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, r.roll(ctx), "interrupted")
}

func TestRehearsalChangesNothing(t *testing.T) {
	f, r, out := newRoll(t)
	require.NoError(t, r.rehearse(t.Context()))
	require.Empty(t, f.log)
	require.Equal(t, 3, strings.Count(out.String(), "\n"))
	require.Contains(t, out.String(), "3. broker 1: drain, `restart 1`, wait until it serves and has caught up, undrain")
}

// TestCommandsAreNotInjected: a broker chooses its addresses.
func TestCommandsAreNotInjected(t *testing.T) {
	b := client.Broker{ID: 7, Listen: "db-1.example:7400", Admin: "127.0.0.1:9"}
	require.Equal(t, "ssh db-1.example restart@7 db-1.example:7400 127.0.0.1:9", expand("ssh {host} restart@{id} {listen} {admin}", b))
	for _, evil := range []string{"$(touch x)", "a;b", "it's", "-oProxyCommand=x", "`x`", "", "[::1]:7400", "{id}"} {
		var out bytes.Buffer
		require.NoError(t, runCommand(t.Context(), expand("printf '%s' {admin}", client.Broker{ID: 7, Admin: evil}), time.Minute, &out))
		require.Equal(t, evil, out.String())
	}
}

func TestCommandsAreBounded(t *testing.T) {
	var out bytes.Buffer
	require.ErrorContains(t, runCommand(t.Context(), "echo why; exit 3", time.Minute, &out), "exit status 3: why")
	require.ErrorContains(t, runCommand(t.Context(), "sleep 60", 50*time.Millisecond, &out), "within 50ms")
	began := time.Now()
	require.NoError(t, runCommand(t.Context(), "sleep 5 & echo begun", time.Minute, &out), "what it leaves behind is not waited for")
	require.Less(t, time.Since(began), 4*time.Second)
	var last tail
	for range 3000 {
		_, _ = last.Write([]byte("0123456789"))
	}
	require.Len(t, last, maxCommandOutput)
}
