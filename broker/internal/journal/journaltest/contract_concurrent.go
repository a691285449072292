package journaltest

import (
	"errors"
	"fmt"
	"math"
	"sync"

	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/stretchr/testify/require"

	"github.com/lni/dragonboat/v4/raftio"
)

var concurrentCases = []contractCase{
	{"WorkersAtOnce", func(r *rig) {
		var all crowd
		for w := uint64(0); w < Workers; w++ {
			all.start(func() error { return r.work(w, 100) })
		}
		require.NoError(r, all.wait())
		r.twice(func() {
			for shard := uint64(1); shard <= 3*Workers; shard++ {
				r.is(raftio.GetNodeInfo(shard, 1), worked(shard, 100, 0))
			}
		})
	}},
	{"EverybodyAtOnce", func(r *rig) { everybody(r) }},
}

// crowd is goroutines that report errors.
type crowd struct {
	wg     sync.WaitGroup
	mu     sync.Mutex
	failed []error // guarded by mu
}

func (c *crowd) start(f func() error) {
	c.wg.Go(func() {
		err := errors.New("it panicked")
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("%w: %v", err, p)
			}
			if err != nil {
				c.mu.Lock()
				c.failed = append(c.failed, err)
				c.mu.Unlock()
			}
		}()
		err = f()
	})
}

// wait returns the first error when all have ended.
func (c *crowd) wait() error {
	c.wg.Wait()
	if len(c.failed) > 0 {
		return c.failed[0]
	}
	return nil
}

// work is a step worker: rounds that save one entry to each of its three shards, and commit the one before.
func (r *rig) work(w, rounds uint64) error {
	for i := uint64(1); i <= rounds; i++ {
		var updates []pb.Update
		for shard := w + 1; shard <= 3*Workers; shard += Workers {
			info := raftio.GetNodeInfo(shard, 1)
			updates = append(updates, with(info, pb.State{Term: shard, Commit: i - 1}, pb.Snapshot{}, entries(i, i, shard)...))
		}
		if err := r.db.SaveRaftState(updates, worker(w+1)); err != nil {
			return err
		}
	}
	return nil
}

// worked is what work leaves behind a snapshot.
func worked(shard, rounds, snapshot uint64) Replica {
	w := Replica{State: pb.State{Term: shard, Commit: rounds - 1}, Entries: entries(snapshot+1, rounds, shard)}
	if snapshot > 0 {
		w.Snapshot = pb.Snapshot{Index: snapshot, Term: shard}
	}
	return w
}

// everybody lets step workers, snapshot workers, readers and bystanders loose on the same replicas.
func everybody(r *rig) {
	const rounds = 80
	var workers, others crowd
	stop := make(chan struct{})
	for w := uint64(0); w < Workers; w++ {
		workers.start(func() error { return r.work(w, rounds) })
	}
	for shard := uint64(1); shard <= 3*Workers; shard++ {
		info := raftio.GetNodeInfo(shard, 1)
		switch { // one of each for every worker; the third replica of a worker is left alone
		case shard <= Workers:
			others.start(func() error { return r.keepSnapshotting(info, stop) })
		case shard <= 2*Workers:
			others.start(func() error { return r.keepReading(info, stop) })
		}
	}
	others.start(func() error { return r.comeAndGo(stop) })
	err := workers.wait()
	close(stop)
	require.NoError(r, others.wait())
	require.NoError(r, err)
	for shard := uint64(1); shard <= 3*Workers; shard++ {
		r.saveSnapshots(with(raftio.GetNodeInfo(shard, 1), pb.State{}, pb.Snapshot{Index: rounds - 1, Term: shard}))
	}
	r.twice(func() {
		for shard := uint64(1); shard <= 3*Workers; shard++ {
			r.is(raftio.GetNodeInfo(shard, 1), worked(shard, rounds, rounds-1))
		}
		r.nothing(raftio.GetNodeInfo(2, 77))
	})
}

// observe reads a replica that grows, and says how far it is. Nothing may be torn, nothing may go back.
func (r *rig) observe(info raftio.NodeInfo, before uint64) (uint64, error) {
	ss, err := r.db.GetSnapshot(info.ShardID, info.ReplicaID)
	if err != nil {
		return 0, err
	}
	rs, err := r.db.ReadRaftState(info.ShardID, info.ReplicaID, ss.Index)
	if err != nil || rs.EntryCount == 0 {
		return before, nil // it did not begin yet
	}
	last := rs.FirstIndex + rs.EntryCount - 1
	switch {
	case ss.Index > 0 && ss.Term != info.ShardID:
		return 0, fmt.Errorf("%v: snapshot %+v", info, ss)
	case rs.State.Term != info.ShardID || rs.FirstIndex > ss.Index+1:
		return 0, fmt.Errorf("%v: snapshot %d, %+v", info, ss.Index, rs)
	case last < before || rs.State.Commit > last:
		return 0, fmt.Errorf("%v: %+v, where %d was there before", info, rs, before)
	}
	low := max(last, 20) - 19
	ents, _, err := r.db.IterateEntries(nil, 0, info.ShardID, info.ReplicaID, low, last+1, math.MaxUint64)
	if err != nil {
		return 0, err
	}
	return last, differEntries(entries(low, last, info.ShardID), ents)
}

func (r *rig) keepReading(info raftio.NodeInfo, stop <-chan struct{}) error {
	for last := uint64(0); ; {
		select {
		case <-stop:
			return nil
		default:
		}
		var err error
		if last, err = r.observe(info, last); err != nil {
			return err
		}
	}
}

// keepSnapshotting does what a snapshot worker does: it saves what is applied, which is less than what is there.
func (r *rig) keepSnapshotting(info raftio.NodeInfo, stop <-chan struct{}) error {
	for last, taken := uint64(0), uint64(0); ; {
		select {
		case <-stop:
			return nil
		default:
		}
		var err error
		if last, err = r.observe(info, last); err != nil {
			return err
		}
		if last < taken+10 {
			continue
		}
		taken = last - 1
		ss := pb.Snapshot{Index: taken, Term: info.ShardID}
		if err := r.db.SaveSnapshots([]pb.Update{with(info, pb.State{}, ss)}); err != nil {
			return err
		}
		got, err := r.db.GetSnapshot(info.ShardID, info.ReplicaID)
		if err != nil || got.Index != taken {
			return fmt.Errorf("%v: saved snapshot %d, found %d: %w", info, taken, got.Index, err)
		}
	}
}

// comeAndGo makes a replica and removes it, again and again, beside those that work.
func (r *rig) comeAndGo(stop <-chan struct{}) error {
	info := raftio.GetNodeInfo(2, 77)
	for {
		select {
		case <-stop:
			return r.db.RemoveNodeData(info.ShardID, info.ReplicaID)
		default:
		}
		if err := r.db.SaveBootstrapInfo(info.ShardID, info.ReplicaID, pb.Bootstrap{Join: true}); err != nil {
			return err
		}
		ss := pb.Snapshot{ShardID: info.ShardID, Index: 9, Term: 1, Type: pb.OnDiskStateMachine}
		if err := r.db.ImportSnapshot(ss, info.ReplicaID); err != nil {
			return err
		}
		if infos, err := r.db.ListNodeInfo(); err != nil || len(infos) != 1 || infos[0] != info {
			return fmt.Errorf("node infos %v: %w", infos, err)
		}
		got, err := look(r.db, info)
		if err != nil || got.Snapshot.Index != 9 {
			return fmt.Errorf("imported snapshot: %+v: %w", got, err)
		}
		if err := r.db.RemoveNodeData(info.ShardID, info.ReplicaID); err != nil {
			return err
		}
	}
}
