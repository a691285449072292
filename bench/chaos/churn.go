package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/trunkline/trunkline/bench/chaos/payload"
	"github.com/trunkline/trunkline/bench/verify"
	"github.com/trunkline/trunkline/bench/verify/history"
	"github.com/trunkline/trunkline/bench/verify/linear"
	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

const (
	churners    = 3 // workers, each with a client of its own
	churnNames  = 4
	churnBatch  = 16                     // records that are published at a time
	churnPause  = 200 * time.Millisecond // between two operations of a worker, on average
	churnLimit  = 10 * time.Second       // for one operation
	churnPerKey = 1500                   // operations on one name; then another name takes its turn
	// imagesWithin is how far a client's image of the metadata may be behind.
	imagesWithin = 10 * time.Second
)

// metadata is what a churner needs of an Admin.
type metadata interface {
	CreateTopic(context.Context, string, client.TopicSpec) (*client.Topic, error)
	DeleteTopic(context.Context, string) error
	DescribeTopic(context.Context, string) (*client.TopicDescription, error)
}

// churner is what a worker needs of a client.
type churner interface {
	metadata
	// Publish publishes values in their order to what the name means now: opened is called when that is fixed, and answered for each
	// value. It returns when all are answered.
	Publish(ctx context.Context, name string, values [][]byte, opened func(), answered func(i int, r client.Receipt, err error)) error
	// Read reads what the name means now from its first record to its end.
	Read(ctx context.Context, name string, each func(*client.Message)) error
}

// churn creates, deletes and describes topics of few names beside the load, publishes into them and reads them, through several
// clients, and records what it is told. Topics have one partition.
//
// Goroutines: one a worker. Memory: 128 bytes an operation, of which there are about churners/churnPause, and what incarnations say.
// Every operation ends after churnLimit; without an answer it is unknown. It ends with its context, or by stop.
type churn struct {
	start    time.Time
	prefix   string // of the names
	replicas int
	records  *incarnations
	ids      *verify.Identities
	cancel   context.CancelFunc
	workers  sync.WaitGroup

	seqs []uint64 // by worker: its next record; each belongs to its worker

	mu   sync.Mutex
	ops  []history.Op    // guarded by mu
	uses map[string]int  // operations by name, guarded by mu
	gens [churnNames]int // guarded by mu
}

// startChurn begins. Each of the clients belongs to one worker; start is when the run began. Nobody else uses names with the prefix,
// nor has before; ids are those of the whole run.
func startChurn(ctx context.Context, clients []churner, prefix string, replicas int, seed uint64, start time.Time, ids *verify.Identities) *churn {
	c := &churn{start: start, prefix: prefix, replicas: replicas, ids: ids, records: newIncarnations(), uses: map[string]int{}, seqs: make([]uint64, churners)}
	going, cancel := context.WithCancel(ctx)
	c.cancel = cancel
	for w, m := range clients {
		random := rand.New(rand.NewPCG(seed, uint64(w)))
		c.workers.Go(func() {
			for sleep(going, time.Duration(random.Int64N(int64(2*churnPause)))) == nil {
				c.step(ctx, m, w, random)
			}
		})
	}
	return c
}

// stop ends the workers, each after the operation that it is about.
func (c *churn) stop() {
	c.cancel()
	c.workers.Wait()
}

// clear deletes the topics that are left, so that only the load's partitions are compared at the end. It is called after stop, on a
// healed cluster; brokers erase the files a little later.
func (c *churn) clear(ctx context.Context, m metadata) error {
	names := map[string]bool{}
	for _, o := range c.history() {
		names[o.Key] = true
	}
	var errs []error
	for name := range names {
		if err := m.DeleteTopic(ctx, name); err != nil && !errors.Is(err, client.ErrTopicNotFound) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// history returns what was recorded, for the file that a failing run leaves.
func (c *churn) history() []history.Op {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.ops)
}

// judge returns what is wrong with the answers and with the records, and counts of the operations that took effect, by kind. It may search for a
// minute a name, see package linear.
func (c *churn) judge() (violations []string, counts map[string]int64, err error) {
	ops := c.history()
	counts = map[string]int64{}
	for _, o := range ops {
		if o.Class == history.OK {
			counts["topic_"+string(o.Kind)]++
		}
	}
	r, err := linear.Topics(ops, linear.Options{Stale: imagesWithin})
	if err != nil {
		return nil, counts, err
	}
	for _, b := range r.Broken {
		violations = append(violations, "metadata is not linearizable: "+b)
	}
	for _, u := range r.Undecided {
		violations = append(violations, "metadata: not decided in time: "+u)
	}
	for name, n := range c.records.counted() {
		counts["records_"+name] = n
	}
	return append(violations, c.records.verdict()...), counts, nil
}

// step does one operation, or a description and a deletion, or a publish or a reading of what it found.
func (c *churn) step(ctx context.Context, m churner, w int, random *rand.Rand) {
	ctx, cancel := context.WithTimeout(ctx, churnLimit)
	defer cancel()
	name := c.name(random.IntN(churnNames))
	switch random.IntN(6) {
	case 0:
		c.create(ctx, m, w, name)
	case 1:
		c.describe(ctx, m, w, name)
	case 2, 3:
		c.publish(ctx, m, w, name)
	case 4:
		c.read(ctx, m, w, name)
	default:
		// The client deletes the identity that it knows, which is this one or a later one.
		if id := c.describe(ctx, m, w, name); id != 0 {
			c.remove(ctx, m, w, name, id)
		}
	}
}

// name returns the name that a slot has now, and another one when it was used as often as can be searched.
func (c *churn) name(slot int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := fmt.Sprintf("%s-%d-%d", c.prefix, slot, c.gens[slot])
	if c.uses[name] >= churnPerKey {
		delete(c.uses, name)
		c.gens[slot]++
		name = fmt.Sprintf("%s-%d-%d", c.prefix, slot, c.gens[slot])
	}
	return name
}

func (c *churn) create(ctx context.Context, m metadata, w int, name string) {
	o, floor := c.begin(history.Create, w, name), c.ids.Began()
	t, err := m.CreateTopic(ctx, name, client.TopicSpec{Partitions: 1, Replicas: c.replicas})
	switch {
	case err == nil:
		o.Class, o.ID = history.OK, uint64(t.ID)
		c.ids.Created(w, name, floor, o.ID)
		c.records.make(o.ID, time.Duration(o.Invoke))
	case refused(err) && !errors.Is(err, client.ErrTopicNotFound): // it may have been made, and deleted before the answer
		o.Class = history.Fail
	}
	c.end(o)
}

func (c *churn) remove(ctx context.Context, m metadata, w int, name string, id uint64) {
	o := c.begin(history.Delete, w, name)
	o.ID = id
	switch err := m.DeleteTopic(ctx, name); {
	case err == nil:
		o.Class = history.OK
	case refused(err):
		o.Class = history.Fail
	}
	c.end(o)
}

// publish sends some records. Their incarnation is known if the name means the same before and after the producer was opened.
func (c *churn) publish(ctx context.Context, m churner, w int, name string) {
	id := c.describe(ctx, m, w, name)
	if id == 0 {
		return
	}
	records := make([]verify.ID, churnBatch)
	values := make([][]byte, churnBatch)
	for i := range records {
		records[i] = verify.ID{Producer: uint32(w), Seq: c.seqs[w]}
		values[i] = payload.Encode(records[i])
		c.seqs[w]++
	}
	// A producer that could not be opened, or closed in time, has answered for what it was given.
	_ = m.Publish(ctx, name, values, func() {
		if c.describe(ctx, m, w, name) != id {
			id = 0
		}
		for _, r := range records {
			c.records.send(r, name, id)
		}
	}, func(i int, r client.Receipt, err error) {
		class := history.OK
		if err != nil {
			class = history.Unknown
			if outcomeOf(err) == verify.NotAppended {
				class = history.Fail
			}
		}
		c.records.answer(records[i], class, r.Offset, time.Since(c.start))
	})
}

// read reads an incarnation, and judges it if the name means the same before and after.
func (c *churn) read(ctx context.Context, m churner, w int, name string) {
	id := c.describe(ctx, m, w, name)
	if id == 0 {
		return
	}
	began := time.Since(c.start)
	var all []seen
	err := m.Read(ctx, name, func(m *client.Message) {
		record, ok := payload.Decode(m.Value)
		if !ok {
			record = verify.ID{Producer: churners} // of nobody
		}
		all = append(all, seen{record, m.Offset})
	})
	if err == nil && c.describe(ctx, m, w, name) == id {
		c.records.read(name, id, began, all)
	}
}

// describe returns the identity of a name, 0 if there is none or nobody says.
func (c *churn) describe(ctx context.Context, m metadata, w int, name string) uint64 {
	o := c.begin(history.Describe, w, name)
	switch d, err := m.DescribeTopic(ctx, name); {
	case err == nil:
		o.Class, o.ID = history.OK, uint64(d.ID)
		c.ids.Described(w, name, o.ID)
	case errors.Is(err, client.ErrTopicNotFound):
		o.Class = history.OK
	}
	c.end(o)
	return o.ID
}

func (c *churn) begin(kind history.Kind, w int, name string) history.Op {
	return history.Op{Kind: kind, Worker: w, Key: name, Invoke: time.Since(c.start).Nanoseconds(), Class: history.Unknown, Offset: history.NoOffset}
}

func (c *churn) end(o history.Op) {
	o.Return = time.Since(c.start).Nanoseconds()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.uses[o.Key]++
	c.ops = append(c.ops, o)
}

// refused reports whether a broker has said that a request was not carried out and never will be.
func refused(err error) bool {
	var perr *protocol.Error
	return errors.As(err, &perr) && !perr.Code.Retryable() && perr.Code.Outcome() == protocol.NotAppended
}
