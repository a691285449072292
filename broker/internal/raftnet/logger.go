package raftnet

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// maxLogLines bounds the lines that wait for the log, which may wait for its disk; more are dropped.
	maxLogLines = 256
	// onceEvery is how often warnOnce repeats a line of one key, onceKeys how many keys it remembers.
	onceEvery = 30 * time.Second
	onceKeys  = 256
)

// logger writes lines from a goroutine of its own (Inv6).
type logger struct {
	log   *slog.Logger
	lines chan line

	mu   sync.Mutex
	once map[string]time.Time
}

type line struct {
	level slog.Level
	msg   string
	args  []any
}

func newLogger(log *slog.Logger) *logger {
	return &logger{log: log, lines: make(chan line, maxLogLines), once: make(map[string]time.Time)}
}

func (l *logger) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			for len(l.lines) > 0 {
				l.write(<-l.lines)
			}
			return
		case n := <-l.lines:
			l.write(n)
		}
	}
}

func (l *logger) write(n line) { l.log.Log(context.Background(), n.level, n.msg, n.args...) }

func (l *logger) put(level slog.Level, msg string, args []any) {
	select {
	case l.lines <- line{level, msg, args}:
	default:
	}
}

func (l *logger) info(msg string, args ...any) { l.put(slog.LevelInfo, msg, args) }
func (l *logger) warn(msg string, args ...any) { l.put(slog.LevelWarn, msg, args) }

// warnOnce is for what a stranger can cause as often as he likes.
func (l *logger) warnOnce(key, msg string, args ...any) {
	now := time.Now()
	l.mu.Lock()
	last, ok := l.once[key]
	quiet := ok && now.Sub(last) < onceEvery
	if !quiet {
		if len(l.once) >= onceKeys {
			clear(l.once)
		}
		l.once[key] = now
	}
	l.mu.Unlock()
	if !quiet {
		l.warn(msg, args...)
	}
}
