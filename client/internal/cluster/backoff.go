package cluster

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	firstDelay = 10 * time.Millisecond
	maxDelay   = 250 * time.Millisecond
	// longDelay is for outages, in which hundreds of partitions may be trying, after patientAttempts.
	longDelay       = time.Second
	patientAttempts = 12
)

// backoff is the delay before the next attempt: none, then doubling from firstDelay to maxDelay, in the
// end longDelay; each between half and all of it so that many clients do not come back at the same time.
// News ends any delay, so that long ones cost nothing when a leader is found.
type backoff struct{ attempts int }

func (b *backoff) reset() { b.attempts = 0 }

func (b *backoff) next() time.Duration {
	b.attempts++
	if b.attempts == 1 {
		return 0
	}
	d := maxDelay
	switch shift := b.attempts - 2; {
	case shift < 5:
		d = min(d, firstDelay<<shift)
	case b.attempts > patientAttempts:
		d = longDelay
	}
	return d/2 + rand.N(d/2)
}

// wait sleeps for d or until a channel closes. It returns the context's error if that ended it.
func wait(ctx context.Context, d time.Duration, wake ...<-chan struct{}) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	var w [2]<-chan struct{}
	copy(w[:], wake)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w[0]:
	case <-w[1]:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}
