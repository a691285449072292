package journal

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// recovery reads a WAL and fills its index. It changes nothing on the disk; the epoch that begins afterwards does.
type recovery struct {
	w        *wal
	files    []found
	expected uint64 // sequence number of the next round
	oldest   uint64 // file that the newest round needs
	epoch    uint64 // newest
	lastID   uint64 // highest that any file has or had
	unused   []*file
	buf      []byte
}

// found is a file with its header. end is where its rounds end.
type found struct {
	*file
	header fileHeader
	end    int64
	rounds int
}

// run does all of it. found says whether the directory is that of a journal.
func (r *recovery) run(isJournal bool) error {
	r.buf = make([]byte, 0, scanBytes)
	if err := r.list(); err != nil {
		return err
	}
	switch {
	case !isJournal:
		return r.startedOnly()
	case len(r.files) == 0:
		return &CorruptionError{File: r.w.dir, Reason: "it holds no files"}
	}
	if err := r.checkHeaders(); err != nil {
		return err
	}
	if err := r.replay(); err != nil {
		return err
	}
	return r.adopt()
}

// list opens the files and notes the spare ones.
func (r *recovery) list() error {
	entries, err := r.w.fs.ReadDir(r.w.dir)
	if err != nil {
		return fmt.Errorf("journal: open: %w", err)
	}
	var spares []*file
	for _, e := range entries {
		path := filepath.Join(r.w.dir, e.Name())
		if strings.HasPrefix(e.Name(), newPrefix) {
			if err := r.w.fs.Remove(path); err != nil {
				return fmt.Errorf("journal: open: %w", err)
			}
			continue
		}
		id, spare, ok := parseFileName(e.Name())
		if !ok {
			continue
		}
		r.lastID = max(r.lastID, id)
		if f := (&file{id: id, path: path}); spare {
			spares = append(spares, f)
		} else if err := r.add(f); err != nil {
			return err
		}
	}
	slices.SortFunc(r.files, func(a, b found) int { return cmp.Compare(a.id, b.id) })
	for _, f := range spares {
		if err := r.addSpare(f); err != nil {
			return fmt.Errorf("journal: open: %w", err)
		}
	}
	return nil
}

// addSpare keeps f for later use, or takes its name away. A crash in the middle of a renaming may have left a file under
// its old and its new name, on file systems that do not do it in one step; a spare name must not be one of them.
func (r *recovery) addSpare(f *file) error {
	if !slices.ContainsFunc(r.files, func(other found) bool { return other.id == f.id }) {
		file, err := r.w.fs.Open(f.path)
		if err != nil {
			return err
		}
		b := make([]byte, fileHeaderBytes)
		_, rerr := file.ReadAt(b, 0)
		h, herr := parseFileHeader(b)
		f.size, err = file.Size()
		if cerr := file.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return err
		}
		if rerr == nil && herr == nil && h.id == f.id && r.w.spares.wants(f.size, r.w.j.opts.FileBytes) {
			r.w.spares.put(f)
			return nil
		}
	}
	return r.w.fs.Remove(f.path)
}

// add opens f and reads its header. A file gets its name after its header is durable, so a bad one is damage.
func (r *recovery) add(f *file) error {
	var err error
	if f.f, err = r.w.fs.OpenFile(f.path, os.O_RDWR); err != nil {
		return fmt.Errorf("journal: open: %w", err)
	}
	r.w.files = append(r.w.files, f) // to be closed when opening fails
	s, err := newScanner(f, r.buf)
	if err != nil {
		return fmt.Errorf("journal: open: %w", err)
	}
	f.size = s.size
	if s.size < blockBytes {
		return s.damage(0, fmt.Sprintf("it has only %d bytes", s.size))
	}
	b, err := s.bytes(0, fileHeaderBytes)
	if err != nil {
		return fmt.Errorf("journal: open: %w", err)
	}
	h, err := parseFileHeader(b)
	switch {
	case err != nil:
		return s.damage(0, err.Error())
	case h.id != f.id:
		return s.damage(0, fmt.Sprintf("it was written as number %d", h.id))
	case h.worker != r.w.worker:
		return s.damage(0, fmt.Sprintf("it was written by worker %d", h.worker))
	}
	r.files = append(r.files, found{file: f, header: h, end: blockBytes})
	return nil
}

// startedOnly is recovery of a directory that is no journal yet: a first start was cut short before anything could be
// written, or somebody took the meta file away.
func (r *recovery) startedOnly() error {
	for i := range r.files {
		f := &r.files[i]
		s, err := newScanner(f.file, r.buf)
		if err != nil {
			return fmt.Errorf("journal: open: %w", err)
		}
		_, ok, err := s.header(blockBytes, f.header.epoch)
		if err != nil {
			return fmt.Errorf("journal: open: %w", err)
		}
		if ok {
			return &CorruptionError{File: filepath.Join(r.w.j.dir, metaName), Reason: "it is missing, but " + f.path + " is there"}
		}
		r.epoch = max(r.epoch, f.header.epoch)
		r.unused = append(r.unused, f.file)
	}
	r.w.files = nil
	r.expected = 1
	return nil
}

// checkHeaders checks that the files belong together.
func (r *recovery) checkHeaders() error {
	for i := range r.files {
		f := &r.files[i]
		reason := ""
		if f.header.journal != r.w.j.id {
			reason = "it belongs to another journal"
		}
		if i > 0 {
			prev := &r.files[i-1].header
			switch {
			case f.header.epoch < prev.epoch || f.header.start < prev.start:
				reason = fmt.Sprintf("its epoch %d follows epoch %d", f.header.epoch, prev.epoch)
			case f.header.epoch == prev.epoch && (f.header.start != prev.start || f.header.first):
				reason = fmt.Sprintf("it does not continue epoch %d", prev.epoch)
			case f.header.epoch > prev.epoch && !f.header.first:
				reason = fmt.Sprintf("the first file of epoch %d is missing", f.header.epoch)
			}
		}
		if reason != "" {
			return &CorruptionError{File: f.path, Reason: reason}
		}
	}
	r.epoch = r.files[len(r.files)-1].header.epoch
	return nil
}

// replay puts the rounds of all epochs into the index. An epoch that another one followed was recovered then: exactly
// its rounds below the start of the next are the log, and they are durable.
func (r *recovery) replay() error {
	first := &r.files[0]
	r.expected = first.header.start
	if !first.header.first {
		s, err := newScanner(first.file, r.buf)
		if err != nil {
			return fmt.Errorf("journal: open: %w", err)
		}
		h, ok, err := s.header(blockBytes, first.header.epoch)
		if err != nil {
			return fmt.Errorf("journal: open: %w", err)
		}
		if !ok {
			return s.damage(blockBytes, "its first round is not readable")
		}
		r.expected = h.seq
	}
	for begin := 0; begin < len(r.files); {
		end := begin
		for end < len(r.files) && r.files[end].header.epoch == r.files[begin].header.epoch {
			end++
		}
		limit := uint64(math.MaxUint64)
		if end < len(r.files) {
			limit = r.files[end].header.start
		}
		if err := r.replayEpoch(r.files[begin:end], limit); err != nil {
			return err
		}
		begin = end
	}
	if r.oldest != 0 && r.oldest < first.id {
		return &CorruptionError{File: fileName(r.w.dir, r.oldest), Reason: "it is missing"}
	}
	return nil
}

// replayEpoch reads one epoch's rounds below limit. Without a limit it is the last epoch, and it ends at the first round
// that is not there, unless that one was promised.
func (r *recovery) replayEpoch(files []found, limit uint64) error {
	cut := 0
	for i := range files {
		before := r.expected
		if err := r.replayFile(&files[i], limit); err != nil {
			return err
		}
		if i == 0 || r.expected > before {
			cut = i
		}
	}
	if r.expected == limit {
		return nil
	}
	at := &files[cut]
	if limit != math.MaxUint64 {
		return &CorruptionError{File: at.path, Offset: at.end,
			Reason: fmt.Sprintf("round %d is missing, %d were read before", r.expected, limit)}
	}
	for i := cut; i < len(files); i++ {
		promised, off, err := r.promised(&files[i])
		if err != nil {
			return err
		}
		if promised >= r.expected {
			return &CorruptionError{File: at.path, Offset: at.end, Reason: fmt.Sprintf(
				"round %d is missing, but the one at byte %d of %s says that it was durable", r.expected, off, files[i].path)}
		}
	}
	return nil
}

// replayFile reads the rounds of one file as long as they continue the log.
func (r *recovery) replayFile(f *found, limit uint64) error {
	s, err := newScanner(f.file, r.buf)
	if err != nil {
		return fmt.Errorf("journal: open: %w", err)
	}
	for r.expected < limit {
		h, records, ok, err := s.round(f.end, f.header.epoch)
		if err != nil {
			return r.wrap(err)
		}
		if !ok || h.seq != r.expected {
			return nil
		}
		for i := range records {
			r.w.index.put(&records[i])
		}
		r.w.durable, r.oldest = max(r.w.durable, h.durable), h.oldest
		r.expected++
		f.end += h.size()
		f.rounds++
	}
	return nil
}

// promised returns the highest round that a round behind f's end says is durable, and where that one is. Rounds begin at
// whole blocks, so none is overlooked.
func (r *recovery) promised(f *found) (highest uint64, at int64, err error) {
	s, err := newScanner(f.file, r.buf)
	if err != nil {
		return 0, 0, fmt.Errorf("journal: open: %w", err)
	}
	for off := f.end; off < s.size; off += blockBytes {
		h, ok, err := s.header(off, f.header.epoch)
		if err != nil {
			return 0, 0, r.wrap(err)
		}
		if ok && h.durable > highest {
			highest, at = h.durable, off
		}
	}
	return highest, at, nil
}

// adopt ends the logs, and makes durable what was read but not promised: it may be in the page cache only, and from now
// on it counts. Files without rounds are not needed any more once the next epoch has begun.
func (r *recovery) adopt() error {
	for _, rep := range r.w.index.replicas {
		rep.log.close()
		rep.stateDirty, rep.compactDirty = false, false
		if err := rep.check(); err != nil {
			rep.damage = &CorruptionError{File: r.w.dir, Reason: fmt.Sprintf("shard %d replica %d: %v",
				rep.node.shard, rep.node.replica, err)}
		}
	}
	r.w.files = nil
	for i := range r.files {
		f := &r.files[i]
		if f.rounds == 0 {
			r.unused = append(r.unused, f.file)
			continue
		}
		r.w.files = append(r.w.files, f.file)
		if r.w.durable < r.expected-1 {
			if err := f.f.Datasync(); err != nil {
				return fmt.Errorf("journal: open: %w", err)
			}
		}
	}
	return nil
}

// discard makes the files without rounds spare ones, the newest first: at no time is a file there whose epoch's first
// one is not.
func (r *recovery) discard() error {
	for _, f := range slices.Backward(r.unused) {
		if err := r.w.dispose(f); err != nil {
			return fmt.Errorf("journal: open: %w", err)
		}
	}
	return nil
}

func (r *recovery) wrap(err error) error {
	var damage *CorruptionError
	if errors.As(err, &damage) {
		return damage
	}
	return fmt.Errorf("journal: open: %w", err)
}
