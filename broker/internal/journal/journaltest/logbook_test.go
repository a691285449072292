package journaltest

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"hash/crc32"
	"os"
	"sync"
	"testing"

	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/storefs"
)

// logbook is the simplest LogDB that survives crashes: it notes every call in one file and makes them all again when it
// is opened. It is here to be right, and to be wrong on purpose.
type logbook struct {
	*Model
	f     storefs.File
	fault logbookFault

	writing sync.Mutex // guards the following
	end     int64
	broken  error
	notes   int
}

// logbookFault is what it does not do.
type logbookFault struct {
	noSync, syncSometimes, noSyncDir, noChecksum bool
	hideErrors, goOnAfterErrors                  bool
}

// note is one call.
type note struct {
	Kind           string
	Updates        []pb.Update
	Shard, Replica uint64
	Index          uint64
	Bootstrap      pb.Bootstrap
	Snapshot       pb.Snapshot
}

func (n note) make(m *Model) {
	switch n.Kind {
	case "save":
		_ = m.SaveRaftState(n.Updates, 0)
	case "snapshots":
		_ = m.SaveSnapshots(n.Updates)
	case "remove":
		_ = m.RemoveEntriesTo(n.Shard, n.Replica, n.Index)
	case "bootstrap":
		_ = m.SaveBootstrapInfo(n.Shard, n.Replica, n.Bootstrap)
	case "forget":
		_ = m.RemoveNodeData(n.Shard, n.Replica)
	case "import":
		_ = m.ImportSnapshot(n.Snapshot, n.Replica)
	}
}

const (
	noteHeader = 8 // length and CRC
	bookBytes  = 128 << 10
)

func openLogbook(fault logbookFault) OpenOn {
	return func(fsys storefs.FS) (raftio.ILogDB, error) {
		l := &logbook{Model: &Model{}, fault: fault}
		if err := l.start(fsys); err != nil {
			return nil, err
		}
		return l, nil
	}
}

func (l *logbook) start(fsys storefs.FS) (err error) {
	if err = fsys.MkdirAll("/book"); err != nil {
		return err
	}
	if l.f, err = fsys.OpenFile("/book/notes", os.O_RDWR|os.O_CREATE); err != nil {
		return err
	}
	if !l.fault.noSyncDir {
		if err := errors.Join(fsys.SyncDir("/"), fsys.SyncDir("/book")); err != nil {
			return err
		}
	}
	for {
		n, size, ok := l.read(l.end)
		if !ok {
			break
		}
		n.make(l.Model)
		l.end += size
	}
	// What is behind is zeros, written before: then a note that is torn lacks some of its middle and has its end.
	if err := errors.Join(l.f.Truncate(l.end), l.f.Truncate(max(l.end, bookBytes))); err != nil {
		return err
	}
	return l.f.Sync() // what was read counts from now on
}

// read returns the note at off, if there is a whole one.
func (l *logbook) read(off int64) (n note, size int64, ok bool) {
	head := make([]byte, noteHeader)
	if got, _ := l.f.ReadAt(head, off); got < noteHeader {
		return n, 0, false
	}
	length := int64(binary.BigEndian.Uint32(head))
	end, err := l.f.Size()
	if err != nil || length == 0 || length > end-off-noteHeader {
		return n, 0, false
	}
	body := make([]byte, length)
	if got, _ := l.f.ReadAt(body, off+noteHeader); got < len(body) {
		return n, 0, false
	}
	if !l.fault.noChecksum && crc32.ChecksumIEEE(body) != binary.BigEndian.Uint32(head[4:]) {
		return n, 0, false
	}
	ok = gob.NewDecoder(bytes.NewReader(body)).Decode(&n) == nil
	return n, length + noteHeader, ok
}

// take notes a call, and makes it.
func (l *logbook) take(n note) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.broken != nil && !l.fault.goOnAfterErrors {
		return l.broken
	}
	var b bytes.Buffer
	b.Write(make([]byte, noteHeader))
	if err := gob.NewEncoder(&b).Encode(n); err != nil {
		return err
	}
	raw := b.Bytes()
	binary.BigEndian.PutUint32(raw, uint32(len(raw)-noteHeader))
	binary.BigEndian.PutUint32(raw[4:], crc32.ChecksumIEEE(raw[noteHeader:]))
	_, err := l.f.WriteAt(raw, l.end)
	l.notes++
	if err == nil && !l.fault.noSync && (!l.fault.syncSometimes || l.notes%4 == 0) {
		err = l.f.Sync()
	}
	if err != nil && !l.fault.hideErrors {
		l.broken = err
		return err
	}
	l.end += int64(len(raw))
	var copied note // the caller's memory is the caller's
	if err := gob.NewDecoder(bytes.NewReader(raw[noteHeader:])).Decode(&copied); err != nil {
		return err
	}
	copied.make(l.Model)
	return nil
}

func (l *logbook) SaveRaftState(updates []pb.Update, _ uint64) error {
	return l.take(note{Kind: "save", Updates: updates})
}

func (l *logbook) SaveSnapshots(updates []pb.Update) error {
	return l.take(note{Kind: "snapshots", Updates: updates})
}

func (l *logbook) RemoveEntriesTo(shard, replica, index uint64) error {
	return l.take(note{Kind: "remove", Shard: shard, Replica: replica, Index: index})
}

func (l *logbook) SaveBootstrapInfo(shard, replica uint64, b pb.Bootstrap) error {
	return l.take(note{Kind: "bootstrap", Shard: shard, Replica: replica, Bootstrap: b})
}

func (l *logbook) RemoveNodeData(shard, replica uint64) error {
	return l.take(note{Kind: "forget", Shard: shard, Replica: replica})
}

func (l *logbook) ImportSnapshot(ss pb.Snapshot, replica uint64) error {
	return l.take(note{Kind: "import", Snapshot: ss, Replica: replica})
}

func (l *logbook) Close() error {
	if !l.fault.noSync && l.broken == nil {
		if err := l.f.Sync(); err != nil {
			return err
		}
	}
	return l.f.Close()
}

// TestCrashFaultsAreFound shows that the crash tests pass what is right and find what is wrong.
func TestCrashFaultsAreFound(t *testing.T) {
	t.Parallel()
	crashes := func(f logbookFault) (err error) {
		for seed := uint64(1); seed < 20 && err == nil; seed++ {
			err = Crashes(openLogbook(f), CrashPlan{Seed: seed, Steps: 20, Every: 1, Sparse: 40})
		}
		return err
	}
	require.NoError(t, Crashes(openLogbook(logbookFault{}), CrashPlan{Seed: 1, Steps: 20, Every: 1, Sparse: 40}))
	require.NoError(t, Faults(openLogbook(logbookFault{}), 1, 30))
	for name, f := range map[string]logbookFault{
		"never syncs": {noSync: true}, "syncs sometimes": {syncSometimes: true}, "does not sync its directory": {noSyncDir: true},
		"trusts torn notes": {noChecksum: true},
	} {
		err := crashes(f)
		require.Error(t, err, name)
		t.Logf("%s: %.400v", name, err)
	}
	for name, f := range map[string]logbookFault{
		"hides errors": {hideErrors: true}, "goes on after errors": {goOnAfterErrors: true},
	} {
		err := Faults(openLogbook(f), 1, 30)
		require.Error(t, err, name)
		t.Logf("%s: %.400v", name, err)
	}
}
