package chaos

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// maxBatch is the largest batch that a log may hold.
const maxBatch = 16 << 20

// comparison is what comparing data directories found.
type comparison struct {
	Partitions int      `json:"partitions"`
	Bytes      int64    `json:"bytes"` // of one replica, equal on all
	Differ     []string `json:"differ,omitempty"`
}

// compareReplicas compares the logs of all partitions byte for byte, from the data directories of brokers that were stopped in
// order: from the highest start on, and up to the end, which must be the same. Every partition is on so many of the brokers, and what a
// replica that moved away has left behind is a difference too.
func compareReplicas(data []string, replicas int) (comparison, error) {
	var c comparison
	holders := map[string][]string{} // by shard: the directories of its replicas
	for _, dir := range data {
		found, err := filepath.Glob(filepath.Join(dir, "partitions/*/data"))
		if err != nil {
			return c, err
		}
		for _, replica := range found {
			shard := filepath.Base(filepath.Dir(replica))
			holders[shard] = append(holders[shard], replica)
		}
	}
	for _, shard := range slices.Sorted(maps.Keys(holders)) {
		if n := len(holders[shard]); n != replicas {
			c.Differ = append(c.Differ, fmt.Sprintf("shard %s: %d brokers hold a replica, not %d: %v", shard, n, replicas, holders[shard]))
		}
		n, err := compareShard(holders[shard])
		if err != nil {
			c.Differ = append(c.Differ, fmt.Sprintf("shard %s: %v", shard, err))
		}
		c.Partitions++
		c.Bytes += n
	}
	return c, nil
}

// compareShard returns how many bytes are equal in the replicas of these directories, and the first difference as an error.
func compareShard(dirs []string) (int64, error) {
	logs := make([]*logReader, len(dirs))
	start := protocol.Offset(0)
	for i, dir := range dirs {
		l, err := openLog(dir)
		if err != nil {
			return 0, err
		}
		defer func() { _ = l.close() }() // it was only read
		logs[i] = l
		start = max(start, l.start)
	}
	for _, l := range logs {
		if err := l.skip(start); err != nil {
			return 0, err
		}
	}
	same := int64(0)
	for {
		first := logs[0].current
		for _, l := range logs[1:] {
			if !bytes.Equal(first, l.current) {
				return same, fmt.Errorf("%s and %s differ: offset %d on, %d and %d bytes, epochs %d and %d", logs[0].dir, l.dir,
					logs[0].header.BaseOffset, len(first), len(l.current), logs[0].header.Epoch, l.header.Epoch)
			}
		}
		if first == nil {
			return same, nil
		}
		same += int64(len(first))
		for _, l := range logs {
			if err := l.next(); err != nil {
				return same, err
			}
		}
	}
}

// logReader reads the batches of one replica's segments in order.
type logReader struct {
	dir     string
	start   protocol.Offset // of the first batch; the end of an empty log is 0
	header  batch.Header
	current []byte // nil at the end

	paths []string // not read yet
	file  *os.File
	r     *bufio.Reader
}

// openLog opens the newest generation of a replica and reads its first batch.
func openLog(dir string) (*logReader, error) {
	generations, err := filepath.Glob(filepath.Join(dir, "log.*"))
	if err == nil && len(generations) == 0 {
		err = fmt.Errorf("%s holds no log", dir)
	}
	if err != nil {
		return nil, err
	}
	l := &logReader{dir: slices.Max(generations)}
	if l.paths, err = filepath.Glob(filepath.Join(l.dir, "*.log")); err != nil {
		return nil, err
	}
	slices.Sort(l.paths)
	if err := l.next(); err != nil {
		return nil, errors.Join(err, l.close())
	}
	l.start = l.header.BaseOffset
	return l, nil
}

// next reads one batch and checks its checksums. A segment that does not end with a whole batch is an error.
func (l *logReader) next() error {
	for {
		if l.file == nil {
			if len(l.paths) == 0 {
				l.current = nil
				return nil
			}
			f, err := os.Open(l.paths[0])
			if err != nil {
				return err
			}
			l.paths, l.file, l.r = l.paths[1:], f, bufio.NewReaderSize(f, 1<<18)
		}
		head, err := l.r.Peek(batch.HeaderSize)
		if errors.Is(err, io.EOF) && len(head) == 0 {
			if err := l.close(); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %d bytes at its end: %w", l.file.Name(), len(head), err)
		}
		return l.read(head)
	}
}

func (l *logReader) read(head []byte) error {
	h, err := batch.ParseHeader(head)
	if err == nil && h.Length > maxBatch {
		err = fmt.Errorf("a batch of %d bytes", h.Length)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", l.file.Name(), err)
	}
	l.header, l.current = h, make([]byte, h.Length)
	if _, err := io.ReadFull(l.r, l.current); err != nil {
		return fmt.Errorf("%s: batch at offset %d: %w", l.file.Name(), h.BaseOffset, err)
	}
	if _, err := batch.Check(l.current, maxBatch); err != nil {
		return fmt.Errorf("%s: batch at offset %d: %w", l.file.Name(), h.BaseOffset, err)
	}
	return nil
}

// skip reads up to the batch that begins at an offset.
func (l *logReader) skip(to protocol.Offset) error {
	for l.current != nil && l.header.BaseOffset < to {
		if err := l.next(); err != nil {
			return err
		}
	}
	return nil
}

func (l *logReader) close() error {
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}
