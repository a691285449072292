package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// parallel is how many partitions are copied at a time.
const parallel = 4

// ExportOptions changes how Export works. An export that is continued keeps the partitions and ends of its first run.
type ExportOptions struct {
	Partitions     []protocol.Partition                   // nil: all
	Until          map[protocol.Partition]protocol.Offset // partitions that are to end before what is there now
	Pack           bool                                   // chunks with zstd
	Salvage        bool                                   // partitions without a leader: what the best replica that answers has
	BytesPerSecond int                                    // of batches, all partitions together; 0: no bound
}

// Export copies the records of a topic into dir, or finishes an export that was interrupted there, and returns its manifest. See the
// package comment for what it holds and how it fails. It waits for partitions without a leader until ctx ends.
func Export(ctx context.Context, c *client.Client, topic, dir string, o ExportOptions) (*Manifest, error) {
	m, err := export(ctx, c, topic, dir, o)
	if err != nil {
		return nil, fmt.Errorf("export topic %q to %s: %w", topic, dir, err)
	}
	return m, nil
}

func export(ctx context.Context, c *client.Client, topic, dir string, o ExportOptions) (*Manifest, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	m, complete, err := begin(ctx, c, topic, dir, o)
	if err != nil || complete {
		return m, err
	}
	e := &exporter{c: c, m: m, dir: dir, pack: o.Pack, limit: newLimiter(o.BytesPerSecond)}
	group, copying := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range m.Partitions {
		group.Go(func() error {
			p := &m.Partitions[i]
			if err := e.partition(copying, p); err != nil {
				return fmt.Errorf("partition %d: %w", p.Partition, err)
			}
			return m.survey(dir, p)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if err := writeSealed(filepath.Join(dir, manifestFile), topicFormat, m); err != nil {
		return nil, err
	}
	return m, os.Remove(filepath.Join(dir, planFile))
}

// begin returns the plan of the export in dir, or makes one. complete: there is nothing left to do.
func begin(ctx context.Context, c *client.Client, topic, dir string, o ExportOptions) (m *Manifest, complete bool, err error) {
	for _, name := range []string{manifestFile, planFile} {
		m, err := load(filepath.Join(dir, name))
		if err == nil {
			err = m.continues(topic, o)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return m, name == manifestFile, err
		}
	}
	if m, err = plan(ctx, c, topic, o); err != nil {
		return nil, false, err
	}
	return m, false, writeSealed(filepath.Join(dir, planFile), topicFormat, m)
}

// continues refuses to go on with an export of something else than is asked for.
func (m *Manifest) continues(topic string, o ExportOptions) error {
	if m.Topic.Name != topic {
		return fmt.Errorf("%w: of topic %q", ErrOtherExport, m.Topic.Name)
	}
	var have []protocol.Partition
	for _, p := range m.Partitions {
		have = append(have, p.Partition)
		if until, ok := o.Until[p.Partition]; ok && (until > p.End || until < p.Start) {
			return fmt.Errorf("%w: partition %d has the offsets %d to %d", ErrOtherExport, p.Partition, p.Start, p.End)
		}
	}
	if want := slices.Sorted(slices.Values(o.Partitions)); len(want) > 0 && !slices.Equal(slices.Compact(want), have) {
		return fmt.Errorf("%w: of partitions %v", ErrOtherExport, have)
	}
	return nil
}

// exporter copies partitions; its methods may run for several at a time.
type exporter struct {
	c     *client.Client
	m     *Manifest
	dir   string
	pack  bool
	limit *rate.Limiter // nil: none
}

func newLimiter(bytesPerSecond int) *rate.Limiter {
	if bytesPerSecond <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(bytesPerSecond), max(1, bytesPerSecond/10))
}

// spend waits until so many bytes may be moved.
func spend(ctx context.Context, l *rate.Limiter, bytes int) error {
	for l != nil && bytes > 0 {
		n := min(bytes, l.Burst())
		if err := l.WaitN(ctx, n); err != nil {
			return err
		}
		bytes -= n
	}
	return nil
}

// partition copies what is still missing of one partition.
func (e *exporter) partition(ctx context.Context, p *Partition) (err error) {
	h, err := e.m.header(p.Partition)
	if err != nil {
		return err
	}
	w, err := openWriter(filepath.Join(e.dir, p.File), h, p.Start, e.pack)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if w.next >= p.End {
		return nil
	}
	err = e.read(ctx, w, p, client.AtOffset(w.next))
	if errors.Is(err, client.ErrOffsetOutOfRange) { // retention went past it
		err = e.read(ctx, w, p, client.Earliest())
	}
	return err
}

// read copies a partition from start to its end.
func (e *exporter) read(ctx context.Context, w *writer, p *Partition, start client.Start) (err error) {
	opts := []client.ReaderOption{client.ReadPartitions(p.Partition), client.StartAt(start), client.StopAtEnd()}
	if p.Salvaged != nil {
		opts = append(opts, client.FromReplica(p.Salvaged.Broker))
	}
	r, err := e.c.BatchReader(ctx, e.m.Topic.Name, opts...)
	if err != nil {
		return err
	}
	defer func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		err = errors.Join(err, r.Close(ended))
	}()
	for w.next < p.End {
		b, err := r.Receive(ctx)
		if errors.Is(err, io.EOF) {
			return e.shortened(ctx, w.next, p)
		}
		switch {
		case err != nil:
			return err
		case b.Topic != e.m.Topic.ID:
			return ErrTopicChanged
		case b.Header.BaseOffset >= p.End: // all that was left is gone
			return nil
		}
		if err := spend(ctx, e.limit, len(b.Bytes)); err != nil {
			return err
		}
		if err := w.add(&b.Header, b.Bytes); err != nil {
			return err
		}
	}
	return nil
}

// shortened decides what it means that a partition ended below its planned end: retention removed the rest, or records that
// were committed are gone.
func (e *exporter) shortened(ctx context.Context, next protocol.Offset, p *Partition) error {
	t, err := e.c.Admin().DescribeTopic(ctx, e.m.Topic.Name)
	if err != nil {
		return err
	}
	if t.ID != e.m.Topic.ID {
		return ErrTopicChanged
	}
	if int64(p.Partition) < int64(len(t.Partitions)) && t.Partitions[p.Partition].Start >= p.End {
		return nil
	}
	return fmt.Errorf("the log ends at offset %d, when the export began it reached %d", next, p.End)
}
