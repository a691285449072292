package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// ImportOptions changes how Import works.
type ImportOptions struct {
	Topic          string             // "": the name it had
	Replicas       int                // of a topic that is created; 0: as many as it had
	Compression    client.Compression // of the batches that are written
	BytesPerSecond int                // of batches as the export holds them, all partitions together; 0: no bound
	Subscriptions  bool               // create the subscriptions, behind the records that they had acknowledged
}

// Imported says what an import did.
type Imported struct {
	Topic   string
	Created bool
	Records uint64 // in the export and now in the topic
	Before  uint64 // of those: put there by an earlier run
	Cursors int    // that were created
}

// patience is how long a record waits for room before the import looks whether it is to end.
const patience = time.Second

// Import writes the records of a complete export into a topic of its shape, which it creates if there is none, each to its
// partition, in order and once; see the package comment for interrupted and repeated imports. It waits for partitions without
// a leader until ctx ends.
func Import(ctx context.Context, c *client.Client, dir string, o ImportOptions) (*Imported, error) {
	m, err := Verify(dir)
	if err != nil {
		return nil, fmt.Errorf("import: nothing was written: %w", err)
	}
	if o.Topic == "" {
		o.Topic = m.Topic.Name
	}
	result, err := imports(ctx, c, m, dir, o)
	if err != nil {
		return nil, fmt.Errorf("import %s into topic %q: %w", dir, o.Topic, err)
	}
	return result, nil
}

func imports(ctx context.Context, c *client.Client, m *Manifest, dir string, o ImportOptions) (*Imported, error) {
	want := m.Topic
	want.Name = o.Topic
	if o.Replicas != 0 {
		want.Replicas = o.Replicas
	}
	t, created, err := ensureTopic(ctx, c.Admin(), want, func(have *Shape) bool { return have.Partitions == want.Partitions })
	if err != nil {
		return nil, err
	}
	result := &Imported{Topic: o.Topic, Created: created, Records: m.Records()}
	if result.Before, err = copyIn(ctx, c, m, dir, t.ID, o); err != nil {
		return nil, err
	}
	if o.Subscriptions {
		result.Cursors, err = placeCursors(ctx, c, m, o.Topic)
	}
	return result, err
}

// ensureTopic returns the topic, or creates it. If there is one already, fits decides whether it will do.
func ensureTopic(ctx context.Context, a *client.Admin, want Shape, fits func(have *Shape) bool) (t *client.Topic, created bool, err error) {
	if t, err = findTopic(ctx, a, want.Name); err != nil {
		return nil, false, err
	}
	if t == nil {
		t, err = a.CreateTopic(ctx, want.Name, want.spec())
		return t, err == nil, err
	}
	if have := shapeOf(t); !fits(&have) {
		return nil, false, fmt.Errorf("%w: it has %v, wanted are %v", ErrShape, &have, &want)
	}
	return t, false, nil
}

func findTopic(ctx context.Context, a *client.Admin, name string) (*client.Topic, error) {
	topics, err := a.ListTopics(ctx)
	if err != nil {
		return nil, err
	}
	for i := range topics {
		if topics[i].Name == name {
			return &topics[i], nil
		}
	}
	return nil, nil
}

// copyIn writes what is missing of all partitions. before is how many records an earlier run wrote.
func copyIn(ctx context.Context, c *client.Client, m *Manifest, dir string, topic protocol.TopicID, o ImportOptions) (before uint64, err error) {
	p, err := c.Producer(ctx, o.Topic, client.WithProducerName(fmt.Sprintf("import-%s-%d", m.ID, topic)),
		client.WithCompression(o.Compression), client.WithMaxBlock(patience))
	if err != nil {
		return 0, err
	}
	defer func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = p.Close(ended) // everything is settled, or the error is known
	}()
	in := &importer{p: p, limit: newLimiter(o.BytesPerSecond)}
	done := make([]uint64, len(m.Partitions))
	for i, part := range m.Partitions {
		done[i] = uint64(p.NextSequence(part.Partition))
		before += done[i]
	}
	group, copying := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, part := range m.Partitions {
		group.Go(func() error {
			h, err := m.header(part.Partition)
			if err == nil {
				err = in.partition(copying, filepath.Join(dir, part.File), h, done[i])
			}
			if err != nil {
				return fmt.Errorf("partition %d: %w", part.Partition, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	if err := p.Flush(ctx); err != nil {
		return 0, err
	}
	return before, in.check(m)
}

// importer publishes the records of partitions' files; its methods may run for several at a time.
type importer struct {
	p      *client.Producer
	limit  *rate.Limiter
	failed atomic.Pointer[error] // the first record's that was refused
}

// check compares what the partitions took with what the export holds.
func (in *importer) check(m *Manifest) error {
	if err := in.failed.Load(); err != nil {
		return *err
	}
	for i := range m.Partitions {
		part := &m.Partitions[i]
		if got := uint64(in.p.NextSequence(part.Partition)); got != part.Records {
			return fmt.Errorf("partition %d took %d of %d records", part.Partition, got, part.Records)
		}
	}
	return nil
}

// partition publishes a file but for its first done records.
func (in *importer) partition(ctx context.Context, path string, h fileHeader, done uint64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := newReader(path, f, h)
	if err != nil {
		return err
	}
	for {
		c, err := r.chunk()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for i, b := range c.batches {
			if n := uint64(c.headers[i].Count); n <= done {
				done -= n
				continue
			}
			if err := spend(ctx, in.limit, len(b)); err != nil {
				return err
			}
			if err := in.batch(ctx, h.partition, b, done); errors.Is(err, protocol.ErrCorruptBatch) {
				return &DamageError{File: path, Byte: c.at, Err: fmt.Errorf("records from offset %d: %w", c.headers[i].BaseOffset, err)}
			} else if err != nil {
				return err
			}
			done = 0
		}
	}
}

// batch publishes the records of a batch but for the first skip.
func (in *importer) batch(ctx context.Context, p protocol.Partition, b []byte, skip uint64) error {
	it, err := batch.Records(b, batch.ReadOptions{Checked: true})
	if err != nil {
		return err
	}
	for r, ok := it.Next(); ok; r, ok = it.Next() {
		if skip > 0 {
			skip--
			continue
		}
		if err := in.record(ctx, p, &r); err != nil {
			return err
		}
	}
	return it.Err()
}

// record queues one record. Its own context never ends: a record that was taken back from the middle of the queue would leave the
// sequences of those behind it one too low, and a later run would pass over one too many.
func (in *importer) record(ctx context.Context, p protocol.Partition, r *batch.Record) error {
	rec := client.Record{Key: r.Key, Value: r.Value, Timestamp: time.UnixMilli(r.Timestamp), Partition: &p}
	for _, h := range r.Headers {
		rec.Headers = append(rec.Headers, client.Header{Key: h.Key, Value: h.Value})
	}
	for {
		if err := in.failed.Load(); err != nil {
			return *err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err := in.p.Send(context.WithoutCancel(ctx), rec, in.settled)
		if !errors.Is(err, client.ErrBusy) {
			return err
		}
	}
}

func (in *importer) settled(_ client.Receipt, err error) {
	if err != nil {
		in.failed.CompareAndSwap(nil, &err)
	}
}
