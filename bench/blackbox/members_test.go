package blackbox

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/protocol"
)

// TestMembersChangeUnderTraffic: a broker joins and gets replicas, a founder is decommissioned, ends by itself and is removed; every
// record is kept once and in order, on as many brokers as before.
func TestMembersChangeUnderTraffic(t *testing.T) {
	e := up(t, 3, map[string]string{"moves.calm_after": "500ms"})
	const partitions = 4
	e.createTopic(t, "t", partitions, 3)
	sub, err := e.client.Subscribe(deadline(t, 20*time.Second), "t", "s")
	require.NoError(t, err)
	s := e.startStream(t, "t", partitions, 2*time.Millisecond)
	eventually(t, 20*time.Second, func() error { return atLeast(s.acked(), 200) })

	joined, err := e.Join(deadline(t, 30*time.Second))
	require.NoError(t, err)
	require.Equal(t, 4, joined)
	eventually(t, 30*time.Second, func() error { return e.holds(t, "t", joined, 3*partitions/4) })
	before := s.acked()
	eventually(t, 20*time.Second, func() error { return atLeast(s.acked(), before+200) })

	out, errs, err := e.cli(t, "", "broker", "decommission", "1", "--wait", "30s")
	require.NoError(t, err, errs)
	require.Contains(t, out, "broker 1: retired")
	eventually(t, 10*time.Second, func() error {
		if b, err := e.Broker(1); err != nil || b.PID != 0 {
			return fmt.Errorf("broker 1 (pid %d) was retired and runs: %w", b.PID, err)
		}
		return nil
	})
	text, err := os.ReadFile(e.Log(1))
	require.NoError(t, err)
	require.Regexp(t, `was decommissioned|was retired`, string(text), "it says why it ends")
	require.NoError(t, e.Remove(1))
	require.NoError(t, e.holds(t, "t", joined, partitions))

	before = s.acked()
	eventually(t, 20*time.Second, func() error { return atLeast(s.acked(), before+200) })
	h := s.finish(t)
	require.Len(t, e.Brokers(), 3)
	e.requireKept(t, "t", h)
	requireDelivered(t, sub, len(h[0]))
}

// holds returns an error unless no replica moves and a broker has at least n of a topic.
func (e *env) holds(t *testing.T, topic string, broker, n int) error {
	t.Helper()
	ctx := deadline(t, 5*time.Second)
	moves, err := e.client.Admin().Moves(ctx)
	if err == nil && len(moves) > 0 {
		err = fmt.Errorf("%d moves are under way", len(moves))
	}
	if err != nil {
		return err
	}
	d, err := e.client.Admin().DescribeTopic(ctx, topic)
	if err != nil {
		return err
	}
	has := 0
	for _, p := range d.Partitions {
		if slices.Contains(p.Replicas, protocol.BrokerID(broker)) {
			has++
		}
	}
	return atLeast(has, n)
}
