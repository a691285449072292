package broker

import (
	"maps"
	"sync"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/raftnet"
	"github.com/trunkline/trunkline/protocol"
)

// registry is what this broker remembers on its own disk of the other brokers' data directories, so that it refuses a
// broker that comes with another one from the first handshake on, before the metadata is there. A broker on a wiped
// directory has forgotten what it voted and acknowledged; letting it speak Raft under its old ID would lose records.
type registry struct {
	dir *dataDir

	mu    sync.Mutex
	peers map[protocol.BrokerID]dirID // guarded by mu
}

func newRegistry(dir *dataDir) *registry {
	r := &registry{dir: dir, peers: map[protocol.BrokerID]dirID{}}
	maps.Copy(r.peers, dir.id.Peers)
	return r
}

// check is raftnet's CheckPeer.
func (r *registry) check(h raftnet.PeerHello) *raftnet.Reject {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.peers[h.Broker]
	if !ok || known == dirID(h.DirID) {
		return nil
	}
	return &raftnet.Reject{Code: raftnet.RejectWipedDirectory, Reason: "the cluster knows this broker with another data directory: " +
		"its records and votes were in it. Put the old data_dir back; this version cannot put another broker in the place of a lost one"}
}

// learn remembers the brokers of an image, durably if something is new.
func (r *registry) learn(image *meta.Image) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed := false
	for _, b := range image.Brokers() {
		if id := dirID(b.DirID); r.peers[b.ID] != id {
			r.peers[b.ID] = id
			changed = true
		}
	}
	if !changed {
		return nil
	}
	r.dir.id.Peers = maps.Clone(r.peers)
	return r.dir.saveIdentity()
}
