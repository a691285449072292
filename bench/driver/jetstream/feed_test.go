package jetstream

import (
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/driver"
)

// message is one that writes its acks down.
type message struct {
	jetstream.Msg
	seq   uint64
	acked *[]uint64
}

func (m message) Data() []byte { return nil }
func (m message) Ack() error   { *m.acked = append(*m.acked, m.seq); return nil }
func (m message) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{Sequence: jetstream.SequencePair{Stream: m.seq}, NumDelivered: 1}, nil
}

func takeAll(f *feed, acked *[]uint64, seqs ...uint64) {
	for _, seq := range seqs {
		f.take(message{seq: seq, acked: acked})
	}
}

func newFeed(all bool, delivered *[]int64) *feed {
	return &feed{
		all: all, floor: 10, early: make(map[uint64]jetstream.Msg),
		deliver: func(d *driver.Delivery) { *delivered = append(*delivered, d.Offset) },
	}
}

func TestAnAckNeverAnswersForAMessageThatDidNotCome(t *testing.T) {
	var acked []uint64
	var delivered []int64
	f := newFeed(true, &delivered)
	takeAll(f, &acked, 11, 12, 15, 16)
	f.ack()
	require.Equal(t, []uint64{12}, acked)
	takeAll(f, &acked, 14)
	f.ack()
	require.Equal(t, []uint64{12}, acked, "13 is missing")
	takeAll(f, &acked, 13)
	f.ack()
	require.Equal(t, []uint64{12, 16}, acked)
	takeAll(f, &acked, 16)
	f.ack()
	require.Equal(t, []uint64{12, 16, 16}, acked, "it came again, so the ack was lost")
	require.Equal(t, []int64{11, 12, 15, 16, 14, 13, 16}, delivered)
	require.Empty(t, f.early)
}

func TestAHoleThatNobodyFillsIsSkipped(t *testing.T) {
	var acked []uint64
	f := newFeed(true, new([]int64))
	takeAll(f, &acked, 12, 13)
	f.ack()
	require.Empty(t, acked)
	f.hole = time.Now().Add(-holeMax)
	f.ack()
	require.Equal(t, []uint64{13}, acked)
}

func TestAcksAreBatchedWhereOneMayAnswerForMany(t *testing.T) {
	for all, want := range map[bool]int{true: 2, false: 2 * ackBatch} {
		var acked []uint64
		f := newFeed(all, new([]int64))
		for seq := range uint64(2 * ackBatch) {
			takeAll(f, &acked, 11+seq)
		}
		require.Len(t, acked, want)
		require.True(t, slices.IsSorted(acked))
	}
}
