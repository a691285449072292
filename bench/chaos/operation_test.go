package chaos

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/observe"
	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// placement describes one partition with a leader's end and what each of its replicas holds; less than 0: it does not answer.
func placement(end protocol.Offset, held map[protocol.BrokerID]protocol.Offset) *client.TopicDescription {
	p := client.PartitionDescription{Next: end}
	for b := protocol.BrokerID(1); b < 9; b++ {
		next, there := held[b]
		if !there {
			continue
		}
		s := client.ReplicaState{Broker: b, Next: next, Epoch: 1, Applied: uint64(next)}
		if int64(next) < 0 {
			s = client.ReplicaState{Broker: b, Err: errors.New("no answer")}
		}
		p.Replicas, p.States = append(p.Replicas, b), append(p.States, s)
	}
	return &client.TopicDescription{Partitions: []client.PartitionDescription{p}}
}

type held = map[protocol.BrokerID]protocol.Offset

func TestReplicaThatCountsTooEarlyIsFound(t *testing.T) {
	silent := protocol.Offset(1<<64 - 1)
	for name, c := range map[string]struct {
		after   time.Duration // of the first look
		before  held
		now     held
		judged  int64
		says    string
		between held // in a look just before the last one
	}{
		"it has caught up":             {after: 6 * time.Second, now: held{1: 900, 2: 900, 4: 500}, judged: 1},
		"it has not":                   {after: 6 * time.Second, now: held{1: 900, 2: 900, 4: 499}, judged: 1, says: "broker 4 counts as a replica with 499 messages, 6s before there were 500"},
		"it is empty":                  {after: 6 * time.Second, now: held{1: 900, 2: 900, 4: 0}, judged: 1, says: "with 0 messages"},
		"too early to say":             {after: time.Second, now: held{1: 900, 2: 900, 4: 0}, judged: 1},
		"one that was there may lag":   {after: 6 * time.Second, now: held{1: 900, 2: 900, 3: 0}},
		"it does not answer":           {after: 6 * time.Second, now: held{1: 900, 2: 900, 4: silent}},
		"it answers later":             {after: 6 * time.Second, between: held{1: 900, 2: 900, 4: silent}, now: held{1: 900, 2: 900, 4: 0}, judged: 1, says: "with 0 messages"},
		"it went away and is another":  {after: 6 * time.Second, between: held{1: 900, 2: 900}, now: held{1: 900, 2: 900, 3: 0}, judged: 1, says: "broker 3 counts"},
		"it was down and is the same":  {after: 6 * time.Second, between: held{1: 900, 2: 900, 3: silent}, now: held{1: 900, 2: 900, 3: 0}},
		"one more, and all caught up":  {after: 6 * time.Second, now: held{1: 900, 2: 900, 3: 900, 4: 900}, judged: 1},
		"nothing has changed anywhere": {after: 6 * time.Second, now: held{1: 900, 2: 900, 3: 900}},
	} {
		t.Run(name, func(t *testing.T) {
			a, begun := newArrivals(), time.Now()
			require.Empty(t, a.look(placement(500, held{1: 500, 2: 500, 3: 500}), begun), "who was there from the beginning")
			if c.between != nil {
				require.Empty(t, a.look(placement(900, c.between), begun.Add(c.after-time.Millisecond)))
			}
			late := a.look(placement(900, c.now), begun.Add(c.after))
			require.Equal(t, c.judged, a.judged)
			if c.says == "" {
				require.Empty(t, late)
				return
			}
			require.Len(t, late, 1)
			require.Contains(t, late[0], c.says)
		})
	}
}

// TestArrivalsRememberLittle looks for an hour.
func TestArrivalsRememberLittle(t *testing.T) {
	a, now := newArrivals(), time.Now()
	for range 5 * 3600 {
		a.look(placement(1, held{1: 1}), now)
		now = now.Add(200 * time.Millisecond)
	}
	require.LessOrEqual(t, len(a.ends), int(arrivalLag/(200*time.Millisecond))+2)
}

func TestReplicaThatComesBackIsAnotherOne(t *testing.T) {
	both := []cluster.Broker{{ID: 1, PID: 7}, {ID: 2, PID: 8}}
	h, _ := aged(t, 0)
	h.states(placement(10, held{1: 10, 2: 10}), both, both)
	h.states(placement(10, held{2: 10}), both, both)
	h.states(placement(10, held{1: 3, 2: 10}), both, both[:1])
	require.Empty(t, broken(h, "progress"), "broker 1 has a new replica, and broker 2 left meanwhile")
	h.states(placement(10, held{1: 2}), both, both)
	require.Contains(t, broken(h, "progress"), "next offset went back from 3 to 2")
}

func TestReplicasAreSpreadEvenly(t *testing.T) {
	topicOf := func(partitions ...[]protocol.BrokerID) *client.TopicDescription {
		d := &client.TopicDescription{}
		for _, replicas := range partitions {
			p := client.PartitionDescription{}
			p.Replicas = replicas
			d.Partitions = append(d.Partitions, p)
		}
		return d
	}
	brokers := []cluster.Broker{{ID: 1}, {ID: 2}, {ID: 4}}
	require.NoError(t, spreadOver(topicOf([]protocol.BrokerID{1, 2}, []protocol.BrokerID{4, 1}), brokers))
	require.ErrorContains(t, spreadOver(topicOf([]protocol.BrokerID{1, 2}, []protocol.BrokerID{1, 2}), brokers), "map[1:2 2:2 4:0]")
	require.ErrorContains(t, spreadOver(topicOf([]protocol.BrokerID{1, 3}), brokers), "broker 3, which is gone")
}

func TestStepThatTakesTooLongIsAViolation(t *testing.T) {
	o := newOperation("grow", 1)
	require.NoError(t, o.within(t.Context(), time.Second, func(context.Context) error { return nil }))
	require.Empty(t, o.Violations())
	err := o.within(t.Context(), time.Millisecond, func(context.Context) error { return errors.New("broker 3 has 7 replicas") })
	require.ErrorContains(t, err, "not within 1ms: broker 3 has 7 replicas")
	require.Equal(t, []string{"grow: not within 1ms: broker 3 has 7 replicas"}, o.Violations())

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, o.within(ended, time.Second, func(context.Context) error { return errors.New("not yet") }))
	require.Len(t, o.Violations(), 1, "a run that was interrupted has broken nothing")
}

func TestRowsThatChangeMembersRunBesideThoseThatPrepareNothing(t *testing.T) {
	for _, name := range []string{"powercut", "far-leader", "silent", "bridge", "partkill", "diskfull-stop", "diskfreeze"} {
		o := Options{Rows: []string{"grow-shrink", name}}.WithDefaults()
		require.ErrorContains(t, o.validate(), "rows grow-shrink change which brokers there are and rows "+name+" prepare something for each before")
	}
	o := Options{Rows: []string{"members"}}.WithDefaults()
	require.NoError(t, o.validate())
	require.Equal(t, "1s", o.brokerConfig()["moves.calm_after"])
	for _, name := range []string{"grow-shrink-kill", "two-more", "replace", "roll", "leader", "sigkill-all", "oom", "failed-fsync", "churn", "named-producer"} {
		require.Contains(t, o.Rows, name)
	}
	require.NotContains(t, o.Rows, lostRow)
	all := Options{Rows: []string{"everything"}}.WithDefaults()
	require.NotContains(t, all.Rows, "replace")
	require.Contains(t, all.Rows, "roll")
	require.NotContains(t, all.brokerConfig(), "moves.calm_after")
}

func TestVictimsAreThoseThatThereAre(t *testing.T) {
	require.Equal(t, []int{7}, atPlaces([]int{3}, []int{2, 5, 7}))
	require.Equal(t, []int{2, 5, 7}, atPlaces([]int{1, 2, 3}, []int{2, 5, 7}))
	require.Equal(t, []int{2}, atPlaces([]int{3}, []int{2, 5}), "there are fewer")
	require.Empty(t, atPlaces(nil, []int{2, 5}), "nobody is hit")
	require.Equal(t, 5, next([]int{2, 5, 7}, 2))
	require.Equal(t, 2, next([]int{2, 5, 7}, 7))
}

func TestLogsOfBrokersThatLeftAreRead(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"left-3.log", "left-12.log", "other.log"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	logs, err := leftLogs(dir)
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(dir, "left-12.log"), filepath.Join(dir, "left-3.log")}, logs)
}

// TestMemoryIsComparedBetweenTheSameNumberOfBrokers: while there is one more it takes more.
func TestMemoryIsComparedBetweenTheSameNumberOfBrokers(t *testing.T) {
	var line []observe.Sample
	for i := range 1200 {
		s := observe.Sample{At: float64(i) / 4, Brokers: []observe.State{{Answers: true, RSS: 300 << 20}, {Answers: true, RSS: 300 << 20}}}
		if i > 600 { // broker 1 was replaced, and sometimes both are there
			s.Brokers[0].Answers = i%2 == 0
			s.Brokers = append(s.Brokers, observe.State{Answers: true, RSS: 300 << 20})
			if !s.Brokers[0].Answers {
				s.Brokers[0].RSS = 0
			}
		}
		line = append(line, s)
	}
	level := levelOf(line, 2)
	require.True(t, level.OK(), "%+v", level)
	require.EqualValues(t, 1, level.Checked)
}

func TestMovedLeaders(t *testing.T) {
	led := func(leaders ...protocol.BrokerID) *client.TopicDescription {
		d := &client.TopicDescription{}
		for _, l := range leaders {
			p := client.PartitionDescription{}
			p.Leader = l
			d.Partitions = append(d.Partitions, p)
		}
		return d
	}
	require.EqualValues(t, 2, movedLeaders(led(1, 1, 1, 0), led(2, 1, 0, 2)))
}
