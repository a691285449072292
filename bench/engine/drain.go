package engine

import (
	"context"
	"sync"
	"time"
)

// Bounds of waiting for what is under way.
const (
	drainMax   = 60 * time.Second
	drainQuiet = 30 * time.Second // without any progress
	readMax    = 3 * time.Minute
	readQuiet  = 15 * time.Second
	poll       = 5 * time.Millisecond
	// linger is how long a drained run waits for messages that nobody expects: duplicates and phantoms.
	linger = 300 * time.Millisecond
)

// patience bounds a wait.
type patience struct {
	most  time.Duration
	quiet time.Duration // without progress
}

// await waits until done, or until patience or ctx ends, and reports which. Progress is any number that changes.
func (r *run) await(ctx context.Context, p patience, done func() bool, progress func() int64) bool {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	begin := r.now()
	last, changed := progress(), begin
	for !done() {
		now, p2 := r.now(), progress()
		if p2 != last {
			last, changed = p2, now
		}
		if now-begin > p.most || now-changed > p.quiet {
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}

// settled reports whether every message has its answer, and everything acknowledged was delivered to whoever listens.
func (r *run) settled() bool {
	return r.waiting() == 0 && (r.readsBack() || r.missing() == 0)
}

// moved counts everything that happens.
func (r *run) moved() int64 {
	return r.sent() + r.meter.publish.counts().all + r.meter.deliver.counts().all
}

// drain waits until everything acknowledged was delivered.
func (r *run) drain(ctx context.Context) {
	r.opts.Log("drain")
	watch := r.observe(ctx, "drain", 0, nil)
	defer watch.stop()
	begin := r.now()
	if r.await(ctx, r.drainIn, r.settled, r.moved) {
		if !r.readsBack() {
			r.sleepUntil(ctx, r.now()+linger)
		}
		return
	}
	undelivered := int64(0)
	if !r.readsBack() {
		undelivered = r.missing()
	}
	r.notes.fail("%v after the last message was sent, %d had no answer and %d deliveries were missing",
		(r.now() - begin).Round(time.Second), r.waiting(), undelivered)
}

// readAll reads a workload without subscriptions back, to check it.
func (r *run) readAll(ctx context.Context) error {
	if !r.readsBack() {
		return nil
	}
	r.opts.Log("read back")
	opening, cancel := context.WithTimeout(ctx, setupMax)
	defer cancel()
	if err := r.openConsumers(opening); err != nil {
		return err
	}
	if !r.await(ctx, patience{readMax, readQuiet}, func() bool { return r.missing() == 0 }, r.missing) {
		r.notes.fail("reading back ended with %d messages missing", r.missing())
		return nil
	}
	r.sleepUntil(ctx, r.now()+linger)
	return nil
}

// close ends all clients, consumers last: what producers still hold may arrive. It works after ctx has ended, too.
func (r *run) close(ctx context.Context) {
	if r.closed {
		return
	}
	r.closed = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeMax)
	defer cancel()
	var producers, consumers sync.WaitGroup
	for _, p := range r.producers {
		producers.Go(func() { r.note(p.driver.Close(ctx), "close a producer") })
	}
	producers.Wait()
	for _, c := range r.consumers {
		consumers.Go(func() { r.note(c.driver.Close(ctx), "close a consumer") })
	}
	consumers.Wait()
}

func (r *run) deleteTopics(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteMax)
	defer cancel()
	for _, topic := range r.topics {
		r.note(r.sys.DeleteTopic(ctx, topic), "delete topic "+topic)
	}
}

// note logs what went wrong without spoiling the run.
func (r *run) note(err error, what string) {
	if err != nil {
		r.opts.Log("%s: %v", what, err)
	}
}
