package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/trunkline/trunkline/bench/chaos/payload"
	"github.com/trunkline/trunkline/bench/verify"
	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

const paceTick = time.Millisecond // between looks at what is due

// publisher is a producer's process. Each partition is published to by a goroutine of its own, so that one that waits does not hold up
// the others.
type publisher struct {
	*process
	task     *Publish
	producer *client.Producer
}

func (p *process) publish(ctx, open context.Context, c *client.Client, t *Publish) error {
	var opts []client.ProducerOption
	if t.Name != "" {
		opts = append(opts, client.WithProducerName(t.Name))
	}
	producer, err := c.Producer(open, p.task.Topic, opts...)
	if err != nil {
		return err
	}
	pub := &publisher{process: p, task: t, producer: producer}
	r := Report{What: Opened}
	r.Producer, r.Epoch = producer.ID()
	for part := range producer.Partitions() {
		r.Next = append(r.Next, uint64(producer.NextSequence(protocol.Partition(part))))
	}
	p.say(r)
	var lanes sync.WaitGroup
	for part, next := range r.Next {
		lanes.Go(func() { pub.lane(ctx, int32(part), next, len(r.Next)) })
	}
	lanes.Wait()
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveLimit)
	defer cancel()
	return errors.Join(context.Cause(ctx), producer.Close(leave))
}

// lane publishes to one partition from sequence seq on, one of so many lanes that share the rate.
func (p *publisher) lane(ctx context.Context, part int32, seq uint64, lanes int) {
	window := make(chan struct{}, p.task.InFlight)
	begin, first := time.Now(), seq
	for ; p.due(ctx, begin, seq-first, lanes); seq++ {
		select {
		case window <- struct{}{}:
		case <-ctx.Done():
			return
		}
		p.send(ctx, part, seq, func() { <-window })
	}
}

// due waits until message n of a lane is due; false if ctx ended.
func (p *publisher) due(ctx context.Context, begin time.Time, n uint64, lanes int) bool {
	if p.task.Rate > 0 {
		at := begin.Add(time.Duration(float64(n) * float64(lanes) / float64(p.task.Rate) * float64(time.Second)))
		if wait := time.Until(at); wait > 0 {
			select {
			case <-time.After(max(wait, paceTick)):
			case <-ctx.Done():
			}
		}
	}
	return ctx.Err() == nil
}

// send publishes one message and calls done when it is answered.
func (p *publisher) send(ctx context.Context, part int32, seq uint64, done func()) {
	p.say(Report{What: Sent, Partition: part, Seq: seq})
	answered := func(rc client.Receipt, err error) {
		p.answered(part, seq, rc, err)
		done()
	}
	value := payload.Encode(verify.ID{Producer: p.task.Lane + uint32(part), Seq: seq})
	// A message that was begun is never given up: what becomes of it must be known in the end.
	if err := p.producer.Send(context.WithoutCancel(ctx), client.Record{Value: value, Partition: client.OnPartition(int(part))}, answered); err != nil {
		answered(client.Receipt{}, err)
	}
}

func (p *publisher) answered(part int32, seq uint64, rc client.Receipt, err error) {
	r := Report{What: Acked, Partition: part, Seq: seq, Offset: int64(rc.Offset), Duplicate: rc.Duplicate}
	if err != nil {
		r = Report{What: Unknown, Partition: part, Seq: seq, Fenced: errors.Is(err, client.ErrFenced), Text: err.Error()}
		if outcome(err) == client.NotAppended {
			r.What = Refused
		}
	}
	p.say(r)
}

func outcome(err error) client.Outcome {
	var perr *client.PublishError
	if errors.As(err, &perr) {
		return perr.Outcome
	}
	return client.Unknown
}
