package journal

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"

	"github.com/trunkline/trunkline/broker/internal/storefs"
)

// Factory makes journals for Dragonboat, with one WAL for each step worker.
type Factory struct{ Options }

var _ config.LogDBFactory = Factory{}

// Name implements config.LogDBFactory.
func (Factory) Name() string { return Name }

// Create implements config.LogDBFactory. The directories for a separate low latency log are not used.
func (f Factory) Create(cfg config.NodeHostConfig, _ config.LogDBCallback, dirs, _ []string) (raftio.ILogDB, error) {
	return Open(filepath.Join(dirs[0], "journal"), int(cfg.Expert.Engine.ExecShards), f.Options)
}

// Open opens the journal in dir, or begins one there. workers is how many WALs there are and must stay the same. Only
// one process may have it open.
func Open(dir string, workers int, opts Options) (*Journal, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if workers < 1 || workers > maxWorkers {
		return nil, fmt.Errorf("journal: %d workers, 1 to %d are allowed", workers, maxWorkers)
	}
	m, found, err := readMeta(opts.FS, dir)
	if err != nil {
		return nil, err
	}
	if found && m.workers != uint32(workers) {
		return nil, fmt.Errorf("journal: %s was written by %d workers and cannot be read by %d: the number of Raft step "+
			"workers is fixed when a broker first starts", dir, m.workers, workers)
	}
	if !found {
		m = newMeta(workers)
	}
	j := &Journal{
		dir: dir, opts: opts, log: opts.Log, id: m.id, maxPayload: opts.FileBytes - blockBytes - roundHeaderBytes,
		stopCleaning: make(chan struct{}), stopPreparing: make(chan struct{}),
	}
	j.metrics = newMetrics(opts.Registerer, j)
	if err := j.openWALs(workers, found); err != nil {
		j.abandon()
		return nil, err
	}
	if !found {
		if err := j.begin(m); err != nil {
			j.abandon()
			return nil, err
		}
	}
	for _, w := range j.wals {
		j.preparers.Add(1)
		go w.prepare()
		j.cleaners.Add(1)
		go w.cleanUp()
		w.tidy()
	}
	j.metrics.register()
	return j, nil
}

// begin makes the directory a journal.
func (j *Journal) begin(m meta) error {
	fsys := j.opts.FS
	err := storefs.WriteFileAtomic(fsys, filepath.Join(j.dir, metaName), m.encode())
	if err == nil {
		err = fsys.SyncDir(filepath.Dir(j.dir))
	}
	if err != nil {
		return fmt.Errorf("journal: begin: %w", err)
	}
	return nil
}

// openWALs recovers all WALs, each by itself.
func (j *Journal) openWALs(workers int, found bool) error {
	errs := make([]error, workers)
	j.wals = make([]*wal, workers)
	var wg sync.WaitGroup
	for i := range workers {
		w := &wal{
			j: j, worker: uint32(i), dir: filepath.Join(j.dir, fmt.Sprintf("wal-%d", i)), fs: j.opts.FS,
			index: index{replicas: map[nodeID]*replica{}}, seen: map[nodeID]struct{}{},
			next: make(chan *file, 1), want: make(chan chan struct{}, 1), clean: make(chan struct{}, 1),
		}
		j.wals[i] = w
		wg.Go(func() { errs[i] = w.open(found) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// abandon closes what was opened before opening failed.
func (j *Journal) abandon() {
	for _, w := range j.wals {
		for _, f := range w.files {
			f.close()
		}
		if mem := w.index.arena.mem; mem != nil {
			_ = freeMemory(mem)
		}
	}
}

// open recovers the WAL and begins its next epoch with a new file: after a cut, nothing is ever appended to a file in
// which rounds may be left behind the cut.
func (w *wal) open(found bool) (err error) {
	if err := w.fs.MkdirAll(w.dir); err != nil {
		return fmt.Errorf("journal: open: %w", err)
	}
	if err := w.fs.SyncDir(w.j.dir); err != nil {
		return fmt.Errorf("journal: open: %w", err)
	}
	if w.index.arena.mem, err = newMemory(w.j.opts.CacheBytes); err != nil {
		return fmt.Errorf("journal: open: %w", err)
	}
	r := recovery{w: w}
	if err := r.run(found); err != nil {
		return err
	}
	w.epoch, w.start, w.lastID = r.epoch+1, r.expected, r.lastID
	w.seq, w.durable, w.noted = r.expected-1, r.expected-1, r.expected-1
	f, err := w.makeNext(nil, nil)
	if err != nil {
		return fmt.Errorf("journal: open: %w", err)
	}
	w.files = append(w.files, f)
	w.off = blockBytes
	w.oldest = w.files[0].id
	return r.discard()
}

// firstBytes is the size of an epoch's first file. The next ones are larger, by growth each time: a broker without
// load takes little of the disk, and filling a file takes no longer than the one before lasts, if the load is small.
const (
	firstBytes int64 = 1 << 20
	growth           = 4
)

// makeNext makes the next file of the epoch. For stop and hurry see newFile.
func (w *wal) makeNext(stop, hurry <-chan struct{}) (*file, error) {
	size := min(firstBytes, w.j.opts.FileBytes)
	for range w.made {
		size = min(size*growth, w.j.opts.FileBytes)
	}
	h := fileHeader{
		journal: w.j.id, worker: w.worker, first: w.made == 0,
		id: w.lastID + 1, epoch: w.epoch, start: w.start,
	}
	f, err := newFile(w.fs, w.dir, h, size, w.spares.take(), stop, hurry)
	if err != nil {
		return nil, err
	}
	w.made++
	w.lastID++
	return f, nil
}

// prepare is the goroutine that makes the next file each time it is wanted.
func (w *wal) prepare() {
	defer w.j.preparers.Done()
	defer close(w.next)
	for {
		var hurry <-chan struct{}
		select {
		case <-w.j.stopPreparing:
			return
		case hurry = <-w.want:
		}
		f, err := w.makeNext(w.j.stopPreparing, hurry)
		if errors.Is(err, ErrClosed) {
			return
		}
		if err != nil {
			_ = w.j.fail("prepare a file", err) // the writer that wants it returns it
			return
		}
		w.next <- f // has room: it was wanted once
	}
}

// spares are files that can be used again.
type spares struct {
	mu   sync.Mutex
	list []*file
}

// maxSpares bounds the spares of one WAL.
const maxSpares = 4

func (s *spares) take() *file {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.list)
	if n == 0 {
		return nil
	}
	f := s.list[n-1]
	s.list = s.list[:n-1]
	return f
}

// wants reports whether another file of this size is of use.
func (s *spares) wants(size, fileBytes int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return size == fileBytes && len(s.list) < maxSpares
}

func (s *spares) put(f *file) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, f)
}
