package main

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// lagging is a cluster whose list of brokers is not what its metadata say.
type lagging struct {
	*clusterFacts
	clusterAdmin
	err   error // of a change: the word of the metadata
	asked []protocol.BrokerState
}

func (l *lagging) ClusterStatus(context.Context) ([]client.BrokerStatus, error) {
	return l.brokers, nil
}

func (l *lagging) SetBrokerState(_ context.Context, _ protocol.BrokerID, s protocol.BrokerState) error {
	l.asked = append(l.asked, s)
	return l.err
}

// TestABrokerIsRetiredByTheWordOfTheMetadata: a list without it may be that of a broker that has just started.
func TestABrokerIsRetiredByTheWordOfTheMetadata(t *testing.T) {
	a := &lagging{clusterFacts: &clusterFacts{brokers: whole().brokers[:2]}}
	for _, err := range []error{nil, protocol.Errorf(protocol.CodeUnavailable, "no leader")} {
		a.err = err
		left, done, got := lookRetired(t.Context(), a, 3)
		require.Equal(t, err, got)
		require.Empty(t, done)
		require.True(t, left != "" || got != nil, "it is not done")
	}
	a.err = protocol.Errorf(protocol.CodeNotFound, "broker 3 was retired")
	left, done, err := lookRetired(t.Context(), a, 3)
	require.NoError(t, err)
	require.Empty(t, left)
	require.Contains(t, done, "retired")
	require.Equal(t, []protocol.BrokerState{protocol.BrokerLeaving, protocol.BrokerLeaving, protocol.BrokerLeaving}, a.asked)

	a.asked = nil
	left, _, err = lookRetired(t.Context(), a, 2)
	require.NoError(t, err)
	require.Equal(t, "it is active", left)
	require.Empty(t, a.asked, "it is listed")
}

func TestWhatKeepsABrokerThatLeaves(t *testing.T) {
	gone := client.Broker{State: protocol.BrokerLeaving}
	require.Equal(t, "2 replicas to be moved away", leaving(&client.BrokerStatus{Broker: gone, Replicas: 2}))
	require.Contains(t, leaving(&client.BrokerStatus{Err: errors.New("no connection")}), "made anew")
	require.Contains(t, leaving(&client.BrokerStatus{Broker: gone}), "about to be retired")
	require.Equal(t, "it is active", leaving(&client.BrokerStatus{Broker: client.Broker{State: protocol.BrokerActive}}))
}

// TestASilentBrokerIsNotDrained: one that gets no processor is drained because it does not answer, and leads all the same.
func TestASilentBrokerIsNotDrained(t *testing.T) {
	c := whole()
	left := func(id protocol.BrokerID) string {
		left, stay := c.draining(id)
		require.Empty(t, stay)
		return left
	}
	b := &c.brokers[1]
	b.State, b.Leading = protocol.BrokerDrained, 1
	require.Equal(t, "it leads 1 partition", left(2))
	b.Err = errors.New("deadline exceeded")
	require.Equal(t, "it does not answer: deadline exceeded", left(2))
	b.Err, b.Leading = nil, 0
	require.Empty(t, left(2))
	require.Equal(t, "it is active", left(1))
	require.Contains(t, left(4), "not in the cluster")
}

// TestWhatNobodyElseCanLeadStays: partitions with one replica, or whose others are drained too.
func TestWhatNobodyElseCanLeadStays(t *testing.T) {
	c := whole() // broker 2 leads calls/1
	b := &c.brokers[1]
	b.State, b.Leading = protocol.BrokerDrained, 2
	c.topics[0].Partitions[3] = client.TopicPartition{Partition: 3, Leader: 2, Replicas: []protocol.BrokerID{2}}
	left, _ := c.draining(2)
	require.Equal(t, "it leads 1 partition", left)
	b.Leading = 1
	left, stay := c.draining(2)
	require.Empty(t, left)
	require.Equal(t, []protocol.TopicPartition{{Topic: 1, Partition: 3}}, stay)
	require.Equal(t, "1 partition will pause while it is down, since no other active broker has a replica: calls/3", c.willPause(stay))

	b.Leading, c.brokers[0].State, c.brokers[2].State = 2, protocol.BrokerDrained, protocol.BrokerLeaving
	left, stay = c.draining(2)
	require.Empty(t, left)
	require.Len(t, stay, 2)
}

func TestDrainEndsWhenNothingIsLed(t *testing.T) {
	f, _, _ := newRoll(t)
	f.brokers[1].Leading = 0
	var out bytes.Buffer
	require.NoError(t, brokerChange{to: protocol.BrokerDrained, look: lookDrained}.run(t.Context(), &out, f, 2, time.Minute))
	require.Contains(t, out.String(), "broker 2: drained: it leads nothing and can be stopped")
	require.Equal(t, []string{"2 drained"}, f.log)

	out.Reset()
	f.brokers[1].Leading, f.topics[0].Partitions[1].Replicas = 1, []protocol.BrokerID{2}
	require.NoError(t, brokerChange{to: protocol.BrokerDrained, look: lookDrained}.run(t.Context(), &out, f, 2, time.Minute))
	require.Contains(t, out.String(), "1 partition will pause while it is down, since no other active broker has a replica: calls/1")

	f.brokers[1].Err = errors.New("deadline exceeded")
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	require.ErrorContains(t, brokerChange{to: protocol.BrokerDrained, look: lookDrained}.run(ctx, &out, f, 2, time.Minute), "it does not answer")
}
