package journaltest

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"
)

// Disagreement is what a tee panics with: two LogDBs gave answers that Dragonboat would tell apart.
type Disagreement struct {
	Call string // with its arguments
	A, B any    // the answers
	Why  error  // what differs
}

// Error shows both answers.
func (d *Disagreement) Error() string {
	return fmt.Sprintf("journaltest: %s: %v\n  A: %v\n  B: %v", d.Call, d.Why, d.A, d.B)
}

// Tee returns a factory of LogDBs that are two: every call goes to both, every answer is compared, and the callers get
// that of A. Each has a directory of its own below the one that is given. The first answer that differs is a panic with
// a *Disagreement: Dragonboat does not hide it, and nobody can go on as if nothing had happened.
//
// Compared are, besides every call's answer, all replicas as a whole when the tee is opened and when it is closed, so
// that what the two remember is compared after every restart.
//
// The tee holds no lock during a call: A and B meet the concurrency that Dragonboat makes. An answer that was read
// while the replica was being written proves nothing and is read again; Compared counts those that were compared.
//
// Where the two may differ legally:
//
//   - how many entries an empty budget (maxSize 0) gives: one at least;
//   - ReadRaftState's FirstIndex, at or below lastIndex+1, as long as the log ends at the same entry;
//   - entries behind an installed snapshot that one of them still holds when the other has none: its own entry at the
//     snapshot's index then has another term than the snapshot, which shows that they are of a log that Raft forgot.
//     Tan does this;
//   - entries at or below what RemoveEntriesTo named, after a restart: no LogReader asks for them;
//   - the texts of errors; only raftio's own two mean something to Dragonboat;
//   - after a crash: the commit index, when nothing else was saved after it. A tee cannot compare that: both were
//     cut at other moments.
func Tee(a, b config.LogDBFactory) *TeeFactory { return &TeeFactory{a: a, b: b} }

// TeeFactory makes tees.
type TeeFactory struct {
	a, b config.LogDBFactory

	mu       sync.Mutex
	compared map[string]int // guarded by mu
}

// Compared returns how many answers of each method were compared, by its name. SaveRaftState with an installed snapshot
// is also counted as "Install".
func (f *TeeFactory) Compared() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.compared)
}

func (f *TeeFactory) count(call string) {
	name, _, _ := strings.Cut(call, "(")
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.compared == nil {
		f.compared = map[string]int{}
	}
	f.compared[name]++
}

// Name implements config.LogDBFactory.
func (f *TeeFactory) Name() string { return "journaltest-tee" }

// Create implements config.LogDBFactory.
func (f *TeeFactory) Create(cfg config.NodeHostConfig, cb config.LogDBCallback, dirs, wals []string) (
	raftio.ILogDB, error) {
	a, err := f.half("a", f.a, cfg, cb, dirs, wals)
	if err != nil {
		return nil, err
	}
	b, err := f.half("b", f.b, cfg, cb, dirs, wals)
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	t := &tee{a: a, b: b, factory: f, replicas: map[raftio.NodeInfo]*writes{}}
	t.compareAll("open")
	return t, nil
}

func (f *TeeFactory) half(name string, of config.LogDBFactory, cfg config.NodeHostConfig, cb config.LogDBCallback,
	dirs, wals []string) (raftio.ILogDB, error) {
	own := func(dirs []string) ([]string, error) {
		var out []string
		for _, d := range dirs {
			d = filepath.Join(d, name)
			if err := cfg.Expert.FS.MkdirAll(d, 0o755); err != nil {
				return nil, err
			}
			out = append(out, d)
		}
		return out, nil
	}
	dirs, err := own(dirs)
	if err != nil {
		return nil, err
	}
	if wals, err = own(wals); err != nil {
		return nil, err
	}
	return of.Create(cfg, cb, dirs, wals)
}

// tee is two LogDBs that must not differ.
type tee struct {
	a, b    raftio.ILogDB
	factory *TeeFactory

	mu       sync.Mutex
	replicas map[raftio.NodeInfo]*writes // every replica that was written or read; guarded by mu
}

// writes counts the calls that change a replica. An answer of both LogDBs is comparable when
// begun was equal to ended before and begun is the same after.
type writes struct{ begun, ended atomic.Uint64 }

func (t *tee) of(info raftio.NodeInfo) *writes {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.replicas[info] == nil {
		t.replicas[info] = &writes{}
	}
	return t.replicas[info]
}

// known returns every replica that was seen.
func (t *tee) known() []raftio.NodeInfo {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []raftio.NodeInfo
	for info := range t.replicas {
		if info != (raftio.NodeInfo{}) {
			out = append(out, info)
		}
	}
	return out
}

// write makes a change of some replicas in both.
func (t *tee) write(call string, infos []raftio.NodeInfo, do func(db raftio.ILogDB) error) error {
	for _, info := range infos {
		t.of(info).begun.Add(1)
	}
	a := do(t.a)
	b := do(t.b)
	for _, info := range infos {
		t.of(info).ended.Add(1)
	}
	t.errors(call, a, b)
	return a
}

// errors compares two errors.
func (t *tee) errors(call string, a, b error) {
	t.factory.count(call)
	kind := func(err error) error {
		for _, known := range []error{raftio.ErrNoSavedLog, raftio.ErrNoBootstrapInfo} {
			if errors.Is(err, known) {
				return known
			}
		}
		if err != nil {
			return errors.New("another error")
		}
		return nil
	}
	if fmt.Sprint(kind(a)) != fmt.Sprint(kind(b)) {
		panic(&Disagreement{call, a, b, errors.New("the errors")})
	}
}

// retries is how often an answer that a write disturbed is read again. A replica that is written all the time may
// exhaust them; it is looked at when the tee is closed.
const retries = 100

// answer reads from both until nothing disturbed them, and compares.
func answer[V any](t *tee, call string, info raftio.NodeInfo, get func(db raftio.ILogDB) (V, error),
	differ func(a, b V) error) (V, error) {
	w := t.of(info)
	for try := 0; ; try++ {
		begun := w.begun.Load()
		quiet := begun == w.ended.Load()
		a, aErr := get(t.a)
		b, bErr := get(t.b)
		if quiet = quiet && begun == w.begun.Load(); !quiet && try < retries {
			continue
		}
		if quiet {
			t.errors(call, aErr, bErr)
			if aErr == nil {
				if why := differ(a, b); why != nil {
					panic(&Disagreement{call, a, b, why})
				}
			}
		}
		return a, aErr
	}
}

// compareAll compares all that is known of every replica. Nobody else uses the LogDBs now.
func (t *tee) compareAll(when string) {
	infos, err := t.ListNodeInfo()
	if err != nil {
		return // of both
	}
	for _, info := range append(infos, t.known()...) {
		call := fmt.Sprintf("%s(replica %d of shard %d)", when, info.ReplicaID, info.ShardID)
		a, aErr := look(t.a, info)
		b, bErr := look(t.b, info)
		t.errors(call, aErr, bErr)
		if aErr != nil {
			continue
		}
		switch { // see Tee
		case len(a.Entries) == 0 && forgotten(t.b, info, b.Snapshot):
			b.Entries = nil
		case len(b.Entries) == 0 && forgotten(t.a, info, a.Snapshot):
			a.Entries = nil
		}
		if why := differ(a, b); why != nil {
			panic(&Disagreement{call, fmt.Sprintf("%+v", *a), fmt.Sprintf("%+v", *b), why})
		}
	}
}

// forgotten says whether the entry at the snapshot's index is there and of another term than the snapshot: what lies
// behind it may be of a log that Raft forgot when it installed the snapshot.
func forgotten(db raftio.ILogDB, info raftio.NodeInfo, ss pb.Snapshot) bool {
	if ss.Index == 0 {
		return false
	}
	ents, _, err := db.IterateEntries(nil, 0, info.ShardID, info.ReplicaID, ss.Index, ss.Index+1, math.MaxUint64)
	return err == nil && len(ents) == 1 && ents[0].Term != ss.Term
}

func infosOf(updates []pb.Update) []raftio.NodeInfo {
	var infos []raftio.NodeInfo
	for _, ud := range updates {
		infos = append(infos, raftio.GetNodeInfo(ud.ShardID, ud.ReplicaID))
	}
	return infos
}

// differLimited compares two answers of IterateEntries that were asked for at most maxSize bytes.
func differLimited(a, b limited, maxSize uint64) error {
	if maxSize == 0 && len(a.ents) > 0 && len(b.ents) > 0 {
		n := min(len(a.ents), len(b.ents))
		return differEntries(a.ents[:n], b.ents[:n])
	}
	if err := differEntries(a.ents, b.ents); err != nil {
		return err
	}
	if a.size != b.size {
		return fmt.Errorf("sizes %d and %d", a.size, b.size)
	}
	return nil
}

// limited is an answer of IterateEntries.
type limited struct {
	ents []pb.Entry
	size uint64
}

// String shows it without the commands.
func (l limited) String() string {
	return fmt.Sprintf("%s, %d bytes", describe(l.ents), l.size)
}
