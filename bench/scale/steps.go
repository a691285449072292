package scale

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/trunkline/trunkline/bench/trial"
	"github.com/trunkline/trunkline/bench/vitals"
	"github.com/trunkline/trunkline/client"
)

const (
	serveLimit = time.Minute     // bound on one record through every partition
	settle     = 5 * time.Second // between the last work and measuring idleness
	// restartLimit bounds the time from the death of all brokers until all partitions serve.
	restartLimit = 3 * time.Minute
)

// serve sends one record through every partition and reads them all back.
func (r *run) serve(ctx context.Context, res *Result) error {
	ctx, cancel := context.WithTimeout(ctx, serveLimit)
	defer cancel()
	began := time.Now()
	if err := r.publishToEach(ctx); err != nil {
		return err
	}
	rd, err := r.client.Reader(ctx, topic, client.StartAt(client.Earliest()), client.StopAtEnd())
	if err != nil {
		return err
	}
	defer func() { _ = rd.Close(ctx) }() // nothing was written through it
	got := map[int]bool{}
	for {
		m, err := rd.Receive(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read back: %w", err)
		}
		if want := strconv.Itoa(int(m.Partition)); string(m.Value) != want {
			return fmt.Errorf("partition %d offset %d holds %q", m.Partition, m.Offset, m.Value)
		}
		got[int(m.Partition)] = true
	}
	res.ServeSeconds = time.Since(began).Seconds()
	if len(got) != r.opts.Partitions {
		r.miss(res, "%d of %d partitions gave their record back", len(got), r.opts.Partitions)
	}
	r.say("one record through each of %d partitions and back: %.2fs", len(got), res.ServeSeconds)
	return nil
}

func (r *run) publishToEach(ctx context.Context) error {
	p, err := r.client.Producer(ctx, topic)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var errs []error
	for i := range r.opts.Partitions {
		rec := client.Record{Value: []byte(strconv.Itoa(i)), Partition: client.OnPartition(i)}
		err := p.Send(ctx, rec, func(_ client.Receipt, err error) {
			if err != nil {
				mu.Lock()
				errs = append(errs, fmt.Errorf("partition %d: %w", i, err))
				mu.Unlock()
			}
		})
		if err != nil {
			return errors.Join(err, p.Close(ctx))
		}
	}
	err = p.Close(ctx) // waits for all answers
	mu.Lock()
	defer mu.Unlock()
	return errors.Join(append(errs, err)...)
}

// idle measures every broker while nobody asks anything of it but the pings of one client.
func (r *run) idle(ctx context.Context, res *Result) error {
	if err := sleep(ctx, settle); err != nil {
		return err
	}
	brokers := r.cluster.Brokers()
	before := make([]vitals.Signs, len(brokers))
	began := time.Now()
	for i, b := range brokers {
		var err error
		if before[i].CPU, err = vitals.CPU(b); err != nil {
			return err
		}
	}
	if err := sleep(ctx, r.opts.Idle); err != nil {
		return err
	}
	took := time.Since(began)
	res.IdleSeconds = took.Seconds()
	added := 0.0
	for i, b := range brokers {
		cpu, err := vitals.CPU(b) // before Take, whose metrics cost something
		if err != nil {
			return err
		}
		signs, err := vitals.Take(ctx, b)
		if err != nil {
			return err
		}
		c := &res.Idle[i]
		c.CPUPercent = 100 * (cpu - before[i].CPU).Seconds() / took.Seconds()
		c.RSSMiB, c.Goroutines, c.FDs = mib(signs.RSS), signs.Goroutines, signs.FDs
		r.say("broker %d idle: %.1f%% of one core, %.0f MiB (%.0f without the topic), %d goroutines, %d descriptors",
			b.ID, c.CPUPercent, c.RSSMiB, c.EmptyMiB, c.Goroutines, c.FDs)
		added += c.RSSMiB - c.EmptyMiB
		if c.CPUPercent > r.opts.MaxIdleCPU {
			r.miss(res, "broker %d takes %.1f%% of one core while idle, more than %.1f%%", b.ID, c.CPUPercent, r.opts.MaxIdleCPU)
		}
	}
	res.ReplicaMiB = added / float64(r.opts.Partitions*r.opts.Replicas)
	r.say("%.2f MiB a replica", res.ReplicaMiB)
	if res.ReplicaMiB > r.opts.MaxMemory {
		r.miss(res, "a replica takes %.2f MiB, more than %.2f", res.ReplicaMiB, r.opts.MaxMemory)
	}
	return nil
}

// restart kills all brokers at once, starts them again and measures until every partition has acknowledged a record.
func (r *run) restart(ctx context.Context, res *Result) error {
	ctx, cancel := context.WithTimeout(ctx, restartLimit)
	defer cancel()
	brokers := r.cluster.Brokers()
	for _, b := range brokers {
		if err := r.cluster.Kill(ctx, b.ID); err != nil {
			return err
		}
	}
	began := time.Now()
	for _, b := range brokers {
		if err := r.cluster.Spawn(b.ID); err != nil {
			return err
		}
	}
	for _, b := range brokers {
		if err := r.cluster.WaitReady(ctx, b.ID); err != nil {
			return err
		}
	}
	res.ReadySeconds = time.Since(began).Seconds()
	if err := r.publishToEach(ctx); err != nil {
		return fmt.Errorf("publish after the restart: %w", err)
	}
	took := time.Since(began)
	res.RestartSeconds = took.Seconds()
	r.say("all brokers killed and started: ready after %.2fs, all partitions serve after %.2fs", res.ReadySeconds, res.RestartSeconds)
	if took > r.opts.MaxRestart {
		r.miss(res, "all partitions served %v after the restart, later than %v", took.Round(10*time.Millisecond), r.opts.MaxRestart)
	}
	return nil
}

// renew deletes the topic and creates it again, empty as a trial needs it.
func (r *run) renew(ctx context.Context, res *Result) error {
	ctx, cancel := context.WithTimeout(ctx, createLimit)
	defer cancel()
	began := time.Now()
	if err := r.client.Admin().DeleteTopic(ctx, topic); err != nil {
		return err
	}
	if _, err := r.createTopic(ctx); err != nil {
		return err
	}
	res.RenewSeconds = time.Since(began).Seconds()
	r.say("topic deleted and created again, all have leaders after %.2fs", res.RenewSeconds)
	return nil
}

// kill kills the busiest leader under light load, again and again, and judges the traffic.
func (r *run) kill(ctx context.Context, res *Result) error {
	t, err := trial.Start(ctx, r.cluster, r.client, trial.Options{
		Topic: topic, Partitions: r.opts.Partitions, Rate: r.opts.Rate, Record: r.record, Hold: r.opts.Hold, Say: r.say,
	})
	if err != nil {
		return err
	}
	var kills []trial.Kill
	for len(kills) < r.opts.Kills {
		k, err := t.Strike(ctx)
		if err != nil {
			return errors.Join(fmt.Errorf("kill %d: %w", len(kills)+1, err), t.Abandon(ctx))
		}
		kills = append(kills, k)
		pause := float64(k.Pause.Microseconds()) / 1000
		res.Kills = append(res.Kills, pause)
		r.say("kill %d of %d: broker %d led %d partitions; publish pause %.1f ms", len(kills), r.opts.Kills, k.Broker, len(k.Partitions), pause)
		if k.Pause > r.opts.MaxPause {
			r.miss(res, "kill %d cost %v, more than %v", len(kills), k.Pause.Round(time.Millisecond), r.opts.MaxPause)
		}
	}
	v, err := t.Judge(ctx, kills)
	if err != nil {
		return err
	}
	res.Trial = *v
	if !v.OK() {
		r.miss(res, "a promise was broken")
	}
	for _, b := range r.cluster.Brokers() {
		rss, err := vitals.RSS(b)
		if err != nil {
			return err
		}
		res.AfterMiB[b.ID] = mib(rss)
	}
	return nil
}

// record makes record n of the light load, in turns over all partitions.
func (r *run) record(n int) client.Record {
	return client.Record{Value: []byte("light load " + strconv.Itoa(n)), Partition: client.OnPartition(n % r.opts.Partitions)}
}
