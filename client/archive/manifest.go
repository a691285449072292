package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

const (
	planFile     = "plan.json"
	manifestFile = "manifest.json"
)

// Manifest says what an export is of and, once it is complete, what is in it.
type Manifest struct {
	ID      string    `json:"id"` // of the export: 16 hexadecimal digits
	Cluster string    `json:"cluster"`
	Topic   Shape     `json:"topic"`
	Begun   time.Time `json:"begun"`
	// Partitions that are in the export, by number; not necessarily all that the topic has.
	Partitions    []Partition `json:"partitions"`
	Subscriptions []Cursor    `json:"subscriptions,omitempty"`
	// CursorsLost says that a salvage could not read the cursors, since leaders were missing.
	CursorsLost bool `json:"cursors_lost,omitempty"`
}

// Shape is what it takes to make a topic again.
type Shape struct {
	Name           string           `json:"name"`
	ID             protocol.TopicID `json:"id"` // in the cluster it comes from; a new one is drawn when it is made
	Partitions     int              `json:"partitions"`
	Replicas       int              `json:"replicas"` // of each partition
	Retention      time.Duration    `json:"retention_ns"`
	RetentionBytes uint64           `json:"retention_bytes"`
	SegmentBytes   uint64           `json:"segment_bytes"`
}

func shapeOf(t *client.Topic) Shape {
	return Shape{
		Name: t.Name, ID: t.ID, Partitions: len(t.Partitions), Replicas: t.Replicas,
		Retention: t.Config.Retention, RetentionBytes: t.Config.RetentionBytes, SegmentBytes: t.Config.SegmentBytes,
	}
}

// String tells a person what counts for being of the same shape.
func (s *Shape) String() string {
	return fmt.Sprintf("%d partitions, %d replicas, retention %v and %d bytes, segments of %d bytes",
		s.Partitions, s.Replicas, s.Retention, s.RetentionBytes, s.SegmentBytes)
}

func (s *Shape) spec() client.TopicSpec {
	return client.TopicSpec{Partitions: s.Partitions, Replicas: s.Replicas, TopicConfig: client.TopicConfig{
		Retention: s.Retention, RetentionBytes: s.RetentionBytes, SegmentBytes: s.SegmentBytes,
	}}
}

// Partition is one partition of an export. From Bytes on everything is zero in a plan.
type Partition struct {
	Partition protocol.Partition `json:"partition"`
	Start     protocol.Offset    `json:"start"` // oldest record when the export began
	End       protocol.Offset    `json:"end"`   // behind the last record; in a plan it may lie within a batch, which is then taken whole
	File      string             `json:"file"`
	Salvaged  *Salvage           `json:"salvaged,omitempty"`
	Bytes     int64              `json:"bytes"` // size of the file
	SHA256    string             `json:"sha256,omitempty"`
	Chunks    int                `json:"chunks"`
	Records   uint64             `json:"records"`
	Gaps      []Gap              `json:"gaps,omitempty"` // between Start and End: removed by retention while the export ran
}

// Salvage says that a partition had no leader, and from which replica it was copied instead. Records from the partition's end on
// that were acknowledged are not in the export.
type Salvage struct {
	Broker  protocol.BrokerID `json:"broker"`
	Epoch   protocol.Epoch    `json:"epoch"`   // newest that the replica had applied
	Applied uint64            `json:"applied"` // Raft index
}

// Gap is a range of offsets without records.
type Gap struct {
	From protocol.Offset `json:"from"`
	To   protocol.Offset `json:"to"` // the first one behind it
}

// Cursor is where a subscription was on one partition: the offset of the first record not acknowledged.
type Cursor struct {
	Subscription string             `json:"subscription"`
	Partition    protocol.Partition `json:"partition"`
	Offset       protocol.Offset    `json:"offset"`
}

// Records is how many records the export holds.
func (m *Manifest) Records() uint64 {
	var n uint64
	for i := range m.Partitions {
		n += m.Partitions[i].Records
	}
	return n
}

// Bytes is the size of its partitions' files.
func (m *Manifest) Bytes() int64 {
	var n int64
	for i := range m.Partitions {
		n += m.Partitions[i].Bytes
	}
	return n
}

func (m *Manifest) header(p protocol.Partition) (fileHeader, error) {
	id, err := exportID(m.ID)
	return fileHeader{export: id, partition: p}, err
}

func exportID(s string) (uint64, error) {
	var id uint64
	if n, err := fmt.Sscanf(s, "%016x", &id); n != 1 || err != nil || len(s) != 16 {
		return 0, fmt.Errorf("export ID %q is not 16 hexadecimal digits", s)
	}
	return id, nil
}

// load reads a plan or manifest and refuses one whose parts do not fit together.
func load(path string) (*Manifest, error) {
	var m Manifest
	if err := readSealed(path, topicFormat, &m); err != nil {
		return nil, err
	}
	if err := m.check(); err != nil {
		return nil, &DamageError{File: path, Err: err}
	}
	return &m, nil
}

func (m *Manifest) check() error {
	if _, err := exportID(m.ID); err != nil {
		return err
	}
	if !protocol.ValidName(m.Topic.Name) {
		return fmt.Errorf("topic name %q", m.Topic.Name)
	}
	for i, p := range m.Partitions {
		switch {
		case int64(p.Partition) >= int64(m.Topic.Partitions):
			return fmt.Errorf("partition %d of a topic with %d", p.Partition, m.Topic.Partitions)
		case i > 0 && p.Partition <= m.Partitions[i-1].Partition:
			return fmt.Errorf("partition %d is listed after %d", p.Partition, m.Partitions[i-1].Partition)
		case p.File != fileName(p.Partition):
			return fmt.Errorf("the file of partition %d is called %q", p.Partition, p.File)
		case p.End < p.Start:
			return fmt.Errorf("partition %d ends at offset %d, below its start %d", p.Partition, p.End, p.Start)
		}
	}
	return nil
}

func fileName(p protocol.Partition) string { return fmt.Sprintf("partition-%05d.batches", p) }

// Verify reads a complete export from beginning to end, without a cluster, and returns its manifest. It finds every byte of
// it that is not what the export wrote; the error is then a *DamageError. An export that was not finished is ErrIncomplete.
func Verify(dir string) (*Manifest, error) {
	m, err := load(filepath.Join(dir, manifestFile))
	if err != nil {
		if _, planned := os.Stat(filepath.Join(dir, planFile)); errors.Is(err, os.ErrNotExist) && planned == nil {
			err = ErrIncomplete
		}
		return nil, fmt.Errorf("verify %s: %w", dir, err)
	}
	for _, want := range m.Partitions {
		got := want
		if err := m.survey(dir, &got); err != nil {
			return nil, fmt.Errorf("verify %s: %w", dir, err)
		}
		if err := want.same(&got); err != nil {
			return nil, fmt.Errorf("verify %s: %w", dir, &DamageError{File: filepath.Join(dir, want.File), Err: err})
		}
	}
	return m, nil
}

// same compares a partition's entry in the manifest with what was read. The hash covers all but the gap at the end.
func (p *Partition) same(got *Partition) error {
	switch {
	case p.Bytes != got.Bytes:
		return fmt.Errorf("%d bytes in %d chunks are there, the manifest says %d in %d", got.Bytes, got.Chunks, p.Bytes, p.Chunks)
	case p.SHA256 != got.SHA256:
		return fmt.Errorf("its SHA-256 is %s, the manifest says %s", got.SHA256, p.SHA256)
	case p.Records != got.Records || p.Chunks != got.Chunks || !slices.Equal(p.Gaps, got.Gaps):
		return fmt.Errorf("%d records in %d chunks with gaps %v are there, the manifest says %d in %d with %v",
			got.Records, got.Chunks, got.Gaps, p.Records, p.Chunks, p.Gaps)
	}
	return nil
}

// survey reads the file of a partition and fills in what is found there. Start and End stay unless the records say more.
func (m *Manifest) survey(dir string, p *Partition) error {
	path := filepath.Join(dir, p.File)
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	want, err := m.header(p.Partition)
	if err != nil {
		return err
	}
	hash := sha256.New()
	in, err := newReader(path, io.TeeReader(f, hash), want)
	if err != nil {
		return err
	}
	p.Chunks, p.Records, p.Gaps = 0, 0, nil
	next := p.Start
	for {
		c, err := in.chunk()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if c.first > next {
			p.Gaps = append(p.Gaps, Gap{From: next, To: c.first})
		} else if p.Chunks == 0 {
			p.Start = c.first // the batch that holds the oldest record begins before it
		}
		p.Chunks++
		p.Records += uint64(c.records)
		next = c.next()
	}
	if next < p.End {
		p.Gaps = append(p.Gaps, Gap{From: next, To: p.End})
	}
	p.End = max(next, p.End)
	p.Bytes, p.SHA256 = in.pos, hex.EncodeToString(hash.Sum(nil))
	return nil
}
