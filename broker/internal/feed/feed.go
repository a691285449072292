package feed

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline/trunkline/protocol"
)

// Cursor is the replicated state of one subscription on one partition.
type Cursor struct {
	Offset     protocol.Offset     // everything below is acknowledged
	Activation protocol.Activation // the newest turn
}

// Partition is what a feed needs of the local replica of a partition.
type Partition interface {
	// Leading returns the epoch that this broker leads now and a channel that is closed when that
	// ends, before it leads again. ok is false if it does not lead and serve.
	Leading() (epoch protocol.Epoch, lost <-chan struct{}, ok bool)
	// CursorOpen returns the cursor of a subscription and creates it at ifNew if there is none.
	CursorOpen(ctx context.Context, subscription string, ifNew protocol.Offset) (Cursor, error)
	// CursorActivate begins the next activation.
	CursorActivate(ctx context.Context, subscription string) (Cursor, error)
	// CursorAck moves the cursor. It does not block; done is called once and must not block. Cursor
	// operations take effect in the order of their calls.
	CursorAck(subscription string, a protocol.Activation, o protocol.Offset,
		done func(committed protocol.Offset, err error))
	// Cursor returns the cursor that is committed and applied here.
	Cursor(subscription string) (Cursor, bool)
	// Ready returns why the replica cannot be read yet, nil if it can: until then Bounds is too low.
	Ready() error
	// Bounds returns the committed and applied range of the log.
	Bounds() (start, next protocol.Offset)
	// Read appends to dst whole batches from the one that holds from on: at least one, if there is
	// one, and else no more than maxBytes.
	Read(from protocol.Offset, maxBytes int, dst []byte) ([]byte, error)
	// OffsetForTime returns the first offset appended at or after ms.
	OffsetForTime(ms int64) (protocol.Offset, error)
	// Appended returns a channel that is closed when the log has grown after the call.
	Appended() <-chan struct{}
}

// Config tunes a Manager. Zero fields take the default.
type Config struct {
	// Partitions returns how many partitions a topic has, 0 if it is not known. Required.
	Partitions func(protocol.TopicID) int

	MaxGrace time.Duration // cap on what a consumer may take to release, default 1 s
	// AckInterval is how long an acknowledgement that nobody waits for may wait for more of its group, counted from the last
	// proposal of one; default 200 ms. A broker that dies loses what waits: it is delivered again where another consumer takes over.
	AckInterval time.Duration
	// Settle is how long a group that just began waits for more consumers before it activates one, so
	// that after a leader change the first to arrive does not get what it must release at once.
	// Each arrival begins it again, five times at most. Default 20 ms.
	Settle       time.Duration
	MaxConsumers int // default 256
	ChunkBytes   int // of batches in one Fill, default 128 KiB

	Log        *slog.Logger          // nil: none
	Registerer prometheus.Registerer // nil: none
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c Config) withDefaults() Config {
	setDefault(&c.MaxGrace, time.Second)
	setDefault(&c.AckInterval, 200*time.Millisecond)
	setDefault(&c.Settle, 20*time.Millisecond)
	setDefault(&c.MaxConsumers, 256)
	setDefault(&c.ChunkBytes, 128<<10)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}
