package session

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/transport"
	"github.com/trunkline/trunkline/broker/internal/transport/transporttest"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// TestAbandonedStreamsMakeRoom: a stream counts until both of its directions are over. However a client gives one up, and whatever the
// broker was doing then, it may open another.
func TestAbandonedStreamsMakeRoom(t *testing.T) {
	const streams, rounds = 4, 12
	bothAtOnce := func(l *lane) { l.Reset() }
	hearNoMore := func(l *lane) { // the broker meets that it is not heard before it learns that nothing more will be said
		l.CancelRead(0)
		time.Sleep(5 * time.Millisecond)
		l.CancelWrite(0)
	}
	sayNoMore := func(l *lane) {
		l.CancelWrite(0)
		time.Sleep(5 * time.Millisecond)
		l.CancelRead(0)
	}
	for name, open := range map[string]func(w *world, c *transporttest.Client) *lane{
		"consumer that is delivered to": func(w *world, c *transporttest.Client) *lane {
			l := w.subscribe(c, tp0, "a")
			l.wantActivate()
			return l
		},
		"idle consumer": func(w *world, c *transporttest.Client) *lane { return w.subscribe(c, tp1, "a") },
		"reader": func(w *world, c *transporttest.Client) *lane {
			l, _ := w.openConsume(c, &wire.ConsumeOpen{Topic: 1, CreditBytes: 64 << 20})
			return l
		},
		"idle producer": func(w *world, c *transporttest.Client) *lane { return w.produce(c, tp1, 1) },
		"producer with a batch under way": func(w *world, c *transporttest.Client) *lane {
			l := w.produce(c, protocol.TopicPartition{Topic: 1, Partition: 2}, 2)
			l.batch(2, 0, 1, 10)
			return l
		},
		"request": func(w *world, c *transporttest.Client) *lane {
			l := w.lane(c)
			l.send(protocol.KindRequest, &wire.Request{Metadata: &wire.MetadataRequest{}})
			return l
		},
		"nothing yet": func(w *world, c *transporttest.Client) *lane { return w.lane(c) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorldBehind(t, transport.Config{MaxStreams: streams}, nil)
			w.partitions[tp0].Fill(40, 1, 256<<10)
			c, _ := w.connect()
			for n := range rounds {
				l := open(w, c)
				[]func(*lane){hearNoMore, sayNoMore, bothAtOnce}[n%3](l)
			}
			resp := w.request(c, &wire.Request{Metadata: &wire.MetadataRequest{}})
			require.NotNil(t, resp.Metadata)
		})
	}
}
