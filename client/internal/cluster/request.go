package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/trunkline/trunkline/client/internal/conn"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// attemptTimeout bounds one attempt of a request that may be repeated elsewhere. The broker itself waits
// up to this long for its metadata shard, and a broker that hangs is noticed by its pings.
const attemptTimeout = 5 * time.Second

// otherAnswers is how long RefreshAll waits for the other brokers once one has answered.
const otherAnswers = 200 * time.Millisecond

// Do sends a request to any broker and repeats it elsewhere until one answers, ctx ends, or the answer
// is an error that would be the same everywhere. unknown reports whether an attempt before the last one
// may have been carried out.
func (c *Cluster) Do(ctx context.Context, req *wire.Request) (resp *wire.Response, unknown bool, err error) {
	var b backoff
	var last error
	for {
		list, changed := c.connected()
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		for _, cn := range list {
			if ctx.Err() != nil {
				return nil, unknown, because(ctx, last) // nothing was sent
			}
			resp, err := c.try(ctx, cn, req)
			if err == nil {
				return resp, unknown, nil
			}
			if ctx.Err() != nil {
				return nil, true, because(ctx, err)
			}
			var pe *protocol.Error
			if errors.As(err, &pe) && !pe.Code.Retryable() {
				return nil, unknown, err
			}
			if pe == nil || pe.Code.Outcome() == protocol.Unknown {
				unknown = true
			}
			last = err
		}
		if len(list) == 0 {
			if last == nil {
				last = ErrNoBroker
			}
			select {
			case <-changed:
				continue
			case <-ctx.Done():
			case <-c.ctx.Done():
				return nil, unknown, context.Cause(c.ctx)
			}
		}
		if wait(ctx, max(b.next(), firstDelay), c.ctx.Done()) != nil {
			return nil, unknown, because(ctx, last)
		}
		if c.ctx.Err() != nil {
			return nil, unknown, context.Cause(c.ctx)
		}
	}
}

// because is the context's error with the reason it had to wait.
func because(ctx context.Context, last error) error {
	if cause := context.Cause(ctx); last == nil || errors.Is(last, cause) {
		return cause
	}
	return fmt.Errorf("%w (%w)", context.Cause(ctx), last)
}

// try sends a request on one connection. Responses that carry metadata are taken over.
func (c *Cluster) try(ctx context.Context, cn *conn.Conn, req *wire.Request) (*wire.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	resp, err := cn.Request(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("broker %d: %w", cn.Broker(), err)
	}
	if resp.Metadata != nil {
		c.apply(resp.Metadata)
	}
	if resp.CreateTopic != nil || resp.DeleteTopic != nil || resp.AlterTopic != nil || resp.SetBrokerState != nil {
		// This broker has the change already; the others, and the image that is pushed, may lag.
		if m, err := cn.Request(ctx, &wire.Request{Metadata: &wire.MetadataRequest{}}); err == nil &&
			m.Metadata != nil {
			c.apply(m.Metadata)
		}
	}
	return resp, nil
}

// DoOn sends a request to one broker, once.
func (c *Cluster) DoOn(
	ctx context.Context, id protocol.BrokerID, req *wire.Request,
) (*wire.Response, error) {
	cn, err := c.WaitConn(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("broker %d: %w", id, err)
	}
	return c.try(ctx, cn, req)
}

// Refresh asks one broker, the given one or else any, for its image.
func (c *Cluster) Refresh(ctx context.Context, cn *conn.Conn) error {
	req := &wire.Request{Metadata: &wire.MetadataRequest{}}
	if cn != nil {
		_, err := c.try(ctx, cn, req)
		return err
	}
	_, _, err := c.Do(ctx, req)
	return err
}

// RefreshAll asks every connected broker for its image, at once. One answer is enough; the others get a
// moment, since one of them may know more.
func (c *Cluster) RefreshAll(ctx context.Context) error {
	list, _ := c.connected()
	if len(list) <= 1 {
		return c.Refresh(ctx, nil)
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	errs := make(chan error, len(list))
	for _, cn := range list {
		wg.Go(func() { errs <- c.Refresh(ctx, cn) })
	}
	var first error
	var moment <-chan time.Time
	for range list {
		select {
		case err := <-errs:
			if err == nil && moment == nil {
				moment = time.After(otherAnswers)
			}
			if err != nil && first == nil {
				first = err
			}
		case <-moment:
			return nil
		}
	}
	if moment != nil {
		return nil
	}
	return first
}
