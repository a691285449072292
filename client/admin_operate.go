package client

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// Plan is what is under way in the cluster and what comes next.
type Plan struct {
	Moves []MoveProgress // under way, by ID
	Next  []PlannedStep  // in order, at most 300
	// LeftOut says how many more steps at least are to come.
	LeftOut int
	Notes   []string // sentences: what waits or cannot be done, and why
	// Planner is the broker that Next and Notes are from: the leader of the metadata if it answered, else one that only guesses.
	Planner protocol.BrokerID
	Guessed bool
	// Silent are the brokers that did not answer: of moves that they lead nothing is known but that they are under way.
	Silent []protocol.BrokerID
}

// MoveProgress is a move and how far it is.
type MoveProgress struct {
	Move
	Leader protocol.BrokerID // who makes it: the leader of the partition; 0: it did not answer, and Step, Since, Last and Match are zero
	Step   string            // what it does or waits for
	Since  time.Duration     // since this leader took it up
	Last   uint64            // index of the last entry of the leader's log
	Match  uint64            // up to which the new replica has it
	// Bytes are those of the leader's replica, Copied those of the new one. While a snapshot is received it has none yet.
	Bytes, Copied uint64
}

// PlannedStep is something that comes next.
type PlannedStep struct {
	Action    string // begin (a move), undo (a move), retire (a broker) or prefer (another leader)
	Topic     string // empty for the cluster's metadata, and for retire
	Partition protocol.Partition
	Add       protocol.BrokerID // 0: none
	Remove    protocol.BrokerID // 0: none
	Broker    protocol.BrokerID // who is retired, or is to lead
	Reason    string
}

// AilingPartition is a partition in trouble.
type AilingPartition struct {
	Topic     protocol.TopicID // 0: the cluster's metadata
	Partition protocol.Partition
	Brokers   []protocol.BrokerID // of the replicas that lack something
}

// ClusterPlan asks every broker, because nobody knows everything: who leads a partition knows how its move gets on, and who leads the
// metadata knows what comes next. Brokers that do not answer within two seconds are listed; if none answers, that is the error.
func (a *Admin) ClusterPlan(ctx context.Context) (*Plan, error) {
	answers := a.ask(ctx, a.brokers(), &wire.Request{ClusterPlan: &wire.ClusterPlanRequest{}})
	var plans []*wire.ClusterPlan
	out := &Plan{}
	var last error
	for _, b := range slices.Sorted(maps.Keys(answers)) {
		switch ans := answers[b]; {
		case ans.err != nil:
			out.Silent, last = append(out.Silent, b), ans.err
		case ans.resp.ClusterPlan == nil:
			out.Silent, last = append(out.Silent, b), errNoAnswer
		default:
			plans = append(plans, ans.resp.ClusterPlan)
		}
	}
	if ctx.Err() != nil {
		last = context.Cause(ctx)
	}
	if len(plans) == 0 {
		return nil, fmt.Errorf("trunkline: cluster plan: %w", a.c.closedOr(cmp.Or(last, errNoAnswer)))
	}
	out.merge(plans)
	return out, nil
}

// merge puts the answers together: the moves are those of the newest metadata, the rest is the planner's.
func (p *Plan) merge(plans []*wire.ClusterPlan) {
	newest := slices.MaxFunc(plans, func(x, y *wire.ClusterPlan) int { return cmp.Compare(x.MetadataVersion, y.MetadataVersion) })
	planner := newest
	for _, w := range plans {
		if w.Broker == w.MetadataLeader {
			planner = w
		}
	}
	p.Planner, p.Guessed = planner.Broker, planner.Broker != planner.MetadataLeader
	p.LeftOut, p.Notes = int(planner.LeftOut), planner.Notes
	for _, s := range planner.Next {
		p.Next = append(p.Next, PlannedStep(s))
	}
	for i := range newest.Moves {
		p.Moves = append(p.Moves, mergeMove(newest.Moves[i].Move, plans))
	}
}

// mergeMove adds to a move what its leader and the broker of the new replica know.
func mergeMove(m wire.Move, plans []*wire.ClusterPlan) MoveProgress {
	out := MoveProgress{Move: moveOf(m)}
	for _, w := range plans {
		i, found := slices.BinarySearchFunc(w.Moves, m.ID, func(x wire.MoveProgress, id uint64) int { return cmp.Compare(x.Move.ID, id) })
		if !found {
			continue
		}
		known := &w.Moves[i]
		if known.Leads {
			out.Leader, out.Step, out.Last, out.Match, out.Bytes = w.Broker, known.Step, known.Last, known.Match, known.Bytes
			out.Since = time.Duration(known.SinceMillis) * time.Millisecond
		}
		if w.Broker == m.Add {
			out.Copied = known.Bytes
		}
	}
	return out
}

func moveOf(m wire.Move) Move {
	return Move{ID: m.ID, Topic: m.Topic, Partition: m.Partition, Add: m.Add, Remove: m.Remove, Undo: m.Undo}
}

func ailingOf(all []wire.AilingPartition) []AilingPartition {
	out := make([]AilingPartition, 0, len(all))
	for _, p := range all {
		out = append(out, AilingPartition(p))
	}
	return out
}
