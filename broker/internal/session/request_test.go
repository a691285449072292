package session

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

func TestRequests(t *testing.T) {
	w := newWorld(t, nil)
	c, _ := w.connect()
	two := uint32(2)
	ask := func(r wire.Request) *wire.Response { return w.request(c, &r) }

	require.Equal(t, &wire.InitProducerOK{Producer: protocol.NamedProducerBit | 5, Epoch: 3},
		ask(wire.Request{InitProducer: &wire.InitProducer{Name: "p"}}).InitProducer)
	require.EqualValues(t, 33, ask(wire.Request{CreateTopic: &wire.CreateTopic{Name: "new", Partitions: 2, RequestID: 33}}).CreateTopic.ID)
	require.Equal(t, protocol.CodeTopicExists,
		ask(wire.Request{CreateTopic: &wire.CreateTopic{Name: "new", Partitions: 2, RequestID: 33}}).Error.Code)
	require.EqualValues(t, 33, ask(wire.Request{DeleteTopic: &wire.DeleteTopic{ID: 33}}).DeleteTopic.ID)
	require.Equal(t, "new", ask(wire.Request{AlterTopic: &wire.AlterTopic{Name: "new", Partitions: &two}}).AlterTopic.Name)
	require.Len(t, ask(wire.Request{Metadata: &wire.MetadataRequest{}}).Metadata.Topics, 2)
	require.Equal(t, "test", ask(wire.Request{ClusterStatus: &wire.ClusterStatusRequest{}}).ClusterStatus.Cluster)

	require.NotNil(t, ask(wire.Request{SetBrokerState: &wire.SetBrokerState{Broker: 2, State: protocol.BrokerDrained}}).SetBrokerState)
	require.Equal(t, protocol.CodeNotFound,
		ask(wire.Request{SetBrokerState: &wire.SetBrokerState{Broker: 9, State: protocol.BrokerDrained}}).Error.Code)
	require.Equal(t, []wire.Move{{Topic: 1, Partition: 2, Shard: 18, ID: 7, Add: 2}},
		ask(wire.Request{ListMoves: &wire.ListMoves{}}).ListMoves.Moves)
	require.EqualValues(t, 3, ask(wire.Request{ClusterPlan: &wire.ClusterPlanRequest{}}).ClusterPlan.LeftOut)
	require.EqualValues(t, 2, ask(wire.Request{RaiseLevel: &wire.RaiseLevel{Level: 1}}).RaiseLevel.Level)
	require.Equal(t, protocol.CodeInvalidRequest, ask(wire.Request{RaiseLevel: &wire.RaiseLevel{Level: 3}}).Error.Code)

	w.partitions[tp1].Fill(1, 4, 1)
	states := ask(wire.Request{PartitionState: &wire.PartitionStateRequest{Topic: 1}}).PartitionState
	require.EqualValues(t, 1, states.Broker)
	require.Len(t, states.Partitions, 3)
	require.Equal(t, wire.PartitionState{Partition: 1, Leading: true, Epoch: 1, Next: 4, Applied: 77}, states.Partitions[1])
	require.Equal(t, protocol.CodeTopicNotFound, ask(wire.Request{PartitionState: &wire.PartitionStateRequest{Topic: 5}}).Error.Code)
	w.partitions[tp1].Starting(protocol.Errorf(protocol.CodeUnavailable, "starting"))
	states = ask(wire.Request{PartitionState: &wire.PartitionStateRequest{Topic: 1}}).PartitionState
	require.Len(t, states.Partitions, 2, "what a replica says before it is ready is too little")
	require.EqualValues(t, []protocol.Partition{0, 2}, []protocol.Partition{states.Partitions[0].Partition, states.Partitions[1].Partition})
	w.partitions[tp1].Starting(nil)
	require.Empty(t, ask(wire.Request{Subscriptions: &wire.SubscriptionsRequest{Topic: 1}}).Subscriptions.Subscriptions)
	require.Equal(t, protocol.CodeTopicNotFound, ask(wire.Request{Subscriptions: &wire.SubscriptionsRequest{Topic: 5}}).Error.Code)
}

func TestRequestsAreBounded(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Limits.MaxRequests, c.Limits.RequestTimeout = 2, 300*time.Millisecond
	})
	c, _ := w.connect()
	var lanes []*lane
	for range 5 {
		l := w.lane(c)
		l.send(protocol.KindRequest, &wire.Request{CreateTopic: &wire.CreateTopic{Name: "slow"}})
		lanes = append(lanes, l)
	}
	codes := map[protocol.Code]int{}
	for _, l := range lanes {
		var resp wire.Response
		l.want(protocol.KindResponse, &resp)
		codes[resp.Error.Code]++
	}
	require.Equal(t, 5, codes[protocol.CodeTimeout]+codes[protocol.CodeOverloaded])
	require.GreaterOrEqual(t, codes[protocol.CodeTimeout], 2)

}

// deafStream is a stream whose client takes nothing until it is told to.
type deafStream struct {
	*memStream
	writing chan struct{} // closed by the first write
	hear    chan struct{}
}

func (s *deafStream) Write(p []byte) (int, error) {
	close(s.writing)
	<-s.hear
	return s.memStream.Write(p)
}

// TestRequestsCountUntilTheirResponsesAreTaken: a client that does not read its responses does not have more of them
// in memory than it may have requests.
func TestRequestsCountUntilTheirResponsesAreTaken(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Limits.MaxRequests, c.Limits.RequestTimeout = 1, 100*time.Millisecond
	})
	conn := newConn(w.srv, &memConn{})
	body := (&wire.Request{Metadata: &wire.MetadataRequest{}}).Append(nil)
	ask := func() *wire.Response {
		st := newMemStream(nil, nil, func() {})
		require.NoError(t, conn.request(conn.wrap(st), body))
		_, out, err := frame.NewReader(&st.out).Next()
		require.NoError(t, err)
		var resp wire.Response
		require.NoError(t, resp.Decode(out))
		return &resp
	}
	deaf := &deafStream{newMemStream(nil, nil, func() {}), make(chan struct{}), make(chan struct{})}
	served := make(chan error)
	go func() { served <- conn.request(conn.wrap(deaf), body) }()
	<-deaf.writing
	refused := ask()
	require.NotNil(t, refused.Error)
	require.Equal(t, protocol.CodeOverloaded, refused.Error.Code)
	close(deaf.hear)
	require.NoError(t, <-served)
	require.NotNil(t, ask().Metadata)
}

func TestLongMessagesAreClipped(t *testing.T) {
	require.Equal(t, "short", clip("short", 10))
	long := clip(strings.Repeat("x", 100), 10)
	require.Len(t, long, 10)
	b := appendError(nil, protocol.Errorf(protocol.CodeInternal, "%s", strings.Repeat("y", 1<<20)))
	require.Less(t, len(b), 5<<10)
}
