package journaltest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/lni/vfs"
	"github.com/stretchr/testify/require"
)

// planted is the model with one fault.
type planted struct {
	*Model
	fault fault
}

// fault overrides what it spoils; what is nil is right.
type fault struct {
	reopened func(r *Replica)
	save     func(p *planted, r *Replica, ud pb.Update)
	read     func(r *Replica, rs *raftio.RaftState)
	iterate  func(r *Replica, low, high, maxSize uint64) []pb.Entry
	snapshot func(r *Replica, ss pb.Snapshot)
	remove   func(r *Replica, index uint64)
	forget   bool // RemoveNodeData does nothing
	imported func(r *Replica, ss pb.Snapshot)
	confuse  func(replica uint64) uint64
}

var faults = map[string]fault{
	"loses the last entry": {reopened: func(r *Replica) { r.Entries = r.Entries[:max(len(r.Entries), 1)-1] }},
	"loses the commit index": {reopened: func(r *Replica) {
		if r.State.Commit > 0 {
			r.State.Commit--
		}
	}},
	"loses the vote":           {reopened: func(r *Replica) { r.State.Vote = 0 }},
	"loses the bootstrap info": {reopened: func(r *Replica) { r.Bootstrap = nil }},
	"loses the snapshot":       {reopened: func(r *Replica) { r.Snapshot = pb.Snapshot{} }},
	"does not truncate": {save: func(_ *planted, r *Replica, ud pb.Update) {
		if n := len(ud.EntriesToSave); n > 0 {
			behind, _ := r.between(ud.EntriesToSave[n-1].Index+1, math.MaxUint64, math.MaxUint64)
			ud.EntriesToSave = append(slices.Clip(ud.EntriesToSave), behind...)
		}
		r.save(ud)
	}},
	"does not overwrite": {save: func(_ *planted, r *Replica, ud pb.Update) {
		for len(ud.EntriesToSave) > 0 && len(r.Entries) > 0 && ud.EntriesToSave[0].Index <= r.last() {
			ud.EntriesToSave = ud.EntriesToSave[1:]
		}
		r.save(ud)
	}},
	"takes an empty state for one": {save: func(_ *planted, r *Replica, ud pb.Update) {
		r.save(ud)
		r.State = ud.State
	}},
	"keeps the saved memory": {save: func(_ *planted, r *Replica, ud pb.Update) {
		r.save(ud)
		for i, e := range ud.EntriesToSave {
			r.Entries[len(r.Entries)-len(ud.EntriesToSave)+i].Cmd = e.Cmd
		}
	}},
	"keeps the log behind an installed snapshot": {save: func(_ *planted, r *Replica, ud pb.Update) {
		behind, _ := r.between(ud.Snapshot.Index+1, math.MaxUint64, math.MaxUint64)
		installed := ud.Snapshot.Index > r.Snapshot.Index && len(ud.EntriesToSave) == 0
		r.save(ud)
		if installed {
			r.Entries = behind
		}
	}},
	"ignores an installed snapshot": {save: func(_ *planted, r *Replica, ud pb.Update) {
		ud.Snapshot = pb.Snapshot{}
		r.save(ud)
	}},
	"returns a stale state": {
		save: func(_ *planted, r *Replica, ud pb.Update) {
			st := r.State
			r.save(ud)
			if len(ud.EntriesToSave) > 0 && st.Term > 0 {
				r.State.Commit = st.Commit
			}
		},
	},
	"counts one entry too few":  {read: func(_ *Replica, rs *raftio.RaftState) { rs.EntryCount = max(rs.EntryCount, 1) - 1 }},
	"counts one entry too many": {read: func(_ *Replica, rs *raftio.RaftState) { rs.EntryCount += min(rs.EntryCount, 1) }},
	"knows no size limit": {iterate: func(r *Replica, low, high, _ uint64) []pb.Entry {
		ents, _ := r.between(low, high, math.MaxUint64)
		return ents
	}},
	"stops before the size limit": {iterate: func(r *Replica, low, high, maxSize uint64) []pb.Entry {
		ents, size := r.between(low, high, maxSize)
		if size > maxSize && len(ents) > 1 {
			ents = ents[:len(ents)-1]
		}
		return ents
	}},
	"includes the upper bound": {iterate: func(r *Replica, low, high, maxSize uint64) []pb.Entry {
		ents, _ := r.between(low, max(high, high+1), maxSize)
		return ents
	}},
	"returns its own memory": {iterate: func(r *Replica, low, high, maxSize uint64) []pb.Entry {
		ents, _ := r.between(low, high, maxSize)
		return ents
	}},
	"lets an older snapshot win": {snapshot: func(r *Replica, ss pb.Snapshot) { r.Snapshot = ss }},
	"forgets its own snapshots":  {snapshot: func(*Replica, pb.Snapshot) {}},
	"drops the log at a snapshot": {snapshot: func(r *Replica, ss pb.Snapshot) {
		if ss.Index > r.Snapshot.Index {
			r.Snapshot, r.Entries = ss, nil
		}
	}},
	"keeps removed entries":            {remove: func(*Replica, uint64) {}},
	"removes one entry too many":       {remove: func(r *Replica, index uint64) { r.removeTo(min(index+1, r.last())) }},
	"keeps removed nodes":              {forget: true},
	"imports only newer snapshots":     {imported: func(r *Replica, ss pb.Snapshot) { ss.Index = max(ss.Index, r.Snapshot.Index); r.Snapshot = ss }},
	"keeps the log at an import":       {imported: func(r *Replica, ss pb.Snapshot) { r.Snapshot = ss }},
	"confuses the replicas of a shard": {confuse: func(replica uint64) uint64 { return replica / 2 }},
}

// of returns the replica that is meant.
func (p *planted) of(shard, replica uint64) *Replica {
	if p.fault.confuse != nil {
		replica = p.fault.confuse(replica)
	}
	return p.at(shard, replica)
}

func (p *planted) SaveRaftState(updates []pb.Update, _ uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ud := range updates {
		if r := p.of(ud.ShardID, ud.ReplicaID); p.fault.save != nil {
			p.fault.save(p, r, ud)
		} else {
			r.save(ud)
		}
	}
	return nil
}

func (p *planted) ReadRaftState(shard, replica, lastIndex uint64) (raftio.RaftState, error) {
	if p.fault.confuse != nil {
		replica = p.fault.confuse(replica)
	}
	rs, err := p.Model.ReadRaftState(shard, replica, lastIndex)
	if p.fault.read != nil {
		p.fault.read(p.at(shard, replica), &rs)
	}
	return rs, err
}

func (p *planted) IterateEntries(ents []pb.Entry, size, shard, replica, low, high, maxSize uint64) (
	[]pb.Entry, uint64, error) {
	if p.fault.iterate == nil {
		return p.Model.IterateEntries(ents, size, shard, replica, low, high, maxSize)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	found := p.fault.iterate(p.of(shard, replica), low, high, maxSize)
	return append(ents, found...), size + sizeOf(found), nil
}

func (p *planted) SaveSnapshots(updates []pb.Update) error {
	if p.fault.snapshot == nil {
		return p.Model.SaveSnapshots(updates)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ud := range updates {
		if !pb.IsEmptySnapshot(ud.Snapshot) {
			p.fault.snapshot(p.of(ud.ShardID, ud.ReplicaID), ud.Snapshot)
		}
	}
	return nil
}

func (p *planted) RemoveEntriesTo(shard, replica, index uint64) error {
	if p.fault.remove == nil {
		return p.Model.RemoveEntriesTo(shard, replica, index)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault.remove(p.of(shard, replica), index)
	return nil
}

func (p *planted) RemoveNodeData(shard, replica uint64) error {
	if p.fault.forget {
		return nil
	}
	return p.Model.RemoveNodeData(shard, replica)
}

func (p *planted) ImportSnapshot(ss pb.Snapshot, replica uint64) error {
	p.mu.Lock()
	old := *p.of(ss.ShardID, replica)
	p.mu.Unlock()
	if err := p.Model.ImportSnapshot(ss, replica); err != nil || p.fault.imported == nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.of(ss.ShardID, replica)
	r.Snapshot, r.Entries = old.Snapshot, old.Entries
	p.fault.imported(r, ss)
	return nil
}

// subject is the model with the fault.
func (f fault) subject() Subject {
	return Subject{Fresh: func() Open {
		m := &Model{}
		first := true
		return func() (raftio.ILogDB, error) {
			if f.reopened != nil && !first {
				for _, r := range m.replicas {
					f.reopened(r)
				}
			}
			first = false
			return &planted{m, f}, nil
		}
	}}
}

// TestPlantedRaceIsFound: a fault that one caller alone cannot see.
func TestPlantedRaceIsFound(t *testing.T) {
	t.Parallel()
	torn := Subject{Fresh: func() Open {
		m := &Model{}
		return func() (raftio.ILogDB, error) { return &careless{m}, nil }
	}}
	require.Contains(t, Failing(torn), "EverybodyAtOnce")
}

// careless saves a snapshot in two steps, between which others may save what it then overwrites.
type careless struct{ *Model }

func (c *careless) SaveRaftState(updates []pb.Update, worker uint64) error {
	time.Sleep(200 * time.Microsecond) // as a disk would: else all is over before a snapshot is due
	return c.Model.SaveRaftState(updates, worker)
}

func (c *careless) SaveSnapshots(updates []pb.Update) error {
	for _, ud := range updates {
		r := c.Version(raftio.GetNodeInfo(ud.ShardID, ud.ReplicaID))
		if ud.Snapshot.Index > r.Snapshot.Index {
			r.Snapshot = ud.Snapshot
			time.Sleep(time.Millisecond)
			c.mu.Lock()
			*c.at(ud.ShardID, ud.ReplicaID) = *r
			c.mu.Unlock()
		}
	}
	return nil
}

// TestPlantedFaultsAreFound: each is found by the contract, and by histories, both beside the model and in a tee. A
// test that cannot fail proves nothing.
func TestPlantedFaultsAreFound(t *testing.T) {
	t.Parallel()
	require.Empty(t, Failing(fault{}.subject()), "no fault, none found")
	require.NoError(t, playSome(fault{}.subject()))
	require.NoError(t, playSome(besideModel(fault{})))
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			failed := Failing(f.subject())
			require.NotEmpty(t, failed, "contract")
			err := playSome(f.subject())
			require.Error(t, err, "histories")
			seen := playSome(besideModel(f))
			require.Error(t, seen, "tee")
			t.Logf("contract: %v\nhistories: %.300v\ntee: %.300v", failed, err, seen)
		})
	}
}

// playSome plays histories until one finds something. A panic is a finding: Dragonboat would stop.
func playSome(s Subject) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	for seed := range uint64(60) {
		if err := Play(s, rand.New(rand.NewPCG(seed, 9)).IntN, 80); err != nil {
			return fmt.Errorf("seed %d: %w", seed, err)
		}
	}
	return nil
}

// besideModel is a tee of the model, which answers, and the model with a fault.
func besideModel(f fault) Subject {
	return Subject{Fresh: func() Open {
		tee := Tee(opener(Subject{Fresh: func() Open {
			m := &Model{}
			return func() (raftio.ILogDB, error) { return m, nil }
		}}.Fresh()), opener(f.subject().Fresh()))
		cfg := HostConfig(vfs.NewMem())
		return func() (raftio.ILogDB, error) { return tee.Create(cfg, nil, []string{"logdb"}, nil) }
	}}
}

// opener is a factory that opens one place.
type opener Open

func (o opener) Name() string { return "opener" }
func (o opener) Create(config.NodeHostConfig, config.LogDBCallback, []string, []string) (raftio.ILogDB, error) {
	return o()
}
