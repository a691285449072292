package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

func TestPlanIsPrinted(t *testing.T) {
	names := map[protocol.TopicID]string{0: metadataName, 1: "calls"}
	r := newPlanReport(&client.Plan{
		Moves: []client.MoveProgress{
			{Move: client.Move{ID: 7, Topic: 1, Partition: 3, Add: 4, Remove: 2}, Leader: 3, Step: "the replica on broker 4 catches up",
				Since: 12400 * time.Millisecond, Last: 2000, Match: 500, Bytes: 64 << 20, Copied: 15 << 20},
			{Move: client.Move{ID: 8, Topic: 0, Remove: 2}, Leader: 3, Step: "yield"},
			{Move: client.Move{ID: 9, Topic: 1, Add: 4}},
		},
		Next: []client.PlannedStep{
			{Action: "begin", Topic: "calls", Partition: 1, Add: 4, Remove: 2, Reason: "broker 2 leaves"},
			{Action: "begin", Topic: "calls", Partition: 2, Add: 4, Reason: "r"},
			{Action: "begin", Remove: 4, Reason: "r"},
			{Action: "undo", Topic: "calls", Partition: 4, Add: 4, Remove: 2, Reason: "r"},
			{Action: "undo", Topic: "calls", Partition: 4, Remove: 2, Reason: "r"},
			{Action: "prefer", Topic: "calls", Broker: 1, Reason: "r"},
			{Action: "retire", Broker: 2, Reason: "it has left"},
		},
		LeftOut: 5, Notes: []string{"Broker 9 waits."}, Planner: 1, Guessed: true, Silent: []protocol.BrokerID{2},
	}, names)
	var out bytes.Buffer
	require.NoError(t, r.print(&out))
	require.Equal(t, `Under way: 3 moves.
MOVE  PARTITION   TO  FROM  ENTRIES      BYTES             FOR  STEP
7     calls/3     4   2     500 of 2000  15 MiB of 64 MiB  12s  the replica on broker 4 catches up
8     (metadata)  -   2     -            -                 0s   yield
9     calls/0     4   -     ?            ?                 ?    its leader did not answer

Next: in this order, a few at a time (moves.concurrent, moves.per_broker):
  calls/1 moves from broker 2 to broker 4, because broker 2 leaves
  calls/2 gets a replica on broker 4, because r
  (metadata) loses its replica on broker 4, because r
  the move of calls/4 to broker 4 is taken back, because r
  the removal of calls/4 from broker 2 is taken back, because r
  calls/0 is led by broker 1, because r
  broker 2 is retired, because it has left
  and at least 5 more

Broker 9 waits.

The leader of the metadata, which decides, did not answer: what comes next is what broker 1 makes of it.

No answer from broker 2: how far the moves are that they lead is not known.
`, out.String())
}

func TestSizes(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 9 << 10: "9216 B", 10 << 10: "10 KiB", 64 << 20: "64 MiB", 9 << 30: "9216 MiB", 300 << 40: "300 TiB"} {
		require.Equal(t, want, size(n))
	}
}
