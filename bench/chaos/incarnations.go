package chaos

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/trunkline/trunkline/bench/verify"
	"github.com/trunkline/trunkline/bench/verify/history"
	"github.com/trunkline/trunkline/protocol"
)

// leaderDoubt is for how long a leader that was replaced may answer readers before it knows.
const leaderDoubt = 2 * time.Second

// incarnations judge the records of topics whose names are used again and again. An incarnation is what a name means between a
// creation and a deletion; its identity is the topic's.
//
//	a record that was published to one incarnation is in no other one
//	nothing is in an incarnation that was answered before its creation was asked for, or that was refused, or that nobody sent
//	what was acknowledged is in its incarnation for as long as that exists, at its offset
//	offsets begin at 0 and are dense
//
// Safe for concurrent use. Memory: about 100 bytes a record; a churn sends some dozens a second and lasts for seconds.
type incarnations struct {
	mu      sync.Mutex
	sent    map[verify.ID]*attempt   // guarded by mu, like all below
	created map[uint64]time.Duration // by identity: when its creation was asked for
	broken  []string                 // at most maxTrouble
	counts  map[string]int64
}

// attempt is one record. Times are since the beginning of the run.
type attempt struct {
	topic    string
	id       uint64 // the incarnation that its producer was opened for; 0: not known
	answered time.Duration
	class    history.Class
	offset   protocol.Offset
}

// seen is a record that was read.
type seen struct {
	record verify.ID
	offset protocol.Offset
}

func newIncarnations() *incarnations {
	return &incarnations{sent: map[verify.ID]*attempt{}, created: map[uint64]time.Duration{}, counts: map[string]int64{}}
}

func (in *incarnations) violation(format string, args ...any) {
	in.counts["broken"]++
	if len(in.broken) < maxTrouble {
		in.broken = append(in.broken, fmt.Sprintf(format, args...))
	}
}

// make notes a creation: asked is when it was asked for.
func (in *incarnations) make(id uint64, asked time.Duration) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.created[id] = asked
}

// send notes a record that is about to be published.
func (in *incarnations) send(r verify.ID, topic string, id uint64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.sent[r] = &attempt{topic: topic, id: id, class: history.Unknown}
}

// answer notes what became of a record.
func (in *incarnations) answer(r verify.ID, class history.Class, offset protocol.Offset, at time.Duration) {
	in.mu.Lock()
	defer in.mu.Unlock()
	a := in.sent[r]
	a.class, a.offset, a.answered = class, offset, at
	in.counts["answered_"+string(class)]++
}

// read judges everything that a reader was given from one incarnation, from its beginning to its end; began is when it was opened.
func (in *incarnations) read(topic string, id uint64, began time.Duration, all []seen) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.counts["reads"]++
	in.counts["read"] += int64(len(all))
	there := map[verify.ID]protocol.Offset{}
	for i, s := range all {
		if s.offset != protocol.Offset(i) {
			in.violation("topic %s, id %d: offset %d where %d is due", topic, id, s.offset, i)
		}
		there[s.record] = s.offset
		in.belongs(topic, id, s)
	}
	for r, a := range in.sent {
		if a.topic != topic || a.id != id || a.class != history.OK || a.answered+leaderDoubt > began {
			continue
		}
		if at, ok := there[r]; !ok || at != a.offset {
			in.violation("topic %s, id %d: record %d of worker %d was acknowledged at offset %d and is not there", topic, id, r.Seq, r.Producer, a.offset)
		}
	}
}

// belongs judges that a record may be in an incarnation. in.mu is held.
func (in *incarnations) belongs(topic string, id uint64, s seen) {
	a, made := in.sent[s.record], in.created[id]
	what := fmt.Sprintf("topic %s, id %d, offset %d: record %d of worker %d", topic, id, s.offset, s.record.Seq, s.record.Producer)
	switch {
	case a == nil || a.topic != topic:
		in.violation("%s was never sent there", what)
	case a.id != 0 && a.id != id:
		in.violation("%s was published to incarnation %d", what, a.id)
	case a.answered != 0 && a.answered < made:
		in.violation("%s was answered before this incarnation was asked for", what)
	case a.class == history.Fail:
		in.violation("%s was refused", what)
	}
}

// verdict returns what is wrong.
func (in *incarnations) verdict() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.broken)
}

// counted returns how many records were answered, by class, how many were read, and in how many reads.
func (in *incarnations) counted() map[string]int64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return maps.Clone(in.counts)
}
