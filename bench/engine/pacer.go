package engine

import (
	"fmt"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// shortest is the shortest sleep of a pacer. A producer whose messages are due more often sends what has become due at
// every waking: waking for each would take the processor that the system under test needs.
const shortest = 50 * time.Microsecond

// pacer sleeps precisely. The timers of Go wake up to a millisecond late in an idle process, because epoll counts milliseconds;
// a timer of the kernel wakes the same epoll at its time, and unlike a sleeping system call it holds no thread. One goroutine
// sleeps; interrupt may be called from any.
type pacer struct {
	fd   int
	file *os.File // fd, for the poller of Go's runtime
	buf  [8]byte
}

func newPacer() (*pacer, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create a timer: %w", err)
	}
	return &pacer{fd: fd, file: os.NewFile(uintptr(fd), "timerfd")}, nil
}

// sleep returns after d, but at least shortest, or at once if the pacer was interrupted.
func (p *pacer) sleep(d time.Duration) error {
	once := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(max(d, shortest)))}
	if err := unix.TimerfdSettime(p.fd, 0, &once, nil); err != nil {
		return fmt.Errorf("set a timer: %w", err)
	}
	_, err := p.file.Read(p.buf[:])
	return err
}

// interrupt ends a sleep and all that follow.
func (p *pacer) interrupt() { _ = p.file.SetReadDeadline(time.Unix(1, 0)) }

func (p *pacer) close() error { return p.file.Close() }

// plan says when the producers send during one phase. Times are since the start of the run.
type plan struct {
	begin time.Duration
	until time.Duration // nothing is intended to leave at or after this
	// grace is how long after until the messages are sent that should have left before, but had to wait for the system.
	grace     time.Duration
	rate      float64 // messages a second over all producers; 0: closed loop
	producers int
}

// forever is a time that no run reaches.
const forever = time.Duration(math.MaxInt64 / 2)

// due returns when message i of a producer is meant to leave in an open loop. The producers take turns, so that they do not
// all send at the same moment.
func (p *plan) due(producer, i int) time.Duration {
	nth := float64(i)*float64(p.producers) + float64(producer)
	return p.begin + time.Duration(nth/p.rate*float64(time.Second))
}

// rest returns how many messages a producer still has to send from message i on.
func (p *plan) rest(producer, i int) int64 {
	all := math.Ceil((p.until - p.begin).Seconds() * p.rate)
	return max(int64(math.Ceil((all-float64(producer))/float64(p.producers)))-int64(i), 0)
}
