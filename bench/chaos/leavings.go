package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/trunkline/trunkline/bench/verify"
	"github.com/trunkline/trunkline/bench/verify/history"
	"github.com/trunkline/trunkline/client"
)

// What a failing run leaves of the operations, in its directory.
const (
	historyFile   = "history.jsonl"       // of the load, see package history
	topicsFile    = "topics.jsonl"        // of the churn
	violationFile = "first_violation.txt" // among its neighbours
	replayFile    = "replay.sh"
)

const (
	// keptOps is how many operations of the load are kept, over all partitions: 64 MiB, some seconds of full load.
	keptOps = 1 << 19
	// subscribers is the number of the first subscription among workers; lanes are those below it.
	subscribers = maxProducers * maxPartitions
	// alertEach is the time between two looks whether something is broken already.
	alertEach = 100 * time.Millisecond
)

// historian is a fault that records operations.
type historian interface {
	History() []history.Op
}

// published keeps the outcome of a publish.
func (l *load) published(lane uint32, seq uint64, part int32, asked, now time.Time, r client.Receipt, err error) {
	o := history.Op{
		Worker: int(lane), Kind: history.Publish, Partition: part, Producer: lane, Seq: seq, Class: history.OK, Offset: int64(r.Offset),
		Dup: r.Duplicate, Invoke: asked.Sub(l.begun).Nanoseconds(), Return: now.Sub(l.begun).Nanoseconds(),
	}
	if err != nil {
		o.Offset, o.Class = history.NoOffset, history.Unknown
		if outcomeOf(err) == verify.NotAppended {
			o.Class = history.Fail
		}
	}
	l.keep(o)
}

// received keeps a delivery to a subscription.
func (l *load) received(s int, id verify.ID, part int32, offset int64) {
	now := time.Since(l.begun).Nanoseconds()
	l.keep(history.Op{
		Worker: subscribers + s, Kind: history.Deliver, Partition: part, Producer: id.Producer, Seq: id.Seq, Class: history.OK, Offset: offset,
		Invoke: now, Return: now,
	})
}

// keep holds an operation, unless the first violation was seen: what led to it must not be forgotten.
func (l *load) keep(o history.Op) {
	if !l.alert.Load() {
		l.ring.Add(o)
	}
}

// watch looks for the first violation until ctx ends.
func (l *load) watch(ctx context.Context) {
	for sleep(ctx, alertEach) == nil && !l.alert.Load() {
		l.alert.Store(l.broken())
	}
}

// broken reports whether a promise was broken that more waiting cannot mend.
func (l *load) broken() bool {
	t := l.ledger.Tally()
	positions := l.positions.findings()
	for _, f := range []verify.Findings{l.realTime.Findings(), l.turns(), positions} {
		if !f.OK() {
			return true
		}
	}
	return t.Duplicated+t.Reordered+t.Phantom > 0 || len(l.notes()) > 0
}

// leave writes what a failing run leaves of its operations.
func (r *run) leave() error {
	ops, forgotten := r.load.ring.Ops()
	topics := []history.Op{}
	for _, f := range r.faults {
		if h, ok := f.(historian); ok {
			topics = append(topics, h.History()...)
		}
	}
	head := history.Header{Seed: r.opts.Seed, Forgotten: forgotten}
	return errors.Join(
		r.file(historyFile, func(w io.Writer) error { return history.Write(w, head, ops) }),
		r.file(topicsFile, func(w io.Writer) error { return history.Write(w, history.Header{Seed: r.opts.Seed}, topics) }),
		r.file(violationFile, func(w io.Writer) error { return explain(w, r.res.Violations, ops) }),
		r.file(replayFile, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "#!/bin/sh\nexec %s \"$@\"\n", r.res.Replay)
			return err
		}),
	)
}

func (r *run) file(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(filepath.Join(r.dir, name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o700) //nolint:gosec // one of them is run
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// explain writes the violations, and the first operation that contradicts those before it, among its neighbours.
func explain(w io.Writer, violations []string, ops []history.Op) error {
	for _, v := range violations {
		if _, err := fmt.Fprintln(w, v); err != nil {
			return err
		}
	}
	v := history.Find(ops)
	if v == nil {
		_, err := fmt.Fprintf(w, "\nOf the %d operations of the load that were kept none contradicts another one.\n", len(ops))
		return err
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return v.Print(w)
}
