package raftnode

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/lni/dragonboat/v4/logger"
)

// Dragonboat has one logger for the whole process and lets it be set once. routed is where its lines go now: to the
// log of the node opened last.
var (
	routed    atomic.Pointer[slog.Logger]
	routeOnce sync.Once
)

func routeLogs(log *slog.Logger) {
	routed.Store(log)
	routeOnce.Do(func() {
		logger.SetLoggerFactory(func(pkg string) logger.ILogger { return raftLog(pkg) })
	})
}

// refusals are the lines about a snapshot that was not sent because MaxStreams are, or because the connection is lost, which has a
// line of its own. A broker that was away for long has them several times a second.
var refusals = map[string]bool{"failed to connect to %s": true, "job count is rate limited %d": true}

// raftLog passes the lines of one Dragonboat package on to slog. Dragonboat is chatty: every step of an election of
// every shard is a warning, so levels are lowered by one, and in package raft by two.
type raftLog string

var _ logger.ILogger = raftLog("")

// SetLevel implements logger.ILogger. slog's handler decides.
func (raftLog) SetLevel(logger.LogLevel) {}

func (l raftLog) Debugf(format string, args ...any) { l.print(slog.LevelDebug-4, format, args) }
func (l raftLog) Infof(format string, args ...any)  { l.print(slog.LevelDebug, format, args) }
func (l raftLog) Errorf(format string, args ...any) { l.print(slog.LevelError, format, args) }

// Warningf implements logger.ILogger.
func (l raftLog) Warningf(format string, args ...any) {
	if l == "raft" || l == "config" {
		l.print(slog.LevelDebug, format, args)
		return
	}
	l.print(slog.LevelInfo, format, args)
}

// Panicf implements logger.ILogger: it must panic. It does so with an error, which NewNodeHost passes on.
func (l raftLog) Panicf(format string, args ...any) {
	l.print(slog.LevelError, format, args)
	panic(fmt.Errorf("dragonboat: "+format, args...))
}

func (l raftLog) print(level slog.Level, format string, args []any) {
	if refusals[format] {
		level = slog.LevelDebug
	}
	log := routed.Load()
	if log == nil || !log.Enabled(context.Background(), level) {
		return
	}
	log.Log(context.Background(), level, fmt.Sprintf(format, args...), slog.String("raft", string(l)))
}
