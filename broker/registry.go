package broker

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/raftnet"
	"github.com/trunkline/trunkline/protocol"
)

// registry is what this broker remembers on its own disk of the other brokers' data directories, so that it refuses a
// broker that comes with another one from the first handshake on, before the metadata is there. A broker on a wiped
// directory has forgotten what it voted and acknowledged; letting it speak Raft under its old ID would lose records.
type registry struct {
	dir    *dataDir
	levels protocol.Levels // that this broker understands

	mu      sync.Mutex
	peers   map[protocol.BrokerID]peer   // guarded by mu
	retired func(protocol.BrokerID) bool // as far as the metadata here knows; guarded by mu
	// said is where brokers said in a handshake that they are, if that is not where they registered; guarded by mu. Who has moved is
	// found there before it has registered anew, for which it may be needed: the metadata may have no majority without it.
	said  map[protocol.BrokerID]string
	moved chan struct{} // has a token when said has changed
	heard bool          // the metadata was read since the start; guarded by mu
}

func newRegistry(dir *dataDir, levels protocol.Levels) *registry {
	r := &registry{
		dir: dir, levels: levels, peers: map[protocol.BrokerID]peer{}, retired: func(protocol.BrokerID) bool { return false },
		said: map[protocol.BrokerID]string{}, moved: make(chan struct{}, 1),
	}
	maps.Copy(r.peers, dir.id.Peers)
	return r
}

// follow says who is retired, as soon as there is metadata: brokers knock before.
func (r *registry) follow(retired func(protocol.BrokerID) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.retired = retired
}

// check is raftnet's CheckPeer.
func (r *registry) check(h raftnet.PeerHello) *raftnet.Reject {
	r.mu.Lock()
	defer r.mu.Unlock()
	if reject := r.checkLevels(h); reject != nil {
		return reject
	}
	known, ok := r.peers[h.Broker]
	switch {
	case r.retired(h.Broker):
		return &raftnet.Reject{Code: raftnet.RejectRetired, Reason: fmt.Sprintf("broker ID %d was retired: its data_dir can be deleted. "+
			"To add this machine again, join with an empty data_dir under an ID that was never used", h.Broker)}
	case !ok:
		return nil
	case known.Dir == dirID(h.DirID):
		r.hear(h.Broker, h.Addr, known.Raft)
		return nil
	}
	return &raftnet.Reject{Code: raftnet.RejectWipedDirectory, Reason: fmt.Sprintf("the cluster knows this broker with another data directory: "+
		"its records and votes were in it. Put the old data_dir back. If it is lost, join with an empty data_dir under an ID that was never "+
		"used, then run `trunkline broker replace %d --with NEW_ID`", h.Broker)}
}

// checkLevels refuses a broker that does not understand what is written now, or nothing of what this one does. That a peer understands
// more only than the level which is known here proves nothing: this broker may have slept since. Such a peer looks for itself, at its
// start and when it joins. Called with mu held.
func (r *registry) checkLevels(h raftnet.PeerHello) *raftnet.Reject {
	theirs, ours := h.Levels.Stated(), r.levels.Stated()
	switch {
	case r.dir.id.formed() && theirs.Highest < r.dir.id.Level:
		return &raftnet.Reject{Code: raftnet.RejectVersion, Reason: meta.Refusal(r.dir.id.Level, h.Broker, h.Levels)}
	case max(theirs.Lowest, ours.Lowest) > min(theirs.Highest, ours.Highest):
		return &raftnet.Reject{Code: raftnet.RejectVersion, Reason: fmt.Sprintf("broker %d understands %s and this broker %s: their releases "+
			"are too far apart. Upgrade one release after the other, with `trunkline cluster finalize` in between", h.Broker, theirs, ours)}
	}
	return nil
}

// hear takes in where a broker says it is, whose certificate and directory are those that are registered. Called with mu held.
func (r *registry) hear(id protocol.BrokerID, addr, registered string) {
	before := r.said[id]
	switch {
	case addr == registered:
		delete(r.said, id)
	case checkAdvertised(addr, true) == nil:
		r.said[id] = addr
	}
	if r.said[id] == before {
		return
	}
	select {
	case r.moved <- struct{}{}:
	default:
	}
}

// addresses returns where the other brokers were last, or say they are, and, of the founders that are not known yet and did not leave, where the
// configuration says.
func (r *registry) addresses(self protocol.BrokerID, members []Member) map[protocol.BrokerID]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[protocol.BrokerID]string, len(r.peers))
	for id, p := range r.peers {
		out[id] = p.Raft
	}
	maps.Copy(out, r.said)
	for _, m := range members {
		if _, known := out[m.ID]; !known && slices.Contains(r.dir.id.Founders, m.ID) && !r.retired(m.ID) {
			out[m.ID] = m.Raft
		}
	}
	delete(out, self)
	return out
}

// formed is identity.formed while the broker runs.
func (r *registry) formed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dir.id.formed()
}

// learn remembers the brokers and the level of a version of the metadata, durably if something is new, and reports whether a broker is, or this is
// the first since the start: until then founders count that may have left. An older version than the one remembered says nothing, and neither
// does an empty one: the metadata is not here yet.
func (r *registry) learn(version uint64, level protocol.Level, book map[protocol.BrokerID]peer) (news bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(book) == 0 || version < r.dir.id.PeersVersion {
		return false, nil
	}
	level = max(level, meta.LevelFirst)
	first := !r.heard
	r.heard = true
	news = !maps.Equal(r.peers, book)
	if !news && level <= max(r.dir.id.Level, meta.LevelFirst) {
		return first, nil
	}
	maps.DeleteFunc(r.said, func(id protocol.BrokerID, _ string) bool { return book[id].Raft != r.peers[id].Raft }) // it registered since, or is gone
	r.peers = maps.Clone(book)
	r.dir.id.Peers, r.dir.id.PeersVersion, r.dir.id.Level = book, version, level
	return news || first, r.dir.saveIdentity()
}
