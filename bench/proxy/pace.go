package proxy

import (
	"sync"
	"time"
)

// pacer shares a rate between those who reserve it, first come first served.
type pacer struct {
	mu   sync.Mutex
	free time.Time // when all that was reserved has passed; guarded by mu
}

// reserve returns how long to wait until n bytes may pass at so many bytes a second; 0 bytes a second is no limit.
func (p *pacer) reserve(now time.Time, n, perSecond int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.free.Before(now) || perSecond == 0 {
		p.free = now
	}
	if perSecond == 0 {
		return 0
	}
	p.free = p.free.Add(time.Duration(float64(n) / float64(perSecond) * float64(time.Second)))
	return p.free.Sub(now)
}
