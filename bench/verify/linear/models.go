package linear

import (
	"github.com/anishathalye/porcupine"

	"github.com/trunkline/trunkline/bench/verify/history"
)

// topic is the state of one name.
type topic struct {
	exists bool
	id     uint64 // of the one there is; 0: nobody was told it yet
	top    uint64 // the highest that anybody was told
}

var topicModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{topic{}} },
	Step: func(state, input, _ any) []any {
		return topicStep(state.(topic), input.(history.Op))
	},
}).ToModel()

// topicStep returns every state that an operation may lead to; none: it cannot take effect here.
func topicStep(s topic, o history.Op) []any {
	switch {
	case o.Kind == history.Create && o.Class == history.Unknown:
		if s.exists {
			return []any{s} // it was refused
		}
		return []any{s, topic{exists: true, top: s.top}} // refused for another reason, or made
	case o.Kind == history.Create:
		if s.exists || o.ID <= s.top {
			return nil
		}
		return []any{topic{exists: true, id: o.ID, top: o.ID}}
	case o.Kind == history.Delete:
		return deleteStep(s, o)
	case o.ID == 0:
		if s.exists {
			return nil
		}
		return []any{s}
	case s.exists && s.id == o.ID:
		return []any{s}
	case s.exists && s.id == 0 && o.ID > s.top:
		return []any{topic{exists: true, id: o.ID, top: o.ID}}
	}
	return nil
}

// deleteStep is the deletion of a topic by identity, which succeeds too if it was deleted before.
func deleteStep(s topic, o history.Op) []any {
	gone := topic{top: max(s.top, o.ID)}
	switch {
	case o.Class == history.Unknown || o.ID == 0:
		return []any{s, topic{top: s.top}}
	case s.exists && s.id == o.ID:
		return []any{gone}
	case s.exists && s.id == 0 && o.ID > s.top:
		return []any{gone} // so that was its identity
	case o.ID <= s.top && s.exists:
		return []any{s, topic{top: s.top}} // it was gone already; the worker may have met its successor
	case o.ID <= s.top:
		return []any{s}
	}
	return nil
}

var positionModel = porcupine.Model{
	Init: func() any { return int64(0) },
	Step: func(state, input, _ any) (bool, any) {
		least, o := state.(int64), input.(history.Op)
		if o.Kind == history.Commit {
			return true, max(least, o.Offset)
		}
		return o.Offset >= least, max(least, o.Offset)
	},
}
