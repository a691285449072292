package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/trunkline/trunkline/bench/chaos/payload"
	"github.com/trunkline/trunkline/bench/verify"
	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

const (
	cargoTopic      = "cargo"
	cargoPartitions = 8
	cargoReplicas   = 3
	cargoRecord     = 16 << 10 // bytes
	// cargoPatience is how long laying it in or reading it back may take.
	cargoPatience = 5 * time.Minute
)

// cargo are stored records beside the load, so that a move has something to carry. It is of one topic; record n of a partition is known
// by its number, and when it is taken out each must be there once, in its place. Used by one goroutine.
type cargo struct{ bytes int64 }

// records is how many of them each partition holds.
func (b *cargo) records() int { return max(1, int(b.bytes/cargoRecord/cargoPartitions)) }

// fill makes the topic and publishes to all its partitions.
func (b *cargo) fill(ctx context.Context, c *client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, cargoPatience)
	defer cancel()
	if _, err := c.Admin().CreateTopic(ctx, cargoTopic, client.TopicSpec{Partitions: cargoPartitions, Replicas: cargoReplicas}); err != nil {
		return err
	}
	p, err := c.Producer(ctx, cargoTopic)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var failed error
	for n := range b.records() * cargoPartitions {
		id := verify.ID{Producer: uint32(n % cargoPartitions), Seq: uint64(n / cargoPartitions)}
		rec := client.Record{Value: payload.Sized(id, cargoRecord), Partition: client.OnPartition(int(id.Producer))}
		err := p.Send(ctx, rec, func(_ client.Receipt, err error) {
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
		})
		if err != nil {
			return errors.Join(err, p.Close(ctx))
		}
	}
	err = p.Close(ctx) // waits for all answers
	mu.Lock()
	defer mu.Unlock()
	return errors.Join(failed, err)
}

// empty reads everything back, tells broken what is not as it was laid in, and removes the topic.
func (b *cargo) empty(ctx context.Context, c *client.Client, broken func(string, ...any)) error {
	ctx, cancel := context.WithTimeout(ctx, cargoPatience)
	defer cancel()
	rd, err := c.Reader(ctx, cargoTopic, client.StartAt(client.Earliest()), client.StopAtEnd())
	if err != nil {
		return err
	}
	next := map[protocol.Partition]uint64{}
	for {
		m, err := rd.Receive(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return errors.Join(err, rd.Close(ctx))
		}
		want := verify.ID{Producer: uint32(m.Partition), Seq: next[m.Partition]}
		if id, ok := payload.Decode(m.Value); !ok || id != want {
			broken("cargo partition %d offset %d: %+v instead of %+v", m.Partition, m.Offset, id, want)
		}
		next[m.Partition]++
	}
	for part := range protocol.Partition(cargoPartitions) {
		if n := next[part]; n != uint64(b.records()) {
			broken("cargo partition %d gave %d records back of %d", part, n, b.records())
		}
	}
	if err := rd.Close(ctx); err != nil {
		return fmt.Errorf("reader of the cargo: %w", err)
	}
	return c.Admin().DeleteTopic(ctx, cargoTopic)
}
