package client

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/protocol/wire"
)

func TestPlansAreMerged(t *testing.T) {
	move := wire.Move{ID: 7, Topic: 1, Partition: 3, Add: 4, Remove: 2}
	old := wire.Move{ID: 5, Topic: 1, Add: 4, Remove: 1}
	next := func(action string) []wire.PlannedStep { return []wire.PlannedStep{{Action: action, Topic: "calls"}} }
	answers := []*wire.ClusterPlan{
		{Broker: 1, MetadataVersion: 9, MetadataLeader: 2, Next: next("guess"), Moves: []wire.MoveProgress{{Move: old}, {Move: move}}},
		{Broker: 2, MetadataVersion: 10, MetadataLeader: 2, Next: next("begin"), LeftOut: 4, Notes: []string{"n"}, Moves: []wire.MoveProgress{{Move: move}}},
		{Broker: 3, MetadataVersion: 10, MetadataLeader: 2, Next: next("guess"), Moves: []wire.MoveProgress{
			{Move: move, Leads: true, Step: "promote", SinceMillis: 2000, Last: 50, Match: 40, Bytes: 1000},
		}},
		{Broker: 4, MetadataVersion: 10, MetadataLeader: 2, Moves: []wire.MoveProgress{{Move: move, Bytes: 800}}},
	}
	var p Plan
	p.merge(answers)
	require.Equal(t, Plan{
		Planner: 2, LeftOut: 4, Notes: []string{"n"}, Next: []PlannedStep{{Action: "begin", Topic: "calls"}},
		Moves: []MoveProgress{{
			Move: moveOf(move), Leader: 3, Step: "promote", Since: 2 * time.Second, Last: 50, Match: 40, Bytes: 1000, Copied: 800,
		}},
	}, p)

	p = Plan{}
	p.merge(answers[:1])
	require.True(t, p.Guessed, "the leader of the metadata did not answer")
	require.Equal(t, "guess", p.Next[0].Action)
	require.Len(t, p.Moves, 2)
}
