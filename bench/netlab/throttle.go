package netlab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// queueTime is how long a packet waits for its turn at most; those that would wait longer are lost.
	queueTime = 100 * time.Millisecond
	// minBurst is what may pass at once, bytes: a few packets, else the rate is not reached. At high rates it is what passes in
	// burstTime.
	minBurst  = 16 << 10
	burstTime = 10 * time.Millisecond
	minRate   = 8 * 1000 // bits a second
)

// Throttle is a limit of what a host sends and receives, until it is lifted or the laboratory is closed.
type Throttle struct {
	lab  *Lab
	ends []end

	lifted bool  // guarded by lab.mu
	final  int64 // guarded by lab.mu; what Delayed returns once it is lifted
}

// Throttle limits what a host sends, and what it receives, to so many bits a second each. A host has one limit at a time.
func (l *Lab) Throttle(ctx context.Context, host int, bitsPerSecond int64) (*Throttle, error) {
	if host <= Hub || host > len(l.hosts) {
		return nil, fmt.Errorf("throttle: there is no host %d, only 1 to %d", host, len(l.hosts))
	}
	if bitsPerSecond < minRate {
		return nil, fmt.Errorf("throttle host %d: %d bits a second are fewer than %d", host, bitsPerSecond, minRate)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, fmt.Errorf("throttle host %d: the laboratory is closed", host)
	}
	burst := max(minBurst, bitsPerSecond/8*burstTime.Milliseconds()/1000)
	t := &Throttle{lab: l}
	for _, e := range []end{{l.Enter(host), "eth0"}, {nil, fmt.Sprint(portPrefix, host)}} {
		_, err := e.tc(ctx, "qdisc", "add", "dev", e.device, "root", "tbf",
			"rate", fmt.Sprint(bitsPerSecond, "bit"), "burst", fmt.Sprint(burst), "latency", queueTime.String())
		if err != nil {
			return nil, errors.Join(fmt.Errorf("throttle host %d: %w", host, err), t.remove(ctx))
		}
		t.ends = append(t.ends, e)
	}
	l.hurting[t] = true
	return t, nil
}

// end is one end of a link; what leaves it can be limited.
type end struct {
	enter  []string // the host
	device string
}

func (e end) tc(ctx context.Context, args ...string) ([]byte, error) {
	return run(ctx, "", slices.Concat(e.enter, []string{"tc"}, args)...)
}

// Delayed returns how many packets had to wait or were lost for it, until now or until it was lifted.
func (t *Throttle) Delayed(ctx context.Context) (int64, error) {
	t.lab.mu.Lock()
	defer t.lab.mu.Unlock()
	if t.lifted {
		return t.final, nil
	}
	return t.count(ctx)
}

func (t *Throttle) count(ctx context.Context) (int64, error) {
	var sum int64
	for _, e := range t.ends {
		text, err := e.tc(ctx, "-s", "-j", "qdisc", "show", "dev", e.device, "root")
		if err != nil {
			return 0, err
		}
		var qdiscs []struct {
			Overlimits int64 `json:"overlimits"`
		}
		if err := json.Unmarshal(text, &qdiscs); err != nil {
			return 0, fmt.Errorf("tc counters: %w", err)
		}
		for _, q := range qdiscs {
			sum += q.Overlimits
		}
	}
	return sum, nil
}

// Lift ends the limit. The second time it does nothing.
func (t *Throttle) Lift(ctx context.Context) error {
	t.lab.mu.Lock()
	defer t.lab.mu.Unlock()
	return t.undo(ctx)
}

func (t *Throttle) undo(ctx context.Context) error {
	if t.lifted {
		return nil
	}
	final, err := t.count(ctx)
	if err != nil {
		return err
	}
	if err := t.remove(ctx); err != nil {
		return err
	}
	t.lifted, t.final = true, final
	delete(t.lab.hurting, t)
	return nil
}

func (t *Throttle) remove(ctx context.Context) error {
	var errs []error
	for _, e := range t.ends {
		_, err := e.tc(ctx, "qdisc", "delete", "dev", e.device, "root")
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
