package controller

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
)

const (
	identityFile    = "identity"
	dataDir         = "data"
	deletedSuffix   = ".deleted"
	identityVersion = 1
	maxIdentity     = 4 << 10
)

// BrokenError says that a replica's directory is not what the replica wrote. Going on would make it forget records
// that it has acknowledged, so the broker must stop.
type BrokenError struct {
	Dir    string
	Reason string
}

// Error implements error.
func (e *BrokenError) Error() string {
	return fmt.Sprintf("partition directory %s: %s. Bring back the directory as it was, or, when it is lost, start this "+
		"broker with an empty data directory under a broker id that was never used", e.Dir, e.Reason)
}

// identity is what the identity file says.
type identity struct {
	Version   int                `json:"version"`
	Broker    protocol.BrokerID  `json:"broker"`
	DataDir   string             `json:"data_dir"`
	Shard     uint64             `json:"shard"`
	Replica   uint64             `json:"replica"`
	Topic     protocol.TopicID   `json:"topic"`
	Partition protocol.Partition `json:"partition"`
	Name      string             `json:"name"` // for people
}

// directory is the directory of all partitions of this broker. Calls about different shards do not interfere.
type directory struct {
	fs   storefs.FS
	root string
	self protocol.BrokerID
	id   meta.DirID
}

// onDisk is what scan found of one shard.
type onDisk struct {
	dir    bool
	marked bool // removal was begun
}

func (d *directory) path(shard uint64) string {
	return filepath.Join(d.root, strconv.FormatUint(shard, 10))
}
func (d *directory) mark(shard uint64) string { return d.path(shard) + deletedSuffix }
func (d *directory) data(shard uint64) string { return filepath.Join(d.path(shard), dataDir) }

// scan creates the directory if need be and lists it. Names that are not ours are left alone.
func (d *directory) scan() (map[uint64]onDisk, error) {
	if err := d.fs.MkdirAll(d.root); err != nil {
		return nil, err
	}
	if err := d.fs.SyncDir(filepath.Dir(d.root)); err != nil {
		return nil, err
	}
	entries, err := d.fs.ReadDir(d.root)
	if err != nil {
		return nil, err
	}
	found := make(map[uint64]onDisk)
	for _, e := range entries {
		name, marked := strings.CutSuffix(e.Name(), deletedSuffix)
		shard, err := strconv.ParseUint(name, 10, 64)
		if err != nil || strconv.FormatUint(shard, 10) != name {
			continue
		}
		f := found[shard]
		if marked {
			f.marked = true
		} else {
			f.dir = true
		}
		found[shard] = f
	}
	return found, nil
}

// create makes the directory of a replica that was never started. What an earlier attempt left is used again, as long
// as it holds no data.
func (d *directory) create(s *spec) error {
	data := d.data(s.shard)
	if entries, err := d.fs.ReadDir(data); err == nil && len(entries) > 0 {
		return &BrokenError{Dir: d.path(s.shard), Reason: "it holds data, but its Raft log is gone"}
	}
	if err := d.fs.MkdirAll(data); err != nil {
		return err
	}
	if err := d.write(filepath.Join(d.path(s.shard), identityFile), d.identity(s)); err != nil {
		return err
	}
	if err := d.fs.SyncDir(d.path(s.shard)); err != nil {
		return err
	}
	return d.fs.SyncDir(d.root)
}

func (d *directory) identity(s *spec) identity {
	return identity{
		Version: identityVersion, Broker: d.self, DataDir: d.id.String(), Shard: s.shard, Replica: s.replica,
		Topic: s.tp.Topic, Partition: s.tp.Partition, Name: s.topic,
	}
}

// check tells whether the directory is the one in which the replica ran before.
func (d *directory) check(s *spec) error {
	broken := func(format string, args ...any) error {
		return &BrokenError{Dir: d.path(s.shard), Reason: fmt.Sprintf(format, args...)}
	}
	got, err := d.read(filepath.Join(d.path(s.shard), identityFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return broken("it was wiped or moved away, but the Raft log of the replica is still there")
	case err != nil:
		return broken("its identity file cannot be read: %v", err)
	}
	want := d.identity(s)
	got.Name = want.Name // it does not change, and does not matter
	if got != want {
		return broken("it belongs to broker %d (data directory %s), topic %d partition %d, shard %d, replica %d; "+
			"expected broker %d (data directory %s), topic %d partition %d, shard %d, replica %d",
			got.Broker, got.DataDir, got.Topic, got.Partition, got.Shard, got.Replica,
			want.Broker, want.DataDir, want.Topic, want.Partition, want.Shard, want.Replica)
	}
	if _, err := d.fs.Stat(d.data(s.shard)); err != nil {
		return broken("its data is gone: %v", err)
	}
	return nil
}

// condemn marks a shard for removal.
func (d *directory) condemn(shard uint64) error {
	f, err := d.fs.Create(d.mark(shard))
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return d.fs.SyncDir(d.root)
}

// erase removes the directory of a condemned shard, then the mark.
func (d *directory) erase(shard uint64) error {
	if err := d.fs.RemoveAll(d.path(shard)); err != nil {
		return err
	}
	if err := d.fs.SyncDir(d.root); err != nil {
		return err
	}
	if err := d.fs.Remove(d.mark(shard)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return d.fs.SyncDir(d.root)
}

func (d *directory) write(name string, id identity) error {
	b, err := json.Marshal(id)
	if err != nil {
		return err
	}
	temp := name + ".tmp"
	f, err := d.fs.Create(temp)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", temp, err)
	}
	return d.fs.Rename(temp, name)
}

func (d *directory) read(name string) (identity, error) {
	var id identity
	f, err := d.fs.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return id, err
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxIdentity))
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = json.Unmarshal(b, &id)
	}
	return id, err
}
