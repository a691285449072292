package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/trunkline/trunkline/bench/driver"
)

const (
	makers       = 8                      // streams made or removed at the same time
	askers       = 32                     // streams asked for their leader at the same time
	askLimit     = 300 * time.Millisecond // for a stream to name its leader; one without a leader does not answer at all
	requestLimit = 3 * time.Second        // for one request to the JetStream API, which drops some while its leader changes
	cleanLimit   = 10 * time.Second       // to remove what a failed CreateTopic had made
)

func streamName(topic string, partition int) string { return topic + "-" + strconv.Itoa(partition) }
func subject(topic string, partition int) string    { return topic + "." + strconv.Itoa(partition) }

// CreateTopic makes a stream for each partition with its consumers, and waits until all replicas of each are current.
func (s *system) CreateTopic(ctx context.Context, t driver.Topic) error {
	switch _, err := s.js.Stream(ctx, streamName(t.Name, 0)); {
	case err == nil:
		return fmt.Errorf("create topic %s: the name is taken", t.Name)
	case !errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("create topic %s: is the name taken? %w", t.Name, err)
	}
	s.mu.Lock()
	s.topics[t.Name] = t.Partitions
	s.mu.Unlock()
	err := eachOf(ctx, t.Partitions, makers, func(ctx context.Context, p int) error { return s.createStream(ctx, t, p) })
	if err != nil {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanLimit)
		defer cancel()
		return fmt.Errorf("create topic %s: %w", t.Name, errors.Join(err, s.DeleteTopic(clean, t.Name)))
	}
	return nil
}

func (s *system) createStream(ctx context.Context, t driver.Topic, p int) error {
	replicas := max(t.Replicas, 1)
	cfg := jetstream.StreamConfig{
		Name: streamName(t.Name, p), Subjects: []string{subject(t.Name, p)},
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld,
		Storage: jetstream.FileStorage, Replicas: replicas, Duplicates: dedupWindow,
	}
	// Making the same stream twice is no error, so an answer that was lost may be asked for again.
	err := persist(ctx, func(ctx context.Context) error { _, err := s.js.CreateStream(ctx, cfg); return err })
	if err != nil {
		return fmt.Errorf("stream %s: %w", cfg.Name, err)
	}
	for _, sub := range t.Subscriptions {
		err := persist(ctx, func(ctx context.Context) error {
			_, err := s.js.CreateOrUpdateConsumer(ctx, cfg.Name, consumerConfig(sub, t.Members))
			return err
		})
		if err != nil {
			return fmt.Errorf("consumer %s of stream %s: %w", sub, cfg.Name, err)
		}
	}
	return s.await(ctx, cfg.Name, replicas)
}

// await waits until a stream has a leader and its replicas have caught up.
func (s *system) await(ctx context.Context, stream string, replicas int) error {
	for {
		info, err := s.info(ctx, stream)
		if err == nil && (len(s.servers) == 1 || settled(info.Cluster, replicas)) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("stream %s is not ready: %w", stream, errors.Join(ctx.Err(), err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func settled(c *jetstream.ClusterInfo, replicas int) bool {
	if c == nil || c.Leader == "" || len(c.Replicas) != replicas-1 {
		return false
	}
	for _, r := range c.Replicas {
		if !r.Current || r.Offline {
			return false
		}
	}
	return true
}

// DeleteTopic removes the streams, and with them their consumers.
func (s *system) DeleteTopic(ctx context.Context, name string) error {
	partitions := s.partitions(name)
	if partitions == 0 {
		return fmt.Errorf("delete topic %s: there is none", name)
	}
	err := eachOf(ctx, partitions, makers, func(ctx context.Context, p int) error {
		err := persist(ctx, func(ctx context.Context) error { return s.js.DeleteStream(ctx, streamName(name, p)) })
		if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return err
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete topic %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.topics, name)
	return nil
}

// Leaders asks each stream who leads it.
func (s *system) Leaders(ctx context.Context, topic string) ([]int, error) {
	leaders := make([]int, s.partitions(topic))
	if len(leaders) == 0 {
		return nil, fmt.Errorf("leaders of topic %s: there is none", topic)
	}
	err := eachOf(ctx, len(leaders), askers, func(ctx context.Context, p int) error {
		leaders[p] = s.leader(ctx, topic, p)
		return ctx.Err()
	})
	return leaders, err
}

// leader returns the ID of the server that leads a partition; 0 if it is not known.
func (s *system) leader(ctx context.Context, topic string, partition int) int {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	info, err := s.info(ctx, streamName(topic, partition))
	if err != nil {
		return 0
	}
	if len(s.servers) == 1 {
		return 1
	}
	for _, srv := range s.servers {
		if info.Cluster != nil && info.Cluster.Leader == srv.name {
			return srv.id
		}
	}
	return 0
}

func (s *system) info(ctx context.Context, stream string) (*jetstream.StreamInfo, error) {
	st, err := s.js.Stream(ctx, stream) // asks for the information and keeps it
	if err != nil {
		return nil, err
	}
	return st.CachedInfo(), nil
}

func (s *system) partitions(topic string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.topics[topic]
}

// persist repeats a request that got no answer until ctx ends: a new or busy cluster drops some.
func persist(ctx context.Context, request func(ctx context.Context) error) error {
	for {
		try, cancel := context.WithTimeout(ctx, requestLimit)
		err := request(try)
		cancel()
		var api *jetstream.APIError
		busy := errors.As(err, &api) && api.Code == 503 // "JetStream system temporarily unavailable"
		if !busy && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrNoResponders) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// eachOf does something for 0 to n-1, limit at a time, and returns the first error.
func eachOf(ctx context.Context, n, limit int, do func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(limit)
	for i := range n {
		g.Go(func() error { return do(ctx, i) })
	}
	return g.Wait()
}
