package hostile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

const (
	deafWindow = 32 << 10 // bytes of a stream that QUIC takes without anybody reading them
	deafCredit = 1 << 30
	deafLook   = time.Second // bound on finding out how a stream ended
)

// Deaf is a subscriber with one stream for each of some partitions, which gives a broker a lot of credit and reads nothing. Its control
// stream it reads, and it pings: the connection is in best health. One goroutine at a time.
type Deaf struct {
	link    *link
	streams []*quic.Stream
}

// OpenDeaf opens streams to partitions that the broker at addr leads, from their first message on. It does not wait for answers.
func OpenDeaf(ctx context.Context, addr string, topic protocol.TopicID, parts []protocol.Partition, subscription string) (*Deaf, error) {
	l, err := dialWindow(ctx, addr, alpn, deafWindow)
	if err != nil {
		return nil, fmt.Errorf("deaf subscriber: %w", err)
	}
	d := &Deaf{link: l}
	if err := d.open(ctx, topic, parts, subscription); err != nil {
		d.Close()
		return nil, fmt.Errorf("deaf subscriber: %w", err)
	}
	return d, nil
}

func (d *Deaf) open(ctx context.Context, topic protocol.TopicID, parts []protocol.Partition, subscription string) error {
	control, err := d.link.admit(ctx)
	if err != nil {
		return err
	}
	d.link.keepAlive(control)
	for _, p := range parts {
		s, err := d.link.OpenStreamSync(ctx)
		if err != nil {
			return err
		}
		open := &wire.ConsumeOpen{Topic: topic, Partition: p, Subscription: subscription, Consumer: subscription, CreditBytes: deafCredit}
		if _, err := s.Write(wire.AppendFrame(nil, protocol.KindConsumeOpen, open)); err != nil {
			return err
		}
		d.streams = append(d.streams, s)
	}
	return nil
}

// Ends reads every stream, at last, and says how each has ended: the name of the code with which the broker has reset it, or what else.
func (d *Deaf) Ends() []string {
	var ends []string
	for _, s := range d.streams {
		_ = s.SetReadDeadline(time.Now().Add(deafLook)) // fails only on a stream that is over
		n, err := io.Copy(io.Discard, s)
		var reset *quic.StreamError
		switch {
		case errors.As(err, &reset) && reset.Remote:
			ends = append(ends, protocol.Code(reset.ErrorCode).String())
		default:
			ends = append(ends, fmt.Sprintf("%d bytes, then %v", n, err))
		}
	}
	return ends
}

// Close ends the connection.
func (d *Deaf) Close() { d.link.hangUp() }
