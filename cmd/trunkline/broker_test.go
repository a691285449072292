package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

func TestBrokerIDs(t *testing.T) {
	id, err := brokerID("7")
	require.NoError(t, err)
	require.Equal(t, protocol.BrokerID(7), id)
	for _, text := range []string{"0", "-1", "x", "", "4294967296"} {
		_, err := brokerID(text)
		require.ErrorContains(t, err, "not a broker ID", text)
	}
	require.Equal(t, "-", orNone(0))
	require.Equal(t, "3", orNone(3))
}

func TestBrokerRows(t *testing.T) {
	r := memberRow{ID: 2, Listen: "h:1", Zone: "a", State: "active", Alive: true, Leads: 3, Replicas: 9, Version: "v1"}
	require.Equal(t, "2\th:1\ta\tactive\tyes\t3\t9\tv1", r.line())
	r.Alive = false
	require.Equal(t, "2\th:1\ta\tactive\tno\t-\t-\t-", r.line(), "nothing is known of it")
}

func TestAlteredTopics(t *testing.T) {
	two := []protocol.BrokerID{1, 2}
	topic := &client.Topic{Name: "calls", Replicas: 2, Partitions: []client.TopicPartition{{Replicas: two}}}
	require.Equal(t, "altered calls: 1 partition, 2 replicas of each\n", altered(topic))
	require.Equal(t, 2, newTopicRow(*topic).Replicas)
	topic.Replicas = 3
	require.Contains(t, altered(topic), "trunkline cluster plan")
	require.Equal(t, 3, newTopicRow(*topic).Replicas, "what is wanted")
}
