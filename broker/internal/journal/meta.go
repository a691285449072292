package journal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/trunkline/trunkline/broker/internal/storefs"
)

// metaName is the file that makes a directory a journal. It is written last, when all WALs are there.
const (
	metaName         = "journal.meta"
	metaBytes        = 36
	metaMagic uint64 = 0x54524c4a4d455441 // "TRLJMETA"
)

// meta is what never changes about a journal.
type meta struct {
	workers uint32
	id      journalID
}

func (m *meta) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, metaMagic)
	b = binary.BigEndian.AppendUint32(b, formatVersion)
	b = binary.BigEndian.AppendUint32(b, m.workers)
	b = append(b, m.id[:]...)
	return binary.BigEndian.AppendUint32(b, checksum(b))
}

// readMeta reads dir's meta file; ok is false when there is none.
func readMeta(fsys storefs.FS, dir string) (m meta, ok bool, err error) {
	name := filepath.Join(dir, metaName)
	b, err := storefs.ReadFile(fsys, name, blockBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return meta{}, false, nil
	}
	if err != nil {
		return meta{}, false, fmt.Errorf("journal: open: %w", err)
	}
	be := binary.BigEndian
	if len(b) != metaBytes || be.Uint64(b) != metaMagic || be.Uint32(b[metaBytes-4:]) != checksum(b[:metaBytes-4]) {
		return meta{}, false, &CorruptionError{File: name, Reason: "it is not what a journal wrote"}
	}
	if v := be.Uint32(b[8:]); v != formatVersion {
		return meta{}, false, fmt.Errorf("journal: open %s: it has format %d, this program knows %d", dir, v, formatVersion)
	}
	m.workers = be.Uint32(b[12:])
	copy(m.id[:], b[16:])
	return m, true, nil
}

func newMeta(workers int) meta {
	m := meta{workers: uint32(workers)}
	_, _ = rand.Read(m.id[:]) // never fails
	return m
}
