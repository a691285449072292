package linear

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/trunkline/trunkline/bench/verify/history"
)

const (
	// maxOps bounds the operations of a key.
	maxOps = 2000
	// defaultCap bounds the search over one key.
	defaultCap = 60 * time.Second
)

// Options change what is allowed and how long is searched.
type Options struct {
	Stale time.Duration // a describe, or a read of a position, may answer what was true so long before it was invoked
	Cap   time.Duration // for the search over one key; 0: 60 s
}

// Result is the verdict over all keys.
type Result struct {
	Keys      int
	Ops       int
	Broken    []string // keys whose history is not linearizable, with the reason in words
	Undecided []string // keys that were not decided within the cap
}

// OK reports whether every key was decided and sound.
func (r *Result) OK() bool { return len(r.Broken)+len(r.Undecided) == 0 }

// TooLongError says that a key has more operations than can be searched.
type TooLongError struct {
	Key string
	Ops int
}

func (e *TooLongError) Error() string {
	return fmt.Sprintf("%s has %d operations, at most %d can be searched: record fewer", e.Key, e.Ops, maxOps)
}

// Topics judges the create, delete and describe operations of a history; others are ignored.
func Topics(ops []history.Op, o Options) (Result, error) {
	byKey := map[string][]porcupine.Operation{}
	for i, op := range ops {
		if op.Class == history.Fail || op.Kind == history.Describe && op.Class == history.Unknown {
			continue
		}
		p := operation(i, op)
		switch op.Kind {
		case history.Create, history.Delete:
		case history.Describe:
			p.Call = max(0, p.Call-o.Stale.Nanoseconds())
		default:
			continue
		}
		byKey[fmt.Sprintf("topic %q", op.Key)] = append(byKey[fmt.Sprintf("topic %q", op.Key)], p)
	}
	return search(topicModel, byKey, o)
}

// Positions judges the commit and position operations of a history; others are ignored.
func Positions(ops []history.Op, o Options) (Result, error) {
	byKey := map[string][]porcupine.Operation{}
	for i, op := range ops {
		if op.Class != history.OK || op.Kind != history.Commit && op.Kind != history.Position {
			continue
		}
		p := operation(i, op)
		if op.Kind == history.Position {
			p.Call = max(0, p.Call-o.Stale.Nanoseconds())
		}
		key := fmt.Sprintf("subscription %q partition %d", op.Key, op.Partition)
		byKey[key] = append(byKey[key], p)
	}
	return search(positionModel, byKey, o)
}

// operation is the i-th of a history as porcupine wants it.
func operation(i int, op history.Op) porcupine.Operation {
	p := porcupine.Operation{ClientId: op.Worker, Input: op, Call: op.Invoke, Return: op.Return}
	if op.Class == history.Unknown {
		p.ClientId, p.Return = math.MaxInt32+i, math.MaxInt64 // nobody waits for it, so it is nobody's
	}
	return p
}

func search(model porcupine.Model, byKey map[string][]porcupine.Operation, o Options) (Result, error) {
	var r Result
	keys := make([]string, 0, len(byKey))
	for key := range byKey {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		ops := byKey[key]
		if len(ops) > maxOps {
			return r, &TooLongError{Key: key, Ops: len(ops)}
		}
		r.Keys++
		r.Ops += len(ops)
		switch verdict, info := porcupine.CheckOperationsVerbose(model, ops, cmp.Or(o.Cap, defaultCap)); verdict {
		case porcupine.Illegal:
			r.Broken = append(r.Broken, fmt.Sprintf("%s: %s", key, explain(ops, info)))
		case porcupine.Unknown:
			r.Undecided = append(r.Undecided, key)
		case porcupine.Ok:
		}
	}
	return r, nil
}

// explain names the first operation that the longest order found does not reach.
func explain(ops []porcupine.Operation, info porcupine.LinearizationInfo) string {
	var longest []porcupine.Operation
	for _, partition := range info.PartialLinearizationsOperations() {
		for _, order := range partition {
			if len(order) > len(longest) {
				longest = order
			}
		}
	}
	reached := map[history.Op]int{}
	for _, p := range longest {
		reached[p.Input.(history.Op)]++
	}
	rest := slices.DeleteFunc(slices.Clone(ops), func(p porcupine.Operation) bool {
		reached[p.Input.(history.Op)]--
		return reached[p.Input.(history.Op)] >= 0
	})
	slices.SortStableFunc(rest, func(a, b porcupine.Operation) int { return cmp.Compare(a.Return, b.Return) })
	text := fmt.Sprintf("%d of %d operations are linearizable", len(longest), len(ops))
	if len(longest) > 0 {
		text += ", the last of them " + describe(longest[len(longest)-1].Input.(history.Op))
	}
	if len(rest) > 0 {
		text += "; not " + describe(rest[0].Input.(history.Op))
	}
	return text
}

func describe(o history.Op) string {
	what := fmt.Sprintf("id %d", o.ID)
	if o.Kind == history.Commit || o.Kind == history.Position {
		what = fmt.Sprintf("offset %d", o.Offset)
	}
	return fmt.Sprintf("%s %s by worker %d (%s, from %v to %v)", o.Kind, what, o.Worker, o.Class, time.Duration(o.Invoke), time.Duration(o.Return))
}
