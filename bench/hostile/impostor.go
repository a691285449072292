package hostile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

// Impostor is a producer that was replaced and does not care: it goes on sending under the identity and the epoch that it had, each
// batch on a stream of its own, also when it was told that it is fenced. One goroutine at a time.
type Impostor struct {
	Topic    protocol.TopicID
	Producer protocol.ProducerID
	Epoch    protocol.ProducerEpoch
}

// Send sends one record with each of the sequences to the broker at addr and returns how often it got which answer: codes of errors, or
// "produce-ack" for an acceptance. It does not wait for the answer to the opening before it sends the batch.
func (im *Impostor) Send(ctx context.Context, addr string, part protocol.Partition, sequences []protocol.Sequence, value []byte) (map[string]int64, error) {
	l, err := dial(ctx, addr, alpn)
	if err != nil {
		return nil, fmt.Errorf("impostor: %w", err)
	}
	defer l.hangUp()
	control, err := l.admit(ctx)
	if err != nil {
		return nil, fmt.Errorf("impostor: %w", err)
	}
	l.keepAlive(control)
	answers := map[string]int64{}
	for _, seq := range sequences {
		s, err := l.OpenStreamSync(ctx)
		if err != nil {
			return answers, fmt.Errorf("impostor: %w", err)
		}
		what, err := im.one(s, part, seq, value)
		if err != nil {
			return answers, fmt.Errorf("impostor, partition %d sequence %d: %w", part, seq, err)
		}
		answers[what]++
	}
	return answers, nil
}

// one sends a batch and returns the last word of the broker.
func (im *Impostor) one(s *quic.Stream, part protocol.Partition, seq protocol.Sequence, value []byte) (string, error) {
	_ = s.SetDeadline(time.Now().Add(streamLimit)) // fails only on a stream that is over
	bd := batch.NewBuilder(batch.None)
	if err := bd.Add(batch.Record{Value: value}); err != nil {
		return "", err
	}
	b, err := bd.Build(nil, im.Producer, im.Epoch, seq)
	if err != nil {
		return "", err
	}
	open := &wire.ProduceOpen{Topic: im.Topic, Partition: part, Producer: im.Producer, ProducerEpoch: im.Epoch}
	text := frame.Append(wire.AppendFrame(nil, protocol.KindProduceOpen, open), protocol.KindProduce, b)
	if _, err := s.Write(text); err != nil {
		var refused *quic.StreamError
		if !errors.As(err, &refused) { // the broker may have heard enough already: its answer can be read
			return "", err
		}
	}
	_ = s.Close() // fails only on a stream that is over
	t, last := newTally(), ""
	for r := frame.NewReader(s); ; {
		k, body, err := r.Next()
		if err != nil {
			break // the end; without an answer before it last is empty
		}
		t.answered(k, body)
		for what := range t.copyAnswers() {
			if what != protocol.KindProduceOpenOK.String() {
				last = what
			}
		}
	}
	if last == "" {
		return "", errors.New("the broker does not answer")
	}
	return last, nil
}
