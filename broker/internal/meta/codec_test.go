package meta

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
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
	zoned := testBroker(2)
	zoned.Zone, zoned.Founder = "hall-b", true
	return []*command{
		{create: &wire.CreateTopic{Name: "orders", Partitions: 8, Replicas: 3, RequestID: 1 << 60,
			Config: wire.TopicConfig{RetentionMillis: 1000, RetentionBytes: 1 << 40, SegmentBytes: 1 << 20}}},
		{remove: &removeTopic{request: 7, DeleteTopic: wire.DeleteTopic{Name: "orders", ID: 9}}},
		{alter: &alterTopic{request: 8, AlterTopic: wire.AlterTopic{Name: "orders", Partitions: ptr(uint32(16)),
			RetentionBytes: ptr(uint64(0)), Replicas: ptr(uint32(3))}}},
		{producer: &initProducer{nonce: 5, name: "billing"}},
		{broker: zoned},
		{state: &setState{request: 9, broker: 3, from: Active, to: Drained}},
		{retire: &retireBroker{broker: 300}},
		{begin: &beginMove{request: 10, MoveSpec: MoveSpec{TP: protocol.TopicPartition{Topic: 2, Partition: 1}, Add: 3, Remove: 2,
			Brokers: []protocol.BrokerID{2, 1}}}},
		{step: &moveStep{kind: kindFinishMove, id: 1 << 40}},
		{step: &moveStep{kind: kindUndoMove, id: 7}},
		{step: &moveStep{kind: kindUndoneMove, id: 7}},
		{prefer: &preferLeader{request: 11, tp: protocol.TopicPartition{Topic: 2, Partition: 1}, broker: 3}},
	}
}

// The bytes of commands are in logs on disk: they never change.
func TestCommandGolden(t *testing.T) {
	golden := []string{
		"990201cf1000000000000000a66f72646572730803cd03e8cf0000010000000000ce00100000",
		"95020207a66f726465727309",
		"99020308a66f726465727310c000c003",
		"94020405a762696c6c696e67",
		"99020502a768323a37343030a768323a37343032a768323a37343031c41002000000000000000000000000000000a668616c6c2d62c3",
		"96020609030102",
		"930207cd012c",
		"9802080a02010302920201",
		"930209cf0000010000000000",
		"93020a07",
		"93020b07",
		"96020c0b020103",
	}
	require.Len(t, sampleCommands(), len(golden))
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
	e.uint(commandVersion + 1)
	e.uint(1)
	_, err := decodeCommand(e.buf.Bytes())
	require.ErrorIs(t, err, errNewerCommand)
	m := NewMachine()
	_, err = m.Update(statemachine.Entry{Index: 9, Cmd: e.buf.Bytes()})
	require.ErrorContains(t, err, "upgrade")
	e = newEncoder()
	e.array(2)
	e.uint(commandVersion)
	e.uint(99)
	_, err = decodeCommand(e.buf.Bytes())
	require.ErrorIs(t, err, errNewerCommand)
}

func TestCommandOfOlderVersion(t *testing.T) {
	_, err := NewMachine().Update(statemachine.Entry{Index: 9, Cmd: []byte{0x92, commandVersion - 1, 1}})
	require.ErrorIs(t, err, errOlderCommand)
	require.ErrorContains(t, err, "empty data_dir")
}

// A field that a later version adds behind the known ones is skipped.
func TestCommandWithMoreFields(t *testing.T) {
	e := newEncoder()
	e.array(8)
	e.uint(commandVersion)
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
	for _, cmd := range [][]byte{nil, {0x90}, {0x92, commandVersion, 0}, {0x92, commandVersion, 1}, deep, make([]byte, 5000)} {
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
	for i := range 6 {
		b := testBroker(i + 1)
		b.Zone, b.Founder = fmt.Sprintf("zone-%d", i), i < 2
		require.Zero(t, s.apply(&command{broker: b}).code)
	}
	for _, c := range sampleCommands() {
		s.apply(c)
	}
	require.Zero(t, s.apply(create("logs", 3, 2, 99)).code)
	logs, _ := s.image.TopicNamed("logs")
	tp := protocol.TopicPartition{Topic: logs.ID}
	require.Zero(t, s.apply(&command{state: &setState{broker: 5, to: Leaving}}).code)
	require.Zero(t, s.apply(&command{state: &setState{broker: 2, to: Leaving}}).code)
	for _, m := range []MoveSpec{
		{TP: tp, Add: spare(s, tp), Remove: logs.Partitions[0].Replicas[0].Broker, Brokers: logs.Partitions[0].Brokers()},
		{TP: Metadata, Add: 4, Remove: 2, Brokers: []protocol.BrokerID{1, 2}},
	} {
		r := s.apply(&command{begin: &beginMove{MoveSpec: m}})
		require.Zero(t, r.code, r.message)
	}
	require.Zero(t, s.apply(&command{step: &moveStep{kind: kindUndoMove, id: 1}}).code)
	emptied(t, s, 5)
	require.Zero(t, s.apply(&command{retire: &retireBroker{broker: 5}}).code)
	var buf bytes.Buffer
	require.NoError(t, saveSnapshot(&buf, s, nil))
	return buf.Bytes()
}

// The bytes of snapshots are on disk: they never change under one version. The file is made by removing it and running
// the test.
func TestSnapshotGolden(t *testing.T) {
	const name = "testdata/snapshot.v2"
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
	require.Len(t, s.image.Moves(), 2)
	require.True(t, s.image.Retired(5))
	var again bytes.Buffer
	require.NoError(t, saveSnapshot(&again, s, nil))
	require.Equal(t, golden, again.Bytes())
}

func TestSnapshotOfAnotherVersion(t *testing.T) {
	for _, v := range []byte{snapshotFirst - 1, snapshotStated + 1} {
		b := sampleSnapshot(t)
		b[len(snapshotMagic)] = v
		_, err := loadSnapshot(bytes.NewReader(b), nil)
		require.ErrorContains(t, err, "start the broker version that wrote it")
	}
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
