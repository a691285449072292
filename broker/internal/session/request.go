package session

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

// request serves a request stream: one request, one response, if need be after others of its connection.
func (c *conn) request(st *stream, body []byte) error {
	var req wire.Request
	if err := req.Decode(body); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.srv.cfg.Limits.RequestTimeout)
	defer cancel()
	unlink := context.AfterFunc(st.Context(), cancel) // the client does not wait any more
	defer unlink()
	select { // held until the response is taken: it is in memory as long
	case c.requests <- struct{}{}:
		defer func() { <-c.requests }()
	case <-ctx.Done():
		return c.respond(st, failed(protocol.Errorf(protocol.CodeOverloaded,
			"%d requests of this connection were being served, or their responses not taken, all the time", cap(c.requests))))
	}
	return c.respond(st, c.answer(ctx, &req))
}

// respond writes the response and the end of the stream.
func (c *conn) respond(st *stream, resp *wire.Response) error {
	if resp.Error != nil {
		c.srv.metrics.refused(resp.Error.Code)
	}
	b := wire.AppendFrame(nil, protocol.KindResponse, resp)
	if size := len(b) - frame.HeaderSize; size > protocol.MaxMetadataBytes {
		return protocol.Errorf(protocol.CodeLimitExceeded, "the response has %d bytes, at most %d are allowed",
			size, protocol.MaxMetadataBytes)
	}
	if err := st.write(b); err != nil {
		return err
	}
	st.end(protocol.CodeClosing)
	return nil
}

// answer serves one request.
func (c *conn) answer(ctx context.Context, req *wire.Request) *wire.Response {
	began := time.Now()
	kind, resp, err := c.handle(ctx, req)
	c.srv.metrics.requests.WithLabelValues(kind).Observe(time.Since(began).Seconds())
	if err != nil {
		if c.ctx.Err() != nil {
			err = c.why()
		}
		return failed(err)
	}
	return resp
}

func failed(err error) *wire.Response {
	e := wire.ErrorFrom(err)
	e.Message = clip(e.Message, maxErrorMessage)
	return &wire.Response{Error: &e}
}

// handle serves one request and names it for the metrics.
func (c *conn) handle(ctx context.Context, req *wire.Request) (kind string, _ *wire.Response, err error) {
	m, resp := c.srv.cfg.Meta, &wire.Response{}
	switch {
	case req.InitProducer != nil:
		kind = "init_producer"
		resp.InitProducer, err = keep(m.InitProducer(ctx, req.InitProducer.Name))
	case req.CreateTopic != nil:
		kind = "create_topic"
		resp.CreateTopic, err = keep(m.CreateTopic(ctx, *req.CreateTopic))
	case req.DeleteTopic != nil:
		kind = "delete_topic"
		var id protocol.TopicID
		id, err = m.DeleteTopic(ctx, *req.DeleteTopic)
		resp.DeleteTopic = &wire.DeleteTopicOK{ID: id}
	case req.AlterTopic != nil:
		kind = "alter_topic"
		resp.AlterTopic, err = keep(m.AlterTopic(ctx, *req.AlterTopic))
	case req.SetBrokerState != nil:
		kind = "set_broker_state"
		resp.SetBrokerState = &wire.SetBrokerStateOK{}
		err = m.SetBrokerState(ctx, *req.SetBrokerState)
	case req.RaiseLevel != nil && c.srv.cfg.RaiseLevel != nil:
		kind = "raise_level"
		resp.RaiseLevel = &wire.RaiseLevelOK{}
		resp.RaiseLevel.Level, err = c.srv.cfg.RaiseLevel(ctx, req.RaiseLevel.Level)
	default:
		kind, err = c.handleRead(req, resp)
	}
	return kind, resp, err
}

// handleRead serves a request that changes nothing.
func (c *conn) handleRead(req *wire.Request, resp *wire.Response) (kind string, err error) {
	switch {
	case req.Metadata != nil:
		kind = "metadata"
		resp.Metadata = newestMetadata(&c.srv.cfg)
	case req.PartitionState != nil:
		kind = "partition_state"
		resp.PartitionState, err = c.partitionStates(req.PartitionState.Topic)
	case req.ClusterStatus != nil:
		kind = "cluster_status"
		status := c.srv.cfg.Status()
		resp.ClusterStatus = &status
	case req.Subscriptions != nil:
		kind = "subscriptions"
		resp.Subscriptions, err = c.subscriptions(req.Subscriptions.Topic)
	case req.ListMoves != nil:
		kind = "list_moves"
		resp.ListMoves = &wire.Moves{Moves: c.srv.cfg.Meta.Moves()}
	case req.ClusterPlan != nil && c.srv.cfg.Plan != nil:
		kind = "cluster_plan"
		plan := c.srv.cfg.Plan()
		resp.ClusterPlan = &plan
	default:
		kind, err = "unknown", protocol.Errorf(protocol.CodeUnsupported, "a request of a kind that this broker does not know")
	}
	return kind, err
}

func keep[T any](v T, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	return &v, nil
}

// hosted calls f for every partition of a topic that has a replica here.
func (c *conn) hosted(topic protocol.TopicID, f func(protocol.TopicPartition, Partition)) error {
	t, ok := c.srv.cfg.Meta.Topic(topic)
	if !ok {
		return protocol.Errorf(protocol.CodeTopicNotFound, "there is no topic %d", topic)
	}
	for i := range t.Partitions {
		tp := protocol.TopicPartition{Topic: topic, Partition: protocol.Partition(i)}
		if p, ok := c.srv.cfg.Partitions.Partition(tp); ok {
			f(tp, p)
		}
	}
	return nil
}

// partitionStates leaves out replicas that are starting: whoever compares replicas would take them for shorter ones.
func (c *conn) partitionStates(topic protocol.TopicID) (*wire.PartitionStates, error) {
	out := &wire.PartitionStates{Broker: c.srv.cfg.Self}
	err := c.hosted(topic, func(tp protocol.TopicPartition, p Partition) {
		if p.Ready() != nil {
			return
		}
		s := p.State()
		s.Partition = tp.Partition
		out.Partitions = append(out.Partitions, s)
	})
	return out, err
}

func (c *conn) subscriptions(topic protocol.TopicID) (*wire.Subscriptions, error) {
	out := &wire.Subscriptions{Broker: c.srv.cfg.Self}
	err := c.hosted(topic, func(tp protocol.TopicPartition, p Partition) {
		if _, _, leads := p.Leading(); !leads {
			return
		}
		for name, cur := range p.Cursors() {
			s := wire.SubscriptionState{
				Partition: tp.Partition, Subscription: name, Cursor: cur.Offset, Activation: cur.Activation,
			}
			s.Active, s.Consumers = c.srv.feed.View(tp, name)
			out.Subscriptions = append(out.Subscriptions, s)
		}
	})
	slices.SortFunc(out.Subscriptions, func(a, b wire.SubscriptionState) int {
		return cmp.Or(cmp.Compare(a.Subscription, b.Subscription), cmp.Compare(a.Partition, b.Partition))
	})
	return out, err
}
