package meta

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/lni/dragonboat/v4/statemachine"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

func sampleCommands() []*command {
	return []*command{
		{create: &wire.CreateTopic{Name: "orders", Partitions: 8, Replicas: 3, RequestID: 1 << 60,
			Config: wire.TopicConfig{RetentionMillis: 1000, RetentionBytes: 1 << 40, SegmentBytes: 1 << 20}}},
		{remove: &removeTopic{request: 7, DeleteTopic: wire.DeleteTopic{Name: "orders", ID: 9}}},
		{alter: &alterTopic{request: 8, AlterTopic: wire.AlterTopic{Name: "orders", Partitions: ptr(uint32(16)),
			RetentionBytes: ptr(uint64(0))}}},
		{producer: &initProducer{nonce: 5, name: "billing"}},
		{broker: testBroker(2)},
	}
}

// The bytes of commands are in logs on disk: they never change.
func TestCommandGolden(t *testing.T) {
	golden := []string{
		"990101cf1000000000000000a66f72646572730803cd03e8cf0000010000000000ce00100000",
		"95010207a66f726465727309",
		"98010308a66f726465727310c000c0",
		"94010405a762696c6c696e67",
		"97010502a768323a37343030a768323a37343032a768323a37343031c41002000000000000000000000000000000",
	}
	for i, c := range sampleCommands() {
		require.Equal(t, golden[i], hex.EncodeToString(c.encode()))
		got, err := decodeCommand(c.encode())
		require.NoError(t, err)
		require.Equal(t, c, got)
	}
}

func TestCommandOfNewerVersion(t *testing.T) {
	e := newEncoder()
	e.array(2)
	e.uint(2)
	e.uint(1)
	_, err := decodeCommand(e.buf.Bytes())
	require.ErrorIs(t, err, errNewerCommand)
	m := NewMachine()
	_, err = m.Update(statemachine.Entry{Index: 9, Cmd: e.buf.Bytes()})
	require.ErrorContains(t, err, "upgrade")
	e = newEncoder()
	e.array(2)
	e.uint(1)
	e.uint(99)
	_, err = decodeCommand(e.buf.Bytes())
	require.ErrorIs(t, err, errNewerCommand)
}

// A field that a later version adds behind the known ones is skipped.
func TestCommandWithMoreFields(t *testing.T) {
	e := newEncoder()
	e.array(8)
	e.uint(1)
	e.uint(uint64(kindInitProducer))
	e.uint(5)
	e.str("billing")
	e.bytes([]byte("new"))
	e.optional(nil)
	e.must(e.enc.EncodeBool(true))
	e.uint(1 << 50)
	got, err := decodeCommand(e.buf.Bytes())
	require.NoError(t, err)
	require.Equal(t, &command{producer: &initProducer{nonce: 5, name: "billing"}}, got)
}

func TestUnreadableCommandIsRefused(t *testing.T) {
	m := NewMachine()
	deep := bytes.Repeat([]byte{0x91}, 100)
	for _, cmd := range [][]byte{nil, {0x90}, {0x92, 1, 0}, {0x92, 1, 1}, deep, make([]byte, 5000)} {
		r, err := m.Update(statemachine.Entry{Cmd: cmd})
		require.NoError(t, err)
		res, err := decodeResult(r.Data)
		require.NoError(t, err)
		require.Equal(t, protocol.CodeInvalidRequest, res.code, "%x", cmd)
		require.Zero(t, r.Value)
	}
}

func FuzzDecodeCommand(f *testing.F) {
	for _, c := range sampleCommands() {
		f.Add(c.encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeCommand(b)
		if err != nil {
			return
		}
		again, err := decodeCommand(c.encode())
		require.NoError(t, err)
		require.Equal(t, c, again)
		newState().apply(c)
	})
}

func FuzzDecodeResult(f *testing.F) {
	r := result{code: 7, message: "no", version: 3, a: 1, b: 2}
	f.Add(r.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeResult(b)
		if err != nil {
			return
		}
		again, err := decodeResult(r.encode())
		require.NoError(t, err)
		require.Equal(t, r, again)
	})
}

func sampleSnapshot(t testing.TB) []byte {
	s := newState()
	for i := range 3 {
		s.apply(&command{broker: testBroker(i + 1)})
	}
	for _, c := range sampleCommands() {
		s.apply(c)
	}
	s.apply(create("logs", 3, 2, 99))
	var buf bytes.Buffer
	require.NoError(t, saveSnapshot(&buf, s, nil))
	return buf.Bytes()
}

// A snapshot written by an earlier version is read for ever. The file is made by removing it and running the test.
func TestSnapshotGolden(t *testing.T) {
	const name = "testdata/snapshot.v1"
	golden, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		require.NoError(t, os.WriteFile(name, sampleSnapshot(t), 0o644))
		t.Fatalf("%s was missing; it is written now", name)
	}
	require.NoError(t, err)
	s, err := loadSnapshot(bytes.NewReader(golden), nil)
	require.NoError(t, err)
	topic, ok := s.image.TopicNamed("logs")
	require.True(t, ok)
	require.Len(t, topic.Partitions, 3)
	require.Len(t, s.producers, 1)
	require.Len(t, s.answers.ring, 4)
	var again bytes.Buffer
	require.NoError(t, saveSnapshot(&again, s, nil))
	require.Equal(t, golden, again.Bytes())
}

func FuzzLoadSnapshot(f *testing.F) {
	f.Add(sampleSnapshot(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := loadSnapshot(bytes.NewReader(b), nil); err == nil {
			require.NoError(t, s.image.check())
		}
	})
}

// Any damage to a snapshot is found.
func TestSnapshotDamage(t *testing.T) {
	good := sampleSnapshot(t)
	rapid.Check(t, func(t *rapid.T) {
		bad := bytes.Clone(good)
		if rapid.Bool().Draw(t, "cut") {
			bad = bad[:rapid.IntRange(0, len(bad)-1).Draw(t, "length")]
		} else {
			bad[rapid.IntRange(0, len(bad)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "flip"))
		}
		_, err := loadSnapshot(bytes.NewReader(bad), nil)
		require.Error(t, err)
	})
}

func TestSnapshotThroughTheMachine(t *testing.T) {
	m := NewMachine()
	for i := range 3 {
		_, err := m.Update(statemachine.Entry{Cmd: (&command{broker: testBroker(i + 1)}).encode()})
		require.NoError(t, err)
	}
	_, err := m.Update(statemachine.Entry{Cmd: create("orders", 8, 3, 1).encode()})
	require.NoError(t, err)
	var buf bytes.Buffer
	require.NoError(t, m.SaveSnapshot(&buf, nil, nil))

	other := NewMachine()
	changed := other.Changed()
	empty := other.Image()
	require.Error(t, other.RecoverFromSnapshot(strings.NewReader("TLMETAx"), nil, nil))
	require.Same(t, empty, other.Image(), "a failure changes nothing")
	require.NoError(t, other.RecoverFromSnapshot(bytes.NewReader(buf.Bytes()), nil, nil))
	<-changed
	require.Equal(t, m.Image(), other.Image())
	v, err := other.Lookup(nil)
	require.NoError(t, err)
	require.Same(t, other.Image(), v)
	require.NoError(t, other.Close())
}

func TestSnapshotStops(t *testing.T) {
	stop := make(chan struct{})
	close(stop)
	m := NewMachine()
	require.ErrorIs(t, m.SaveSnapshot(io.Discard, nil, stop), statemachine.ErrSnapshotStopped)
	require.ErrorIs(t, m.RecoverFromSnapshot(bytes.NewReader(sampleSnapshot(t)), nil, stop), statemachine.ErrSnapshotStopped)
	failing := writerFunc(func([]byte) (int, error) { return 0, errors.New("disk") })
	require.ErrorContains(t, m.SaveSnapshot(failing, nil, nil), "disk")
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestRefusalTextIsBounded(t *testing.T) {
	r := refuse(protocol.Errorf(protocol.CodeInternal, "%s", strings.Repeat("x", 10_000)))
	got, err := decodeResult(r.encode())
	require.NoError(t, err)
	require.Len(t, got.message, maxMessageBytes)
}
