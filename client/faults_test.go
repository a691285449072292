package client_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/client/internal/fakebroker"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// script deals out faults to batches in the order in which leaders read them.
type script struct {
	mu     sync.Mutex
	faults []fakebroker.Fault
}

func (s *script) next(protocol.TopicPartition, batch.Header) (f fakebroker.Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) > 0 {
		f, s.faults = s.faults[0], s.faults[1:]
	}
	return f
}

func drawFault(t *rapid.T) fakebroker.Fault {
	return fakebroker.Fault{
		Action: rapid.SampledFrom([]fakebroker.Action{
			fakebroker.Append, fakebroker.Append, fakebroker.Refuse, fakebroker.Swallow, fakebroker.LoseAck,
			fakebroker.LoseConn, fakebroker.AppendRefuse,
		}).Draw(t, "action"),
		Code: rapid.SampledFrom([]protocol.Code{
			protocol.CodeNotLeader, protocol.CodeOutcomeUnknown, protocol.CodeOverloaded, protocol.CodeTimeout,
			protocol.CodeUnavailable, protocol.CodeNoQuorum,
		}).Draw(t, "code"),
	}
}

// TestExactlyOnce: whatever happens to batches, answers, connections and leaders, every record is in the
// log once, in order, at the offset that its receipt says.
func TestExactlyOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &script{}
		for range rapid.IntRange(0, 12).Draw(t, "faults") {
			s.faults = append(s.faults, drawFault(t))
		}
		fc := start(t, fakebroker.Config{Produce: s.next, Lagging: rapid.Bool().Draw(t, "lagging")})
		fc.CreateTopic("t", 2)
		c := connect(t, fc)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		opts := []client.ProducerOption{
			client.WithMaxInFlight(rapid.SampledFrom([]int{1, 2, 5, 64}).Draw(t, "in flight")),
			client.WithBatchBytes(rapid.SampledFrom([]int{1, 150, 1000}).Draw(t, "batch")),
		}
		if rapid.Bool().Draw(t, "named") {
			opts = append(opts, client.WithProducerName("n"))
		}
		p, err := c.Producer(ctx, "t", opts...)
		require.NoError(t, err)

		n := rapid.IntRange(1, 60).Draw(t, "records")
		moves := rapid.SliceOfN(rapid.IntRange(0, n), 0, 4).Draw(t, "moves")
		type result struct {
			value   string
			receipt client.Receipt
		}
		var mu sync.Mutex
		var got [2][]result
		for i := range n {
			for j, at := range moves {
				if at == i {
					fc.Move("t", protocol.Partition(j%2), protocol.BrokerID(1+(i+j)%3), j%3 != 0)
				}
			}
			part := i % 2
			err := p.Send(ctx, record(part, i), func(r client.Receipt, err error) {
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Errorf("record %d: %v", i, err)
				}
				got[part] = append(got[part], result{string(value(i)), r})
			})
			require.NoError(t, err)
		}
		require.NoError(t, p.Close(ctx))
		for part := range got {
			log := fc.Log("t", protocol.Partition(part))
			require.Len(t, log, len(got[part]))
			for i, e := range log {
				require.Equal(t, got[part][i].value, e.Value, "order of results is order of the log")
				require.Equal(t, got[part][i].receipt.Offset, e.Offset)
				require.Equal(t, protocol.Sequence(i), e.Sequence)
			}
			for i := range log {
				require.Equal(t, string(value(2*i+part)), log[i].Value)
			}
		}
	})
}

// TestOutcomesAreTrue: callers give up at random times. NotAppended is never in the log, a receipt always,
// and Unknown at most once; what is in the log is in order.
func TestOutcomesAreTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &script{}
		for range rapid.IntRange(0, 10).Draw(t, "faults") {
			s.faults = append(s.faults, drawFault(t))
		}
		fc := start(t, fakebroker.Config{Produce: s.next})
		fc.CreateTopic("t", 1)
		c := connect(t, fc)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		p, err := c.Producer(ctx, "t", client.WithBatchBytes(100))
		require.NoError(t, err)
		n := rapid.IntRange(1, 40).Draw(t, "records")
		results := make([]error, n)
		for i := range n {
			rctx, stop := ctx, context.CancelFunc(func() {})
			if ms := rapid.IntRange(0, 6).Draw(t, "patience"); ms < 3 {
				rctx, stop = context.WithTimeout(ctx, time.Duration(ms)*time.Millisecond)
			}
			defer stop()
			if err := p.Send(rctx, record(0, i), func(_ client.Receipt, err error) { results[i] = err }); err != nil {
				results[i] = err
			}
		}
		require.NoError(t, p.Close(ctx))
		seen := make(map[string]int)
		last := ""
		for _, e := range fc.Log("t", 0) {
			seen[e.Value]++
			require.Less(t, last, e.Value, "order")
			last = e.Value
		}
		for i, err := range results {
			count := seen[string(value(i))]
			var pe *client.PublishError
			switch {
			case err == nil:
				require.Equal(t, 1, count, "record %d has a receipt", i)
			case !errors.As(err, &pe):
				t.Fatalf("record %d: %v", i, err)
			case pe.Outcome == client.NotAppended:
				require.Zero(t, count, "record %d: %v", i, err)
			default:
				require.LessOrEqual(t, count, 1, "record %d: %v", i, err)
			}
		}
	})
}

// TestBrokerThatPanics: a defect of a broker ends connections. Producers on them go on, unless it is over and over their own
// batch: then they are told, and the outcome is unknown.
func TestBrokerThatPanics(t *testing.T) {
	for panics, lives := range map[int]bool{1: true, 4: true, 8: false} {
		t.Run(fmt.Sprint(panics), func(t *testing.T) {
			s := &script{}
			for range panics {
				s.faults = append(s.faults, fakebroker.Fault{Action: fakebroker.Panic})
			}
			fc := start(t, fakebroker.Config{Produce: s.next})
			fc.CreateTopic("t", 1)
			c := connect(t, fc)
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			p, err := c.Producer(ctx, "t")
			require.NoError(t, err)
			_, err = p.Publish(ctx, record(0, 1))
			if lives {
				require.NoError(t, err)
			} else {
				var pe *client.PublishError
				require.ErrorAs(t, err, &pe)
				require.Equal(t, client.Unknown, pe.Outcome)
			}
			require.Len(t, fc.Log("t", 0), 1)
			require.NoError(t, p.Close(ctx))
		})
	}
}

// TestConsumerFaults: a consumer keeps receiving each record once and in order while leaders move, die and
// connections break, as long as it is the only one.
func TestConsumerFaults(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fc := start(t, fakebroker.Config{Lagging: rapid.Bool().Draw(t, "lagging")})
		fc.CreateTopic("t", 2)
		c := connect(t, fc)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		p, err := c.Producer(ctx, "t", client.WithBatchBytes(120))
		require.NoError(t, err)
		s, err := c.Subscribe(ctx, "t", "s",
			client.WithCredit(rapid.SampledFrom([]int{1, 500, 1 << 20}).Draw(t, "credit")),
			client.WithMaxUnacked(rapid.SampledFrom([]int{3, 10_000}).Draw(t, "unacked")))
		require.NoError(t, err)

		n := rapid.IntRange(1, 80).Draw(t, "records")
		step := rapid.SampledFrom([]string{"", "", "", "move", "quiet", "drop", "kill"})
		steps := rapid.SliceOfN(step, n, n).Draw(t, "steps")
		for i := range n {
			require.NoError(t, p.Send(ctx, record(i%2, i), nil))
		}
		next := [2]int{0, 1}
		var held []*client.Message
		dead := protocol.BrokerID(0)
		for i := range n {
			node := protocol.BrokerID(1 + i%3)
			switch steps[i] {
			case "move", "quiet":
				if node != dead {
					fc.Move("t", protocol.Partition(i%2), node, steps[i] == "move")
				}
			case "drop":
				if node != dead {
					fc.DropConns(node)
				}
			case "kill":
				if dead != 0 {
					require.NoError(t, fc.Restart(dead))
				}
				dead = node
				fc.Kill(dead)
				fc.FailOver(dead)
			}
			m, err := s.Receive(ctx)
			require.NoError(t, err, "record %d", i)
			require.Equal(t, string(value(next[m.Partition])), string(m.Value), "partition %d", m.Partition)
			next[m.Partition] += 2
			if held = append(held, m); len(held) == 3 { // out of order, in part
				require.NoError(t, s.Ack(held[2], held[0], held[1]))
				held = nil
			}
		}
		require.NoError(t, s.Ack(held...))
		require.NoError(t, s.Commit(ctx))
		require.NoError(t, s.Close(ctx))
		total := protocol.Offset(0)
		for part := range protocol.Partition(2) {
			cursor, _ := fc.Cursor("t", part, "s")
			total += cursor
		}
		require.Equal(t, protocol.Offset(n), total, fmt.Sprint(steps))
	})
}
