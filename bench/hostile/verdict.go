package hostile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/trunkline/trunkline/bench/trial"
	"github.com/trunkline/trunkline/bench/vitals"
	"github.com/trunkline/trunkline/client"
)

const (
	calm       = time.Second      // of checked traffic before and after the attack
	poisonTime = 10 * time.Second // bound on reading the target
	restLimit  = 30 * time.Second // in which the attack's connections must be forgotten
	spareGos   = 150              // goroutines that a broker may have more after the attack than before
	sayEvery   = 5 * time.Second
)

// attack fires at the cluster while the checked traffic goes on, and judges.
func (r *run) attack(ctx context.Context) error {
	t, err := trial.Start(ctx, r.cluster, r.client, trial.Options{
		Topic: checkedName, Partitions: partitions, Rate: r.opts.Rate, Record: r.record, Say: r.say,
	})
	if err != nil {
		return err
	}
	if err := r.fire(ctx, t); err != nil {
		return errors.Join(err, t.Abandon(ctx))
	}
	v, err := t.Judge(ctx, nil)
	if err != nil {
		r.violation("the checked traffic cannot be judged: %v", err)
	} else {
		r.res.Checked = *v
		if !v.OK() {
			r.violation("a promise to the checked traffic was broken")
		}
	}
	r.res.Poisoned = r.readTarget(ctx)
	r.rest(ctx)
	r.collect()
	return ctx.Err()
}

// fire watches the brokers and throws everything.
func (r *run) fire(ctx context.Context, t *trial.Trial) error {
	if err := sleep(ctx, calm); err != nil {
		return err
	}
	var err error
	if r.watch, err = startWatch(ctx, r.cluster); err != nil {
		return err
	}
	defer r.watch.close()
	a := &attack{seed: r.opts.Seed, aims: r.aims, tally: r.tally, fresh: topicShots}
	began := time.Now()
	saying, stopSaying := context.WithCancel(ctx)
	said := make(chan struct{})
	go func() { defer close(said); r.sayProgress(saying, t) }()
	if r.opts.Shot > 0 {
		a.shot(ctx, r.opts.Shot)
	} else {
		a.run(ctx, r.opts.Lanes, r.opts.Frames)
	}
	stopSaying()
	<-said
	r.res.Seconds = time.Since(began).Seconds()
	r.res.Shots = a.next.Load()
	r.res.FramesPerS = float64(r.tally.frames.Load()) / r.res.Seconds
	return sleep(ctx, calm)
}

func (r *run) sayProgress(ctx context.Context, t *trial.Trial) {
	tick := time.NewTicker(sayEvery)
	defer tick.Stop()
	last := int64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := r.tally.frames.Load()
		r.say("%9d frames (%6.0f/s), %7d streams, %5d connections; checked: %d sent, %d acked, %d delivered; rss max %s MiB",
			now, float64(now-last)/sayEvery.Seconds(), r.tally.streams.Load(), r.tally.connections.Load(), t.Sent(), t.Acked(), t.Received(), r.watch)
		last = now
	}
}

// readTarget reads the topic that got the hostile records with the SDK: it may fail, with an error and in bounded time.
func (r *run) readTarget(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, poisonTime)
	defer cancel()
	rd, err := r.client.Reader(ctx, targetName, client.StartAt(client.Earliest()), client.StopAtEnd())
	if err != nil {
		return err.Error()
	}
	defer func() { _ = rd.Close(ctx) }() // nothing was written through it
	for n := 0; ; n++ {
		if _, err := rd.Receive(ctx); err != nil {
			if errors.Is(err, io.EOF) {
				return fmt.Sprintf("%d records", n)
			}
			return fmt.Sprintf("%d records, then: %v", n, err)
		}
	}
}

// rest waits until the brokers have forgotten the attack.
func (r *run) rest(ctx context.Context) {
	end := time.Now().Add(restLimit)
	for _, b := range r.watch.brokers {
		h := r.watch.of(b.ID)
		for {
			s, err := vitals.Take(ctx, b)
			h.AfterMiB, h.GoroutinesAfter = mib(s.RSS), s.Goroutines
			if err == nil && s.Goroutines <= h.GoroutinesBefore+spareGos {
				break
			}
			if time.Now().After(end) || sleep(ctx, 500*time.Millisecond) != nil {
				r.violation("broker %d: %d goroutines %v after the attack, %d before (%v)",
					b.ID, h.GoroutinesAfter, restLimit, h.GoroutinesBefore, err)
				break
			}
		}
	}
}

// collect writes the result down and looks at processes, memory and logs.
func (r *run) collect() {
	res, t := r.res, r.tally
	res.Frames, res.Streams, res.Cut, res.Connections = t.frames.Load(), t.streams.Load(), t.cut.Load(), t.connections.Load()
	res.FailedDials, res.Handshakes = t.failedDials.Load(), t.handshakes.Load()
	res.Datagrams, res.TCP, res.Answers = t.datagrams.Load(), t.tcp.Load(), t.copyAnswers()
	if n := t.accepted.Load(); n > 0 {
		r.violation("%d handshakes with a wrong ALPN succeeded", n)
	}
	running := r.cluster.Brokers()
	for i, b := range r.watch.brokers {
		if running[i].PID != b.PID {
			r.violation("broker %d (pid %d) ended: see %s", b.ID, b.PID, r.cluster.Log(b.ID))
		}
		h := r.watch.of(b.ID)
		if h.MaxMiB > float64(r.opts.MaxRSS) {
			r.violation("broker %d took %.0f MiB, more than %d", b.ID, h.MaxMiB, r.opts.MaxRSS)
		}
		if st, err := os.Stat(r.cluster.Log(b.ID)); err == nil {
			h.LogBytes = st.Size()
		}
		panics, err := vitals.Panics(r.cluster.Log(b.ID))
		for _, line := range panics {
			r.violation("broker %d: %s", b.ID, line)
		}
		if err != nil {
			r.violation("broker %d: %v", b.ID, err)
		}
		res.Health = append(res.Health, *h)
	}
}

func mib(bytes int64) float64 { return float64(bytes>>10) / 1024 }

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
