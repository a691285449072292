package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trunkline/trunkline/client/internal/conn"
	"github.com/trunkline/trunkline/protocol"
)

// errMoved ends a session because its partition is led elsewhere now.
var errMoved = errors.New("the partition has another leader")

// unknownTopicAttempts is how often a broker may deny a partition that the image has: it may lag behind
// the broker the image came from.
const unknownTopicAttempts = 40

// internalAttempts is how many sessions in a row may end by a defect of a broker before it counts as an answer. A broker that
// panics over one request ends its connection, and with it the streams of everybody else on it: they are tried again, in a
// producer's case with the same sequences, and only who meets the defect each time is told.
const internalAttempts = 5

// Session is one stream's life on the leader of a partition. It ends when ctx does, which also happens
// when the leader changes. progress tells that something was achieved, so that the next attempt comes
// at once.
type Session func(ctx context.Context, cn *conn.Conn, l Leader) (progress bool, err error)

// Follow describes what to follow.
type Follow struct {
	Partition protocol.TopicPartition
	Replica   protocol.BrokerID // stay with this broker, whoever leads
	// OnRetry is told of each failed session and of its attempt since the last progress.
	OnRetry func(attempt int, err error)
	// OnWait is told why nothing can be tried at the moment; for error texts.
	OnWait func(reason error)
}

// stopError ends Follow.
type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }
func (e *stopError) Unwrap() error { return e.err }

// Stop wraps an error of a session after which it makes no sense to go on, also when the session's context has ended meanwhile: a
// reader that has everything would begin anew on the next leader, without what it has not handed out yet.
func Stop(err error) error { return &stopError{err} }

// retryError is tried again whatever its code says.
type retryError struct{ err error }

func (e *retryError) Error() string { return e.err.Error() }
func (e *retryError) Unwrap() error { return e.err }

// Retry wraps an error of a session that another attempt may mend though its code says otherwise.
func Retry(err error) error { return &retryError{err} }

// terminal is the one place that decides whether a session may be tried again.
func terminal(err error) bool {
	var stop *stopError
	if errors.As(err, &stop) {
		return true
	}
	var again *retryError
	if errors.As(err, &again) {
		return false
	}
	var pe *protocol.Error
	return errors.As(err, &pe) && !pe.Code.Retryable()
}

// Run keeps a session on the partition's leader until ctx ends or a session ends for good.
func (c *Cluster) Run(ctx context.Context, f Follow, session Session) error {
	var b backoff
	denied := 0
	for {
		cn, l, changed, err := c.await(ctx, &f)
		if err != nil {
			return err
		}
		progress, err := c.session(ctx, &f, cn, l, session)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if progress {
			b.reset()
			denied = 0
		}
		if errors.Is(err, errMoved) {
			continue
		}
		if isUnknownTopic(err) && denied < unknownTopicAttempts {
			if err := c.recheck(ctx, cn, f.Partition); err != nil {
				return err
			}
			denied++
		} else if terminal(err) && (!isInternal(err) || b.attempts >= internalAttempts) {
			var stop *stopError
			if errors.As(err, &stop) {
				return stop.err
			}
			return err
		}
		c.learn(f.Partition, err)
		delay := b.next()
		if f.OnRetry != nil {
			f.OnRetry(b.attempts, err)
		}
		c.stuck.Add(1)
		err = wait(ctx, delay, changed)
		c.stuck.Add(-1)
		if err != nil {
			return err
		}
	}
}

// await waits until there is a leader, or the wanted replica, and a connection to it.
func (c *Cluster) await(ctx context.Context, f *Follow) (*conn.Conn, Leader, <-chan struct{}, error) {
	for {
		if image, _ := c.Image(); !image.Has(f.Partition) {
			return nil, Leader{}, nil, protocol.Errorf(protocol.CodeTopicNotFound,
				"partition %s was deleted", f.Partition)
		}
		l, changed := c.Leader(f.Partition)
		if f.Replica != 0 {
			l.Broker = f.Replica
		}
		var up <-chan struct{}
		why := protocol.Errorf(protocol.CodeUnavailable, "partition %s has no leader", f.Partition)
		if l.Broker != 0 {
			cn, ch, err := c.Conn(l.Broker)
			if cn != nil {
				return cn, l, changed, nil
			}
			up = ch
			if err == nil {
				err = errors.New("connecting")
			}
			why.Message = fmt.Sprintf("broker %d leads partition %s: %v", l.Broker, f.Partition, err)
		}
		if f.OnWait != nil {
			f.OnWait(why)
		}
		c.stuck.Add(1)
		select {
		case <-changed:
		case <-up:
		case <-ctx.Done():
		case <-c.ctx.Done():
		}
		c.stuck.Add(-1)
		if ctx.Err() != nil {
			return nil, l, nil, context.Cause(ctx)
		}
		if c.ctx.Err() != nil {
			return nil, l, nil, context.Cause(c.ctx)
		}
	}
}

// session runs one session and ends it when the leader moves or the connection ends.
func (c *Cluster) session(
	ctx context.Context, f *Follow, cn *conn.Conn, l Leader, session Session,
) (bool, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		c.watch(ctx, cancel, f, cn)
	}()
	progress, err := session(ctx, cn, l)
	var stop *stopError
	if cause := context.Cause(ctx); cause != nil && !errors.As(err, &stop) {
		err = cause // what the session returned is only its echo
	}
	cancel(nil)
	<-watched
	if err == nil {
		err = errors.New("stream ended")
	}
	return progress, err
}

// watch ends a session's context when its broker is not the right one any more.
func (c *Cluster) watch(ctx context.Context, cancel context.CancelCauseFunc, f *Follow, cn *conn.Conn) {
	for {
		l, changed := c.Leader(f.Partition)
		image, _ := c.Image()
		if (f.Replica == 0 && l.Broker != cn.Broker()) || !image.Has(f.Partition) {
			cancel(errMoved)
			return
		}
		select {
		case <-changed:
		case <-cn.Done():
			cancel(fmt.Errorf("connection to broker %d: %w", cn.Broker(), cn.Err()))
			return
		case <-c.ctx.Done():
			cancel(context.Cause(c.ctx))
			return
		case <-ctx.Done():
			return
		}
	}
}

// learn takes the hint out of a refusal, or has the brokers asked if there is none.
func (c *Cluster) learn(tp protocol.TopicPartition, err error) {
	var pe *protocol.Error
	if !errors.As(err, &pe) || pe.Code != protocol.CodeNotLeader {
		return
	}
	before, _ := c.Leader(tp)
	c.Observe(tp, Leader{Broker: pe.Leader, Epoch: pe.Epoch})
	if now, _ := c.Leader(tp); now == before {
		select {
		case c.lost <- struct{}{}:
		default:
		}
	}
}

func isInternal(err error) bool {
	var pe *protocol.Error
	return errors.As(err, &pe) && pe.Code == protocol.CodeInternal
}

func isUnknownTopic(err error) bool {
	return errors.Is(err, protocol.ErrTopicNotFound) || errors.Is(err, protocol.ErrPartitionUnknown)
}

// recheck asks the broker that denied a partition for its image: if its version is the newest, the
// partition is gone, and Image says so from now on.
func (c *Cluster) recheck(ctx context.Context, cn *conn.Conn, tp protocol.TopicPartition) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_ = c.Refresh(ctx, cn) // its failure means only that the next attempt decides
	if image, _ := c.Image(); !image.Has(tp) {
		return protocol.Errorf(protocol.CodeTopicNotFound, "partition %s was deleted", tp)
	}
	return nil
}
