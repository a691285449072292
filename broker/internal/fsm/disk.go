package fsm

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/trunkline/trunkline/broker/internal/seglog"
	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
)

// The names in a machine's directory.
const (
	checkpointName = "checkpoint"
	logPrefix      = "log."
)

func (m *Machine) checkpointPath() string { return filepath.Join(m.cfg.Dir, checkpointName) }

func (m *Machine) logDir(generation uint64) string {
	return filepath.Join(m.cfg.Dir, fmt.Sprintf("%s%08d", logPrefix, generation))
}

// load reads the checkpoint and opens its log. Without a checkpoint nothing of the directory is trusted: nothing that
// was ever promised can be in it, because promises are kept by checkpoint and Raft log.
func (m *Machine) load() (st state, generation uint64, log *seglog.Log, err error) {
	st = m.newState()
	fsys, path := m.cfg.FS, m.checkpointPath()
	if err = fsys.MkdirAll(m.cfg.Dir); err != nil {
		return st, 0, nil, err
	}
	if err = fsys.SyncDir(filepath.Dir(m.cfg.Dir)); err != nil {
		return st, 0, nil, err
	}
	raw, err := storefs.ReadFile(fsys, path, maxCheckpointBytes)
	if errors.Is(err, fs.ErrNotExist) {
		log, err = m.createLog(1, 0)
		if err == nil {
			err = m.removeLogsExcept(1)
		}
		return st, 1, log, err
	}
	if err != nil {
		return st, 0, nil, err
	}
	if generation, err = decodeCheckpoint(raw, checkpointMagic, m.cfg.Partition, &st); err != nil {
		return st, 0, nil, corruption(path, err)
	}
	if err = m.removeLogsExcept(generation); err != nil {
		return st, 0, nil, err
	}
	log, err = m.openLog(generation, &st)
	return st, generation, log, err
}

// openLog opens the log that a checkpoint vouches for: exactly the offsets up to st.next. What lies above was not
// vouched for; Raft replays it.
func (m *Machine) openLog(generation uint64, st *state) (*seglog.Log, error) {
	dir := m.logDir(generation)
	log, err := seglog.Open(m.cfg.FS, dir, st.next, m.cfg.Seglog)
	if err != nil {
		return nil, err
	}
	err = log.SetStart(st.start)
	if err == nil && (log.Start() != st.start || log.Next() != st.next) {
		err = &seglog.CorruptionError{File: dir, Reason: fmt.Sprintf("holds offsets [%d, %d), the checkpoint says [%d, %d)",
			log.Start(), log.Next(), st.start, st.next)}
	}
	if err == nil {
		err = log.DropBelow(st.start)
	}
	if err != nil {
		_ = log.Close() // the first error counts
		return nil, err
	}
	return log, nil
}

// createLog makes an empty log of a generation, in place of what a crash may have left of an earlier try. It is there
// durably before any checkpoint can name it.
func (m *Machine) createLog(generation uint64, start protocol.Offset) (*seglog.Log, error) {
	dir := m.logDir(generation)
	if err := m.cfg.FS.RemoveAll(dir); err != nil {
		return nil, err
	}
	return seglog.Create(m.cfg.FS, dir, start, m.cfg.Seglog)
}

// removeLogsExcept deletes the logs of other generations.
func (m *Machine) removeLogsExcept(generation uint64) error {
	entries, err := m.cfg.FS.ReadDir(m.cfg.Dir)
	if err != nil {
		return err
	}
	keep := filepath.Base(m.logDir(generation))
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), logPrefix) || e.Name() == keep {
			continue
		}
		if err := m.cfg.FS.RemoveAll(filepath.Join(m.cfg.Dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (m *Machine) writeCheckpoint(generation uint64, st *state) error {
	b := appendCheckpoint(nil, checkpointMagic, m.cfg.Partition, generation, st)
	return storefs.WriteFileAtomic(m.cfg.FS, m.checkpointPath(), b)
}

// corruption names the file in which a decoder found damage.
func corruption(file string, err error) error {
	var d *damage
	if errors.As(err, &d) {
		return &seglog.CorruptionError{File: file, Position: int64(d.position), Reason: d.reason}
	}
	return err
}
