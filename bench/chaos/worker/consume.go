package worker

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/trunkline/trunkline/bench/chaos/payload"
	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// flushEvery is how long messages are held at most before they are acknowledged.
const flushEvery = 100 * time.Millisecond

// consumer is a consumer's process.
type consumer struct {
	*process
	task *Consume
	sub  *client.Subscription

	mu    sync.Mutex
	turns map[protocol.Partition]*turn // guarded by mu; those that go on, as far as the SDK has told
}

// turn is a time of having a partition. Guarded by consumer.mu.
type turn struct {
	activation protocol.Activation
	next       protocol.Offset // behind the messages that came in this turn without a hole
}

// held is a message that is not acknowledged yet.
type held struct {
	*client.Message
	turn *turn // in which it came; nil: not known
}

func (p *process) consume(ctx, open context.Context, cl *client.Client, t *Consume) error {
	c := &consumer{process: p, task: t, turns: map[protocol.Partition]*turn{}}
	var err error
	c.sub, err = cl.Subscribe(open, p.task.Topic, t.Subscription, client.StartAt(client.Earliest()),
		client.WithConsumerName(t.Consumer), client.OnRebalance(c.rebalanced),
		client.OnGap(func(g client.Gap) {
			p.say(Report{What: Got, Partition: int32(g.Partition), Offset: int64(g.From), Text: "removed before it was delivered"})
		}))
	if err != nil {
		return err
	}
	p.say(Report{What: Opened})
	err = c.take(ctx)
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveLimit)
	defer cancel()
	if cerr := c.sub.Close(leave); !errors.Is(cerr, client.ErrPartitionLost) {
		err = errors.Join(err, cerr)
	}
	return err
}

func (c *consumer) rebalanced(r client.Rebalance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	said := Report{Partition: int32(r.Partition), Activation: uint64(r.Activation)}
	switch r.Kind {
	case client.Assigned:
		said.What, said.Offset = Assigned, int64(r.From)
		c.turns[r.Partition] = &turn{r.Activation, r.From}
	case client.Revoking:
		said.What = Revoking
	case client.Released:
		said.What = Released
	case client.Lost:
		said.What = Lost
	}
	if r.Kind == client.Released || r.Kind == client.Lost {
		delete(c.turns, r.Partition)
	}
	c.say(said)
}

// take receives messages, works on each, and acknowledges and commits a batch at a time.
func (c *consumer) take(ctx context.Context) error {
	var batch []held
	since := time.Now()
	for {
		wait, cancel := context.WithDeadlineCause(ctx, since.Add(flushEvery), errFlush)
		m, err := c.sub.Receive(wait)
		cancel()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil:
			batch = append(batch, c.got(m))
			time.Sleep(time.Duration(c.task.Pause) * time.Microsecond)
		case !errors.Is(err, errFlush):
			return err
		}
		if len(batch) >= c.task.Batch || time.Since(since) >= flushEvery {
			if err := c.acknowledge(ctx, batch); err != nil {
				return err
			}
			batch, since = batch[:0], time.Now()
		}
	}
}

// errFlush ends the wait for a message.
var errFlush = errors.New("it is time to acknowledge")

func (c *consumer) got(m *client.Message) held {
	r := Report{What: Got, Partition: int32(m.Partition), Offset: int64(m.Offset)}
	if id, ok := payload.Decode(m.Value); ok {
		r.Lane, r.Seq = id.Producer, id.Seq
	} else {
		r.Text = "damaged"
	}
	c.say(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.turns[m.Partition]
	if t == nil || m.Offset != t.next { // of a turn that ended meanwhile
		return held{Message: m}
	}
	t.next++
	return held{m, t}
}

// acknowledge acknowledges messages in any order, and waits until that is committed.
func (c *consumer) acknowledge(ctx context.Context, batch []held) error {
	if len(batch) == 0 {
		return nil
	}
	for _, i := range rand.Perm(len(batch)) {
		if err := c.sub.Ack(batch[i].Message); err != nil {
			return err
		}
	}
	err := c.sub.Commit(ctx)
	if errors.Is(err, client.ErrPartitionLost) || ctx.Err() != nil {
		return nil // some of it is not committed, and this does not tell which
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ends := map[protocol.Partition]protocol.Offset{}
	for _, h := range batch {
		// Acknowledgements of a turn that ended are dropped in silence; only those of one that goes on are known to count.
		if h.turn != nil && c.turns[h.Partition] == h.turn {
			ends[h.Partition] = h.Offset + 1
		}
	}
	for p, end := range ends {
		c.say(Report{What: Committed, Partition: int32(p), Offset: int64(end), Activation: uint64(c.turns[p].activation)})
	}
	return nil
}
