package broker

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/protocol"
)

// The versions of the data directory's layout. Never reuse a number. identityStated is written from meta.LevelStated on, so that a release
// of before there were levels refuses the directory.
const (
	identityFirst  = 2
	identityStated = 3
)

// identity is the marker file of a data directory. It ties the directory to one broker of one cluster, so
// that a foreign directory is refused before Raft could vote with it.
//
//	DATA_DIR/identity.json     this marker
//	DATA_DIR/lock              flock: one process at a time
//	DATA_DIR/quic.key          secrets of the QUIC endpoint, kept so that clients of a restarted broker learn of it at once
//	DATA_DIR/raft/             Raft logs
//	DATA_DIR/partitions/SHARD/ state machines: segments and checkpoint
//	DATA_DIR/pki/              development certificates, unless tls.* says otherwise
type identity struct {
	Version int               `json:"version"`
	Cluster string            `json:"cluster"`
	Broker  protocol.BrokerID `json:"broker"`
	DirID   dirID             `json:"dir_id"` // random, made with the directory: tells a wiped one from the old one
	// Founders are the members with which this broker founds the metadata shard. Empty: it joins a cluster that exists.
	Founders []protocol.BrokerID `json:"founders,omitempty"`
	// Peers are the cluster's brokers as the metadata has them. While this one is not among them it was not registered yet.
	Peers map[protocol.BrokerID]peer `json:"peers,omitempty"`
	// PeersVersion is the version of the metadata that Peers are from.
	PeersVersion uint64 `json:"peers_version,omitempty"`
	// Level is the cluster's as Peers are its brokers. 0 means meta.LevelFirst.
	Level protocol.Level `json:"level,omitempty"`
}

// peer is what a broker remembers of another one.
type peer struct {
	Raft string `json:"raft"` // where it was last
	Dir  dirID  `json:"dir"`
}

// formed reports whether the broker was registered in the metadata once. From then on it knows the cluster by itself, whatever the
// configuration says of other brokers.
func (i *identity) formed() bool {
	_, registered := i.Peers[i.Broker]
	return registered
}

// checkLevel refuses software that does not understand what the cluster may write, or what it still writes.
func (i *identity) checkLevel(path string, understood protocol.Levels) error {
	level := max(i.Level, meta.LevelFirst)
	switch {
	case !i.formed() || understood.Has(level):
		return nil
	case understood.Highest < level:
		return fmt.Errorf("%s: the cluster was finalised at level %d and this trunklined understands %s: there is no way back to this "+
			"release, install the one that the other brokers run", path, level, understood)
	}
	return fmt.Errorf("%s: the cluster is at level %d and this trunklined understands %s: it is too new. Put the release from before back, "+
		"upgrade all brokers to one that understands both levels, run `trunkline cluster finalize`, and upgrade again", path, level, understood)
}

type dirID [16]byte

// MarshalText writes the ID in hexadecimal.
func (d dirID) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(d[:])), nil }

// UnmarshalText reads it back.
func (d *dirID) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != len(d) {
		return fmt.Errorf("%q is not 32 hexadecimal digits", text)
	}
	copy(d[:], b)
	return nil
}

// dataDir is a locked data directory with its identity.
type dataDir struct {
	path string
	id   identity
	lock *os.File
}

// openDataDir creates or opens cfg.DataDir, locks it and checks that it belongs to this broker.
func openDataDir(cfg Config) (*dataDir, error) {
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("data_dir: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(cfg.DataDir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data_dir: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("data_dir %s is in use by another broker process: stop it first or choose another data_dir", cfg.DataDir), lock.Close())
	}
	d := &dataDir{path: cfg.DataDir, lock: lock}
	if err := d.loadIdentity(cfg); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

func (d *dataDir) loadIdentity(cfg Config) error {
	path := d.file("identity.json")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return d.createIdentity(cfg)
	}
	if err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	if err := json.Unmarshal(text, &d.id); err != nil {
		return fmt.Errorf("%s is damaged (%w): restore it from a backup, or replace this broker: start one with an empty data_dir, `join` and an ID that was never used, then "+
			"`trunkline broker replace %d --with NEW_ID`", path, err, cfg.Broker)
	}
	switch {
	case d.id.Version < identityFirst || d.id.Version > identityStated:
		return fmt.Errorf("%s has layout version %d and this trunklined knows %d to %d: run the version that wrote it",
			path, d.id.Version, identityFirst, identityStated)
	case d.id.Cluster != cfg.Cluster:
		return fmt.Errorf("data_dir %s belongs to cluster %q, the configuration says %q: set data_dir or cluster right", d.path, d.id.Cluster, cfg.Cluster)
	case d.id.Broker != cfg.Broker:
		return fmt.Errorf("data_dir %s belongs to broker %d, the configuration says %d: set data_dir or broker right", d.path, d.id.Broker, cfg.Broker)
	case d.id.formed():
		return d.id.checkLevel(path, cfg.levels)
	case !slices.Equal(d.id.Founders, founders(cfg)):
		return fmt.Errorf("members, join: data_dir %s was made to found a cluster of %v (none: to join one), the configuration says %v; "+
			"put it back, or, if the cluster was never ready, delete data_dir on all its founders", d.path, d.id.Founders, founders(cfg))
	}
	return nil
}

// createIdentity marks a directory that has no marker. One that holds data all the same is refused.
func (d *dataDir) createIdentity(cfg Config) error {
	for _, name := range []string{"raft", "partitions"} {
		if _, err := os.Stat(d.file(name)); err == nil {
			return fmt.Errorf("data_dir %s holds %s/ but no identity.json: it is not a whole Trunkline data directory; restore identity.json or choose an empty data_dir", d.path, name)
		}
	}
	d.id = identity{Cluster: cfg.Cluster, Broker: cfg.Broker, Founders: founders(cfg)}
	_, _ = rand.Read(d.id.DirID[:]) // never fails: crypto/rand
	return d.saveIdentity()
}

// founders returns the IDs of the members with which the broker founds a cluster, in order; none if it joins one.
func founders(cfg Config) []protocol.BrokerID {
	if len(cfg.Join) > 0 {
		return nil
	}
	ids := make([]protocol.BrokerID, 0, len(cfg.Members))
	for _, m := range cfg.Members {
		ids = append(ids, m.ID)
	}
	slices.Sort(ids)
	return ids
}

// saveIdentity replaces the marker atomically and durably.
func (d *dataDir) saveIdentity() error {
	d.id.Version = identityFirst
	if d.id.Level >= meta.LevelStated {
		d.id.Version = identityStated
	}
	text, err := json.MarshalIndent(d.id, "", "  ")
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	return writeFileDurably(d.file("identity.json"), append(text, '\n'))
}

// quicSecret returns 64 bytes kept in the directory: stateless reset key and token key.
func (d *dataDir) quicSecret() ([64]byte, error) {
	var secret [64]byte
	path := d.file("quic.key")
	b, err := os.ReadFile(path)
	if err == nil && len(b) == len(secret) {
		copy(secret[:], b)
		return secret, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return secret, fmt.Errorf("quic.key: %w", err)
	}
	_, _ = rand.Read(secret[:]) // never fails: crypto/rand
	return secret, writeFileDurably(path, secret[:])
}

func (d *dataDir) file(name string) string { return filepath.Join(d.path, name) }

func (d *dataDir) close() error { return d.lock.Close() }

func writeFileDurably(path string, b []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, werr := f.Write(b)
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// clusterID is the number that Raft messages carry: brokers of another cluster are not understood.
func clusterID(name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // a hash never fails
	return h.Sum64()
}
