package hostile

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// shotFrames is about how many frames one connection carries.
const shotFrames = 2500

// topicShots is how many shots may create topics, and so delete some. Dragonboat's log store keeps a goroutine, three
// descriptors and 0.4 MB for every replica that was ever removed, until the process ends: more of them would hide what
// the frames cost.
const topicShots = 500

// attack throws shots until enough frames were sent.
type attack struct {
	seed  uint64
	aims  *aims
	tally *tally
	fresh uint64        // the first so many shots may create topics, at most topicShots
	pace  *rate.Limiter // of frames on streams; nil: as fast as they go
	next  atomic.Uint64 // shot
}

// run fires lanes shots at a time until total frames were thrown or ctx ends.
func (a *attack) run(ctx context.Context, lanes int, total int64) {
	var wg sync.WaitGroup
	for range lanes {
		wg.Go(func() {
			for ctx.Err() == nil && a.tally.frames.Load() < total {
				a.shot(ctx, a.next.Add(1))
			}
		})
	}
	wg.Wait()
}

// shot fires shot i. What it sends depends on the seed and i alone.
func (a *attack) shot(ctx context.Context, i uint64) {
	f := &forge{rnd: rand.New(rand.NewPCG(a.seed, i)), aims: a.aims, topics: i <= a.fresh}
	b := pick(f, a.aims.brokers)
	f.broker = b.ID
	switch n := i % 20; {
	case n < 13:
		a.connected(ctx, f, b.Listen, a.streams)
	case n < 16:
		a.connected(ctx, f, b.Listen, a.control)
	case n < 18:
		a.early(ctx, f, b.Listen)
	case n < 19:
		a.handshakes(ctx, f, b.Listen)
	default:
		a.ports(ctx, f, b)
	}
}

// connected fires one shot over an admitted connection and ends it one way or the other.
func (a *attack) connected(ctx context.Context, f *forge, addr string, fire func(context.Context, *forge, *link, *thrower)) {
	l, err := dial(ctx, addr, alpn)
	if err != nil {
		a.tally.failedDials.Add(1)
		return
	}
	a.tally.connections.Add(1)
	t := newThrower(l, a.tally)
	fire(ctx, f, l, t)
	if f.chance(25) {
		l.vanish() // while streams are open
	} else {
		t.wg.Wait()
		l.hangUp()
	}
	t.wg.Wait()
}

// streams throws streams on one connection with a good control stream.
func (a *attack) streams(ctx context.Context, f *forge, l *link, t *thrower) {
	control, err := l.admit(ctx)
	if err != nil {
		a.tally.failedDials.Add(1)
		return
	}
	l.keepAlive(control)
	for sent := 0; sent < shotFrames && ctx.Err() == nil; {
		tx, end := f.stream(), f.ending()
		a.wait(ctx, tx.frames)
		if end == abandoned && t.left == 0 {
			end = reset
		}
		if t.throw(ctx, tx, end) != nil {
			return
		}
		sent += tx.frames
	}
	if !f.chance(25) {
		drain(t)
	}
}

// wait lets as much time pass as so many frames take at the pace.
func (a *attack) wait(ctx context.Context, frames int) {
	for range frames {
		if a.pace == nil || a.pace.Wait(ctx) != nil {
			return
		}
	}
}

// drain waits until the streams under way are answered: it takes all slots and gives them back.
func drain(t *thrower) {
	for range cap(t.slots) {
		t.slots <- struct{}{}
	}
	for range cap(t.slots) {
		<-t.slots
	}
}

// control abuses the control stream itself, again and again on new connections: its end is that of the connection.
func (a *attack) control(ctx context.Context, f *forge, l *link, t *thrower) {
	control, err := l.admit(ctx)
	if err != nil {
		a.tally.failedDials.Add(1)
		return
	}
	t.wg.Go(func() { t.answer(control) })
	_ = control.SetWriteDeadline(time.Now().Add(streamLimit)) // fails only on a stream that is over
	for range 1 + f.rnd.IntN(4) {
		tx := f.control()
		if _, err := control.Write(tx.bytes); err != nil {
			a.tally.cut.Add(1)
			return
		}
		a.tally.frames.Add(int64(tx.frames))
	}
}

// early throws streams before, or instead of, a hello.
func (a *attack) early(ctx context.Context, f *forge, addr string) {
	a.connected(ctx, f, addr, func(ctx context.Context, f *forge, _ *link, t *thrower) {
		first := f.anyEarly()
		for range 1 + f.rnd.IntN(8) {
			if t.throw(ctx, first, f.ending()) != nil {
				return
			}
			first = f.anyEarly()
		}
	})
}

// anyEarly is what an attacker may try as a first stream: its opening is never that of an admitted client.
func (f *forge) anyEarly() text {
	switch f.rnd.IntN(3) {
	case 0:
		tx := f.hello()
		tx.bytes = f.mutate(tx.bytes)
		return tx
	case 1:
		return f.control()
	}
	return f.stream()
}
