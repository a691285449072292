package fsm

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/protocol"
)

var testPartition = protocol.TopicPartition{Topic: 5, Partition: 2}

// goldenState has something in every field.
func goldenState() state {
	s := newState(DefaultMaxProducers, DefaultMaxSubscriptions)
	s.applied, s.epoch, s.leader, s.term, s.attempt = 1001, 7, 3, 12, 2
	s.start, s.next, s.lastAppend = 20, 100, 1_700_000_000_123
	for i := range s.hash {
		s.hash[i] = byte(i)
	}
	quiet := s.producers.admit(protocol.NamedProducerBit|9, 1)
	_ = quiet
	busy := s.producers.admit(protocol.NamedProducerBit|4, 6)
	busy.record(30, 10)
	busy.record(50, 3)
	s.producers.admit(77, 0).record(40, 10)
	s.producers.admit(33, 0).record(53, 47)
	s.cursors.retired = 4
	s.cursors.byName["orders"] = &Cursor{Offset: 60, Activation: 2}
	s.cursors.byName["billing"] = &Cursor{Offset: 10, Activation: 5}
	return s
}

func TestCheckpointVector(t *testing.T) {
	s := goldenState()
	golden(t, "checkpoint", appendCheckpoint(nil, checkpointMagic, testPartition, 3, &s))
	empty := newState(1, 1)
	b := appendCheckpoint(nil, snapshotMagic, testPartition, 0, &empty)
	require.Len(t, b, minCheckpoint)
	golden(t, "snapshot_head_empty", b)
}

func TestCheckpointRoundTrip(t *testing.T) {
	s := goldenState()
	prefix := []byte("something before")
	b := appendCheckpoint(prefix, checkpointMagic, testPartition, 3, &s)[len(prefix):]
	got := newState(DefaultMaxProducers, DefaultMaxSubscriptions)
	generation, err := decodeCheckpoint(b, checkpointMagic, testPartition, &got)
	require.NoError(t, err)
	require.EqualValues(t, 3, generation)
	require.Equal(t, s.cursors, got.cursors)
	require.Equal(t, s.producers.byID[77].runs, got.producers.byID[77].runs)
	require.EqualValues(t, 77, got.producers.oldest.id)
	require.Equal(t, b, appendCheckpoint(nil, checkpointMagic, testPartition, 3, &got))
}

// TestCheckpointDamage flips every bit and cuts at every length: nothing of it may pass.
func TestCheckpointDamage(t *testing.T) {
	s := goldenState()
	b := appendCheckpoint(nil, checkpointMagic, testPartition, 3, &s)
	decode := func(b []byte) error {
		st := newState(10, 10)
		_, err := decodeCheckpoint(b, checkpointMagic, testPartition, &st)
		return err
	}
	for n := range b {
		require.Error(t, decode(b[:n]))
		for bit := range 8 {
			bad := bytes.Clone(b)
			bad[n] ^= 1 << bit
			require.Error(t, decode(bad), "byte %d bit %d", n, bit)
		}
	}
	require.Error(t, decode(append(bytes.Clone(b), 0)))
	var d *damage
	other := newState(10, 10)
	_, err := decodeCheckpoint(b, checkpointMagic, protocol.TopicPartition{Topic: 5, Partition: 3}, &other)
	require.ErrorAs(t, err, &d)
	require.Contains(t, err.Error(), "belongs to partition 5/2, not 5/3")
}

// TestCheckpointImpossible checks states that have a right CRC but that no replica can be in.
func TestCheckpointImpossible(t *testing.T) {
	for name, change := range map[string]func(*state){
		"start above next":  func(s *state) { s.start = s.next + 1 },
		"cursor above next": func(s *state) { s.cursors.byName["orders"].Offset = s.next + 1 },
		"bad name":          func(s *state) { s.cursors.byName["no/good"] = &Cursor{} },
		"sequence hole":     func(s *state) { s.producers.byID[77].next++ },
		"run above next":    func(s *state) { s.producers.byID[33].runs[0].offset++ },
		"empty run":         func(s *state) { s.producers.byID[33].runs[0].count = 0 },
		"runs backwards":    func(s *state) { s.producers.byID[protocol.NamedProducerBit|4].runs[1].offset = 0 },
		"no runs":           func(s *state) { s.producers.byID[77].runs = nil },
	} {
		t.Run(name, func(t *testing.T) {
			s := goldenState()
			change(&s)
			b := appendCheckpoint(nil, checkpointMagic, testPartition, 3, &s)
			got := newState(10, 10)
			_, err := decodeCheckpoint(b, checkpointMagic, testPartition, &got)
			require.Error(t, err)
		})
	}
}

// FuzzCheckpoint repairs length and CRC, so that the fuzzer gets to the fields. What decodes must encode to the same.
func FuzzCheckpoint(f *testing.F) {
	s := goldenState()
	f.Add(appendCheckpoint(nil, checkpointMagic, testPartition, 3, &s))
	empty := newState(1, 1)
	f.Add(appendCheckpoint(nil, checkpointMagic, testPartition, 1, &empty))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= minCheckpoint {
			binary.BigEndian.PutUint32(b[8:], uint32(len(b)))
			binary.BigEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b[:len(b)-4], castagnoli))
		}
		got := newState(10, 10)
		generation, err := decodeCheckpoint(b, checkpointMagic, testPartition, &got)
		if err != nil {
			return
		}
		if again := appendCheckpoint(nil, checkpointMagic, testPartition, generation, &got); !bytes.Equal(b, again) {
			t.Fatalf("decoded and encoded again it differs:\n%x\n%x", b, again)
		}
	})
}
