package journaltest

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"
)

// Dice returns a number of [0, n). It makes all the choices of a history, so that whoever throws it can repeat and
// shrink it.
type Dice func(n int) int

// flip is true once in n times.
func (d Dice) flip(n int) bool { return d(n) == 0 }

// between returns a number of [low, high].
func (d Dice) between(low, high uint64) uint64 { return low + uint64(d(int(high-low)+1)) }

// call is one call of a history. It can be made any number of times, on any LogDB.
type call struct {
	what    string
	touches []touch
	do      func(db raftio.ILogDB) error
}

// touch is a replica that a call changes. If it is lazy, the change need not be durable when the call returns: a commit
// that moved alone, and the removal of entries that nobody reads again.
type touch struct {
	info raftio.NodeInfo
	lazy bool
}

// legal makes the calls that Dragonboat's engine could make of one worker's replicas, in an order that it could make
// them in. The model is what they led to.
type legal struct {
	dice      Dice
	model     *Model
	infos     []raftio.NodeInfo // all of one worker
	keepsTail bool              // Subject.KeepsTail
	term      uint64            // newest of any replica: none is used again by a replica that begins anew
}

// next makes the next call.
func (l *legal) next() call {
	info := l.infos[l.dice(len(l.infos))]
	r := l.model.Version(info)
	switch n := l.dice(40); {
	case n < 27:
		return l.round()
	case n < 30 && r.State.Commit > r.Snapshot.Index:
		return l.snapshot(info, r)
	case n < 31 && r.Snapshot.Index > 1: // taken before a newer one was installed, saved after it
		ss := pb.Snapshot{Index: l.dice.between(1, r.Snapshot.Index-1), Term: 1}
		return l.saveSnapshot(info, ss, true)
	case n < 35 && r.Snapshot.Index > 0:
		return l.remove(info, l.dice.between(1, r.Snapshot.Index))
	case n < 36:
		return l.bootstrap(info)
	case n < 37 && l.dice.flip(3):
		what := fmt.Sprintf("remove node %v", info)
		return call{what, []touch{{info, false}}, func(db raftio.ILogDB) error {
			return db.RemoveNodeData(info.ShardID, info.ReplicaID)
		}}
	case n < 38 && l.dice.flip(3):
		return l.importSnapshot(info)
	}
	return l.round()
}

// round is a call of SaveRaftState for some of the replicas.
func (l *legal) round() call {
	c := call{}
	var updates []pb.Update
	for _, info := range l.infos {
		if l.dice.flip(2) {
			continue
		}
		r := l.model.Version(info)
		ud := l.update(info, r)
		hard := len(ud.EntriesToSave) > 0 || !pb.IsEmptySnapshot(ud.Snapshot) ||
			!pb.IsEmptyState(ud.State) && (ud.State.Term != r.State.Term || ud.State.Vote != r.State.Vote)
		c.touches = append(c.touches, touch{info, !hard})
		updates = append(updates, ud)
		c.what += describeUpdate(ud)
	}
	c.what = "save" + c.what
	c.do = func(db raftio.ILogDB) error {
		given := make([]pb.Update, len(updates))
		for i, ud := range updates {
			given[i] = ud
			given[i].EntriesToSave = slices.Clone(ud.EntriesToSave)
			for j := range given[i].EntriesToSave {
				given[i].EntriesToSave[j].Cmd = slices.Clone(ud.EntriesToSave[j].Cmd)
			}
		}
		err := db.SaveRaftState(given, worker(l.infos[0].ShardID))
		for _, ud := range given { // it is Raft's memory, which goes on changing
			for _, e := range ud.EntriesToSave {
				clear(e.Cmd)
			}
			clear(ud.EntriesToSave)
		}
		return err
	}
	return c
}

func describeUpdate(ud pb.Update) string {
	s := fmt.Sprintf(" [%d/%d", ud.ShardID, ud.ReplicaID)
	if !pb.IsEmptyState(ud.State) {
		s += fmt.Sprintf(" term %d vote %d commit %d", ud.State.Term, ud.State.Vote, ud.State.Commit)
	}
	if ud.Snapshot.Index > 0 {
		s += fmt.Sprintf(" install %d", ud.Snapshot.Index)
	}
	if len(ud.EntriesToSave) > 0 {
		s += " entries " + describe(ud.EntriesToSave)
	}
	return s + "]"
}

// update is one step of a replica.
func (l *legal) update(info raftio.NodeInfo, r *Replica) pb.Update {
	ud := pb.Update{ShardID: info.ShardID, ReplicaID: info.ReplicaID}
	st, last := r.State, r.last()
	if st.Term == 0 {
		l.term++
		st.Term = l.term // a replica begins in a term that is new to it
	}
	switch n := l.dice(20); {
	case n < 9: // entries that follow, some committed at once
		ud.EntriesToSave = l.entries(last+1, st.Term)
		st.Commit = l.dice.between(max(st.Commit, r.Snapshot.Index), last+uint64(len(ud.EntriesToSave)))
	case n < 12 && last > max(st.Commit, r.Snapshot.Index): // another leader's in place of what was not committed
		st.Term, st.Vote = l.newTerm(st.Term), 0
		ud.EntriesToSave = l.entries(l.dice.between(max(st.Commit, r.Snapshot.Index)+1, last), st.Term)
	case n < 14:
		st.Term, st.Vote = l.newTerm(st.Term), uint64(l.dice(3))
	case n < 17:
		st.Commit = l.dice.between(max(st.Commit, r.Snapshot.Index), last)
	case n < 18:
		return ud // only messages
	case n < 19:
		l.install(&ud, &st, r)
	default:
		st.Vote = max(st.Vote, uint64(l.dice(3))) // at most one vote in a term, but that is nothing to a LogDB
	}
	if st != r.State { // Dragonboat mentions the state only when it changed
		ud.State = st
	}
	return ud
}

func (l *legal) newTerm(term uint64) uint64 {
	term += l.dice.between(1, 3)
	l.term = max(l.term, term)
	return term
}

// install is a snapshot from the leader: above the commit index, and Raft's log does not lead to it.
func (l *legal) install(ud *pb.Update, st *pb.State, r *Replica) {
	above := max(st.Commit, r.Snapshot.Index)
	if l.keepsTail {
		above = max(above, r.last())
	}
	st.Term = l.newTerm(st.Term)
	ud.Snapshot = l.snapshotAt(l.dice.between(above+1, above+9), st.Term)
	st.Commit = ud.Snapshot.Index
	if l.dice.flip(3) {
		ud.EntriesToSave = l.entries(ud.Snapshot.Index+1, st.Term)
		st.Commit += uint64(l.dice(len(ud.EntriesToSave) + 1))
	}
}

func (l *legal) snapshotAt(index, term uint64) pb.Snapshot {
	return pb.Snapshot{
		Index: index, Term: term, Type: pb.OnDiskStateMachine, Filepath: strings.Repeat("/dir", l.dice(9)),
		Membership: pb.Membership{ConfigChangeId: index, Addresses: map[uint64]string{1: "a", 2: "b"}},
	}
}

// entries makes some entries from first on; most are small.
func (l *legal) entries(first, term uint64) []pb.Entry {
	ents := entries(first, first+uint64(l.dice(4)), term)
	for i := range ents {
		e := &ents[i]
		switch l.dice(12) {
		case 0:
			e.Cmd = nil
		case 1:
			e.Cmd = command(e.Index, term, 4096*(1+l.dice(4))-l.dice(3))
		case 2:
			e.Type, e.Key, e.ClientID, e.SeriesID, e.RespondedTo = pb.EncodedEntry, term<<40, math.MaxUint64, e.Index, 7
		}
	}
	return ents
}

// snapshot is the replica's own: of what it applied, so at most of what is committed.
func (l *legal) snapshot(info raftio.NodeInfo, r *Replica) call {
	index := l.dice.between(r.Snapshot.Index+1, r.State.Commit)
	term := r.State.Term
	if found, _ := r.between(index, index+1, math.MaxUint64); len(found) == 1 {
		term = found[0].Term
	}
	return l.saveSnapshot(info, l.snapshotAt(index, term), false)
}

// saveSnapshot saves a snapshot, which is late when a newer one was saved before: then it changes nothing.
func (l *legal) saveSnapshot(info raftio.NodeInfo, ss pb.Snapshot, late bool) call {
	what := fmt.Sprintf("snapshot %v %d", info, ss.Index)
	if late {
		what = "late " + what
	}
	return call{what, []touch{{info, late}}, func(db raftio.ILogDB) error {
		return db.SaveSnapshots([]pb.Update{with(info, pb.State{}, ss)})
	}}
}

func (l *legal) remove(info raftio.NodeInfo, index uint64) call {
	what := fmt.Sprintf("remove %v to %d", info, index)
	return call{what, []touch{{info, true}}, func(db raftio.ILogDB) error {
		if err := db.RemoveEntriesTo(info.ShardID, info.ReplicaID, index); err != nil {
			return err
		}
		_, err := db.CompactEntriesTo(info.ShardID, info.ReplicaID, index)
		return err
	}}
}

func (l *legal) bootstrap(info raftio.NodeInfo) call {
	b := pb.Bootstrap{Join: l.dice.flip(2), Type: pb.OnDiskStateMachine, Addresses: map[uint64]string{7: "x"}}
	what := fmt.Sprintf("bootstrap %v", info)
	return call{what, []touch{{info, false}}, func(db raftio.ILogDB) error {
		return db.SaveBootstrapInfo(info.ShardID, info.ReplicaID, b)
	}}
}

func (l *legal) importSnapshot(info raftio.NodeInfo) call {
	l.term++
	ss := l.snapshotAt(l.dice.between(1, 99), l.term)
	ss.ShardID = info.ShardID
	what := fmt.Sprintf("import %v %d", info, ss.Index)
	return call{what, []touch{{info, false}}, func(db raftio.ILogDB) error { return db.ImportSnapshot(ss, info.ReplicaID) }}
}
