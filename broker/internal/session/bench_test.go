package session

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/feed/feedtest"
	"github.com/trunkline/trunkline/broker/internal/transport"
	"github.com/trunkline/trunkline/broker/internal/transport/transporttest"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

// nullPartition acks at once and keeps nothing.
type nullPartition struct{ *fakePartition }

func (p nullPartition) Append(_ context.Context, _ []byte, _ batch.Header, done func(Ack)) error {
	done(Ack{Epoch: 1})
	return nil
}

type nullPartitions struct{ p Partition }

func (n nullPartitions) Partition(protocol.TopicPartition) (Partition, bool) { return n.p, true }

func benchServer(b *testing.B) (*transporttest.Client, *fakePartition) {
	p := &fakePartition{Partition: feedtest.New()}
	m := &fakeMeta{changed: make(chan struct{})}
	m.add(wire.TopicInfo{ID: 1, Name: "t", Partitions: make([]wire.PartitionInfo, 1)})
	cfg := Config{
		Self: 1, Meta: m, Partitions: nullPartitions{nullPartition{p}},
		Leaders: &fakeLeaders{known: map[protocol.TopicPartition]wire.Leader{}, wake: make(chan struct{})},
		Status:  func() wire.ClusterStatus { return wire.ClusterStatus{} },
	}
	cfg.Limits.HeartbeatLost = time.Hour
	srv, err := NewServer(cfg)
	require.NoError(b, err)
	server, client := transporttest.Certificates(b)
	l := transporttest.Listen(b, transport.Config{TLS: server})
	go func() { _ = srv.Serve(context.Background(), l) }()
	b.Cleanup(srv.Close)
	c := transporttest.Dial(b, l.Addr(), client)
	ctl := c.Open(b)
	_, err = ctl.Write(wire.AppendFrame(nil, protocol.KindHello, &hello))
	require.NoError(b, err)
	_, _, err = frame.NewReader(ctl).Next()
	require.NoError(b, err)
	return c, p
}

// BenchmarkProduce measures the road from a client's stream to the partition and back.
func BenchmarkProduce(b *testing.B) {
	for _, x := range []struct {
		name        string
		count, size int
	}{{"4KiB", 16, 256}, {"64KiB", 256, 256}, {"256KiB", 256, 1024}} {
		b.Run(x.name, func(b *testing.B) {
			c, _ := benchServer(b)
			s := c.Open(b)
			_, err := s.Write(wire.AppendFrame(nil, protocol.KindProduceOpen, &wire.ProduceOpen{Topic: 1, Producer: 7}))
			require.NoError(b, err)
			r := frame.NewReader(s)
			_, _, err = r.Next()
			require.NoError(b, err)
			one := frame.Append(nil, protocol.KindProduce, feedtest.MakeBatch(7, 0, x.count, x.size))
			slots := make(chan struct{}, 16)
			b.SetBytes(int64(len(one)))
			b.ResetTimer()
			go func() {
				for range b.N {
					slots <- struct{}{}
					if _, err := s.Write(one); err != nil {
						return
					}
				}
			}()
			for range b.N {
				_, _, err := r.Next()
				require.NoError(b, err)
				<-slots
			}
		})
	}
}

// BenchmarkDeliver measures the road from the log to a client's stream.
func BenchmarkDeliver(b *testing.B) {
	c, p := benchServer(b)
	p.Fill(64, 64, 1024) // 4 MiB, read again and again
	var size int64
	b.ResetTimer()
	for range b.N {
		s := c.Open(b)
		open := wire.ConsumeOpen{Topic: 1, CreditBytes: 1 << 30, StopAtEnd: true}
		_, err := s.Write(wire.AppendFrame(nil, protocol.KindConsumeOpen, &open))
		require.NoError(b, err)
		r := frame.NewReader(s)
		for {
			_, body, err := r.Next()
			if err != nil {
				break
			}
			size += int64(len(body))
		}
		_ = s.Close()
	}
	b.SetBytes(size / int64(b.N))
}
