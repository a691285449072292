package meta

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

func tp(topic, partition int) protocol.TopicPartition {
	return protocol.TopicPartition{Topic: protocol.TopicID(topic), Partition: protocol.Partition(partition)}
}

func TestLeadersNewerWins(t *testing.T) {
	l := NewLeaders()
	require.True(t, l.Observe(tp(1, 0), 2, 5))
	require.False(t, l.Observe(tp(1, 0), 3, 5), "the same epoch is no news")
	require.False(t, l.Observe(tp(1, 0), 3, 4))
	require.False(t, l.Observe(tp(1, 0), 0, 9), "nobody is no leader")
	require.False(t, l.Observe(tp(1, 1), 1, 0))
	require.True(t, l.Observe(tp(1, 0), 3, 6))
	b, e := l.Leader(tp(1, 0))
	require.Equal(t, protocol.BrokerID(3), b)
	require.Equal(t, protocol.Epoch(6), e)
	b, e = l.Leader(tp(9, 9))
	require.Zero(t, b)
	require.Zero(t, e)
}

// A follower that takes now and then ends up with the same table, and sees no partition twice in one batch.
func TestLeadersFollowersConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := NewLeaders()
		sub := l.Follow()
		seen := map[protocol.TopicPartition]wire.Leader{}
		take := func() {
			batch := sub.Take()
			in := map[protocol.TopicPartition]bool{}
			for _, w := range batch {
				k := protocol.TopicPartition{Topic: w.Topic, Partition: w.Partition}
				require.False(t, in[k])
				in[k] = true
				require.Greater(t, w.Epoch, seen[k].Epoch)
				seen[k] = w
			}
		}
		for range rapid.IntRange(0, 100).Draw(t, "steps") {
			if rapid.IntRange(0, 4).Draw(t, "take") == 0 {
				take()
				continue
			}
			l.Observe(tp(rapid.IntRange(1, 3).Draw(t, "topic"), rapid.IntRange(0, 2).Draw(t, "partition")),
				protocol.BrokerID(rapid.IntRange(1, 3).Draw(t, "leader")), protocol.Epoch(rapid.IntRange(1, 9).Draw(t, "epoch")))
		}
		take()
		require.Nil(t, sub.Take())
		all := l.All()
		require.Len(t, all, len(seen))
		for _, w := range all {
			require.Equal(t, w, seen[protocol.TopicPartition{Topic: w.Topic, Partition: w.Partition}])
		}
	})
}

// A follower that waits is woken by news and by nothing else.
func TestLeadersReady(t *testing.T) {
	l := NewLeaders()
	l.Observe(tp(1, 0), 1, 1)
	sub := l.Follow()
	<-sub.Ready()
	require.Len(t, sub.Take(), 1)
	const n = 500
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			l.Observe(tp(2, i%10), 1, protocol.Epoch(i+1))
		}
	})
	last := map[protocol.Partition]protocol.Epoch{}
	for last[9] != n {
		<-sub.Ready()
		for _, w := range sub.Take() {
			require.Equal(t, protocol.TopicID(2), w.Topic)
			last[w.Partition] = w.Epoch
		}
	}
	wg.Wait()
	require.Len(t, last, 10)
	ready := sub.Ready()
	l.Observe(tp(2, 0), 1, 1)
	select {
	case <-ready:
		t.Fatal("old news woke the follower")
	default:
	}
}

func TestLeadersOfTopicsThatCameAndWent(t *testing.T) {
	s := brokers(t, 1)
	l := NewLeaders()
	l.Retain(s.image)
	s.apply(create("a", 2, 1, 1))
	s.apply(create("b", 1, 1, 2))
	require.True(t, l.Observe(tp(1, 1), 1, 1))
	require.True(t, l.Observe(tp(2, 0), 1, 1))
	old := s.image
	s.apply(&command{remove: &removeTopic{3, wire.DeleteTopic{Name: "a"}}})
	l.Retain(s.image) // topic a was never seen in an image
	_, ok := l.Get(tp(1, 1))
	require.False(t, ok)
	_, ok = l.Get(tp(2, 0))
	require.True(t, ok)
	l.Retain(old)
	require.False(t, l.Observe(tp(1, 1), 1, 2), "an older image does not bring it back")
	require.True(t, l.Observe(tp(7, 0), 1, 2), "a topic that no image has shown yet")
}

func TestAnnouncements(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := []int{0, 1, 3, maxAnnounced, maxAnnounced + 1, 3 * maxAnnounced}
		in := make([]wire.Leader, rapid.SampledFrom(sizes).Draw(t, "n"))
		for i := range in {
			in[i] = wire.Leader{
				Topic: protocol.TopicID(i + 1), Partition: protocol.Partition(i * 7),
				Leader: protocol.BrokerID(i%3 + 1), Epoch: protocol.Epoch(i * i),
			}
		}
		out := []wire.Leader{}
		for _, b := range EncodeLeaders(in) {
			require.LessOrEqual(t, len(b), MaxAnnounceBytes)
			batch, err := DecodeLeaders(b)
			require.NoError(t, err)
			out = append(out, batch...)
		}
		require.Equal(t, in, out)
	})
}

func TestReceiveTakesOnlyTheSendersOwn(t *testing.T) {
	l := NewLeaders()
	payload := EncodeLeaders([]wire.Leader{
		{Topic: 1, Partition: 0, Leader: 2, Epoch: 1}, {Topic: 1, Partition: 1, Leader: 3, Epoch: 1},
	})[0]
	require.NoError(t, l.Receive(2, payload))
	require.Len(t, l.All(), 1)
	require.ErrorContains(t, l.Receive(2, payload[:9]), "broker 2")
}

func FuzzDecodeLeaders(f *testing.F) {
	f.Add(EncodeLeaders([]wire.Leader{{Topic: 1, Partition: 2, Leader: 3, Epoch: 4}})[0])
	f.Fuzz(func(t *testing.T, b []byte) {
		leaders, err := DecodeLeaders(b)
		if err != nil || len(leaders) == 0 {
			return
		}
		require.Equal(t, b, EncodeLeaders(leaders)[0])
	})
}
