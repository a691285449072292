package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/trunkline/trunkline/bench/driver"
)

// topic is one that this system created.
type topic struct {
	driver.Topic

	mu      sync.Mutex
	leaders []int     // IDs by partition; 0: not known
	asked   time.Time // when
}

// queue is what partition p of a subscription is called.
func (t *topic) queue(subscription string, p int) string {
	return t.Name + "." + subscription + "." + strconv.Itoa(p)
}

// stored returns the subscriptions that have queues.
func (t *topic) stored() []string {
	if len(t.Subscriptions) == 0 {
		return []string{""}
	}
	return t.Subscriptions
}

func (s *system) CreateTopic(ctx context.Context, spec driver.Topic) error {
	t := &topic{Topic: spec}
	admin := newPool("trunkbench admin", s.brokers)
	defer admin.close(ctx)
	defer context.AfterFunc(ctx, admin.cut)()
	if err := s.declareExchange(ctx, admin, t); err != nil {
		return err
	}
	s.mu.Lock()
	s.topics[t.Name] = t
	s.mu.Unlock()
	err := s.eachPartition(ctx, admin, t, t.declare)
	if err == nil {
		err = s.led(ctx, t)
	}
	if err != nil {
		return errors.Join(err, s.DeleteTopic(ctx, t.Name))
	}
	return nil
}

// declareExchange makes the topic's exchange. To declare one that exists is no error in AMQP, so that is asked before.
func (s *system) declareExchange(ctx context.Context, admin *pool, t *topic) error {
	ch, err := s.anyChannel(ctx, admin, 0)
	if err != nil {
		return fmt.Errorf("create topic %s: %w", t.Name, err)
	}
	err = ch.ExchangeDeclarePassive(t.Name, amqp.ExchangeDirect, true, false, false, false, nil)
	if code(err) != amqp.NotFound {
		return errors.Join(fmt.Errorf("create topic %s: the name is taken", t.Name), err)
	}
	if ch, err = s.anyChannel(ctx, admin, 0); err != nil { // the answer "not found" closed the channel
		return fmt.Errorf("create topic %s: %w", t.Name, err)
	}
	if err := ch.ExchangeDeclare(t.Name, amqp.ExchangeDirect, true, false, false, false, nil); err != nil {
		return fmt.Errorf("create topic %s: %w", t.Name, err)
	}
	return nil
}

// declare makes the queues of partition p, led by the broker that ch is connected to.
func (t *topic) declare(ch *amqp.Channel, p int) error {
	for _, sub := range t.stored() {
		name := t.queue(sub, p)
		args := amqp.Table{
			"x-queue-type": "quorum", "x-quorum-initial-group-size": max(t.Replicas, 1), "x-queue-leader-locator": "client-local",
		}
		if _, err := ch.QueueDeclare(name, true, false, false, false, args); err != nil {
			return fmt.Errorf("declare queue %s: %w", name, err)
		}
		if err := ch.QueueBind(name, strconv.Itoa(p), t.Name, false, nil); err != nil {
			return fmt.Errorf("bind queue %s: %w", name, err)
		}
	}
	return nil
}

// delete removes the queues of partition p.
func (t *topic) delete(ch *amqp.Channel, p int) error {
	for _, sub := range t.stored() {
		if _, err := ch.QueueDelete(t.queue(sub, p), false, false, false); err != nil {
			return fmt.Errorf("delete queue %s: %w", t.queue(sub, p), err)
		}
	}
	return nil
}

// eachPartition calls do for every partition p with a channel to broker p mod N, or to another where that one is down. The
// brokers work side by side.
func (s *system) eachPartition(ctx context.Context, admin *pool, t *topic, do func(ch *amqp.Channel, p int) error) error {
	errs := make([]error, len(s.brokers))
	var all sync.WaitGroup
	for i := range s.brokers {
		all.Go(func() {
			ch, err := s.anyChannel(ctx, admin, i)
			for p := i; p < t.Partitions && err == nil; p += len(s.brokers) {
				err = do(ch, p)
			}
			errs[i] = err
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// anyChannel opens a channel to broker first, counted from 0, or to the next that is up.
func (s *system) anyChannel(ctx context.Context, p *pool, first int) (*amqp.Channel, error) {
	var errs []error
	for i := range s.brokers {
		ch, err := p.channel(ctx, (first+i)%len(s.brokers))
		if err == nil {
			return ch, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (s *system) DeleteTopic(ctx context.Context, name string) error {
	t, err := s.topic(name)
	if err != nil {
		return err
	}
	admin := newPool("trunkbench admin", s.brokers)
	defer admin.close(ctx)
	defer context.AfterFunc(ctx, admin.cut)()
	if err := s.eachPartition(ctx, admin, t, t.delete); err != nil {
		return fmt.Errorf("delete topic %s: %w", name, err)
	}
	ch, err := s.anyChannel(ctx, admin, 0)
	if err != nil {
		return fmt.Errorf("delete topic %s: %w", name, err)
	}
	if err := ch.ExchangeDelete(name, false, false); err != nil {
		return fmt.Errorf("delete topic %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.topics, name)
	return nil
}

func (s *system) topic(name string) (*topic, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[name]
	if t == nil {
		return nil, fmt.Errorf("there is no topic %q that was created here", name)
	}
	return t, nil
}

// Leaders returns who leads the queues of the first subscription. Those of the others go with it until a broker fails.
func (s *system) Leaders(ctx context.Context, name string) ([]int, error) {
	t, err := s.topic(name)
	if err != nil {
		return nil, err
	}
	return s.leaders(ctx, t, 0), nil
}

// leaders returns who led the partitions at most maxAge ago: IDs, 0 where that is not known. The first broker that answers is
// believed.
func (s *system) leaders(ctx context.Context, t *topic, maxAge time.Duration) []int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.leaders != nil && time.Since(t.asked) < maxAge {
		return t.leaders
	}
	led := make([]int, t.Partitions)
	for range s.brokers {
		at := s.speaker.Load()
		byQueue, err := s.api.leaders(ctx, s.brokers[int(at)%len(s.brokers)])
		if err != nil {
			s.speaker.CompareAndSwap(at, at+1)
			continue
		}
		for p := range led {
			led[p] = s.id(byQueue[t.queue(t.stored()[0], p)])
		}
		break
	}
	t.leaders, t.asked = led, time.Now()
	return led
}

// id returns the broker that is called so, or 0.
func (s *system) id(node string) int {
	i := slices.IndexFunc(s.brokers, func(b broker) bool { return b.name == node && node != "" })
	return i + 1
}

// led waits until every partition has a leader, where that can be known.
func (s *system) led(ctx context.Context, t *topic) error {
	if s.brokers[0].name == "" {
		return nil
	}
	for slices.Contains(s.leaders(ctx, t, 0), 0) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("topic %s: no leader for some partitions: %w", t.Name, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// route returns the broker, counted from 0, to which a client of partition p connects at its n-th attempt: the leader, then the
// others.
func (s *system) route(ctx context.Context, t *topic, p, n int) int {
	first := p
	if id := s.leaders(ctx, t, leadersAge)[p]; id != 0 {
		first = id - 1
	}
	return (first + n) % len(s.brokers)
}

// leadersAge is how long clients rely on what they know of leaders.
const leadersAge = 500 * time.Millisecond

// code returns the AMQP code of an error, or 0.
func code(err error) int {
	var answer *amqp.Error
	if errors.As(err, &answer) {
		return answer.Code
	}
	return 0
}
