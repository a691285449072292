package meta

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"testing"

	"github.com/lni/dragonboat/v4/statemachine"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/protocol"
)

// stating is testBroker of a release that states what it understands.
func stating(id int, lowest, highest protocol.Level) *Broker {
	b := testBroker(id)
	b.Levels = protocol.Levels{Lowest: lowest, Highest: highest}
	return b
}

func raise(level protocol.Level, words ...Word) *command {
	return &command{raise: &raiseLevel{level: level, words: words}}
}

func word(b protocol.BrokerID, lowest, highest protocol.Level) Word {
	return Word{b, protocol.Levels{Lowest: lowest, Highest: highest}}
}

// The bytes are in logs on disk: they never change. A registration that states levels is the one of before with two numbers more.
func TestLevelGolden(t *testing.T) {
	for want, c := range map[string]*command{
		"94020d02960101020201cc80": raise(2, word(1, 1, 2), word(2, 1, 128)),
		"9b020502a768323a37343030a768323a37343032a768323a37343031c41002000000000000000000000000000000a0c20102": {broker: stating(2, 1, 2)},
	} {
		require.Equal(t, want, hex.EncodeToString(c.encode()))
		got, err := decodeCommand(c.encode())
		require.NoError(t, err)
		require.Equal(t, c, got)
	}
	_, err := decodeCommand([]byte{0x94, commandVersion, byte(kindRaiseLevel), 2, 0x92, 1, 1})
	require.ErrorContains(t, err, "three for each")
}

// TestFirstLevelIsWhatItWas: brokers that know no levels apply the same commands, so what they do not see changes neither the state nor
// its bytes, nor the version of the image.
func TestFirstLevelIsWhatItWas(t *testing.T) {
	now, before := newState(), newState()
	for id := range 3 {
		require.Equal(t, before.apply(&command{broker: testBroker(id + 1)}), now.apply(&command{broker: stating(id+1, 1, 2)}))
	}
	require.Equal(t, before.apply(&command{broker: testBroker(1)}), now.apply(&command{broker: stating(1, 1, 3)}), "an upgrade")
	require.Equal(t, before.apply(&command{broker: testBroker(1)}), now.apply(&command{broker: stating(1, 2, 3)}), "the handshake refuses")
	require.Equal(t, before, now)
	var then, today bytes.Buffer
	require.NoError(t, saveSnapshot(&then, before, nil))
	require.NoError(t, saveSnapshot(&today, now, nil))
	require.Equal(t, then.Bytes(), today.Bytes())
	require.Equal(t, byte(2), today.Bytes()[len(snapshotMagic)])
}

func TestLevelIsRaisedWhenAllUnderstandIt(t *testing.T) {
	s := newState()
	for id := range 3 {
		require.Zero(t, s.apply(&command{broker: testBroker(id + 1)}).code)
	}
	refused := func(says string, c *command) {
		t.Helper()
		before := s.image
		r := s.apply(c)
		require.Equal(t, protocol.CodeInvalidRequest, r.code)
		require.Contains(t, r.message, says)
		require.Same(t, before, s.image)
	}
	refused("broker 3 did not say", raise(2, word(1, 1, 2), word(2, 1, 2)))
	refused("the cluster stays at level 1, and cannot have level 2: broker 2 understands level 1", raise(2, word(1, 1, 2), Word{Broker: 2}, word(3, 1, 2)))
	refused("broker 2 understands levels 3 to 4", raise(2, word(1, 1, 2), word(2, 3, 4), word(3, 1, 2)))
	require.Zero(t, s.apply(raise(1)).code, "it has that")

	version := s.image.Version
	r := s.apply(raise(2, word(1, 1, 2), word(2, 2, 3), word(3, 1, 2), word(9, 1, 1)))
	require.Zero(t, r.code, r.message)
	require.EqualValues(t, 2, r.a)
	require.Equal(t, version+1, s.image.Version)
	require.Equal(t, LevelStated, s.image.Level)
	b, _ := s.image.Broker(2)
	require.Equal(t, protocol.Levels{Lowest: 2, Highest: 3}, b.Levels)

	image := s.image
	for _, again := range []*command{raise(2), raise(1), raise(0)} {
		r := s.apply(again)
		require.Zero(t, r.code, r.message)
		require.EqualValues(t, 2, r.a)
		require.Same(t, image, s.image)
	}
}

// TestWhoMayRegisterAtALevel: who does not understand it is told which release to install, whether it is known or new.
func TestWhoMayRegisterAtALevel(t *testing.T) {
	s := newState()
	require.Zero(t, s.apply(&command{broker: testBroker(1)}).code)
	require.Zero(t, s.apply(raise(2, word(1, 1, 2))).code)
	for says, b := range map[string]*Broker{
		"finalised at level 2, and broker 1 runs a release that understands level 1": testBroker(1),
		"finalised at level 2, and broker 2 runs a release that understands level 1": testBroker(2),
		"at level 2, and broker 2 runs a release that understands levels 3 to 4":     stating(2, 3, 4),
	} {
		r := s.apply(&command{broker: b})
		require.Equal(t, protocol.CodeInvalidConfig, r.code)
		require.Contains(t, r.message, says)
	}
	require.Zero(t, s.apply(&command{broker: stating(1, 1, 3)}).code)
	require.Zero(t, s.apply(&command{broker: stating(2, 2, 2)}).code)
	b, _ := s.image.Broker(1)
	require.Equal(t, protocol.Levels{Lowest: 1, Highest: 3}, b.Levels)
}

// statedState has a level, and brokers that stated theirs.
func statedState(t *testing.T) *state {
	s := newState()
	for id := range 2 {
		require.Zero(t, s.apply(&command{broker: testBroker(id + 1)}).code)
	}
	require.Zero(t, s.apply(raise(2, word(1, 1, 2), word(2, 2, 3))).code)
	require.Zero(t, s.apply(create("logs", 3, 2, 99)).code)
	return s
}

// The file is made by removing it and running the test, as that of TestSnapshotGolden.
func TestStatedSnapshotGolden(t *testing.T) {
	const name = "testdata/snapshot.v3"
	s := statedState(t)
	var now bytes.Buffer
	require.NoError(t, saveSnapshot(&now, s, nil))
	golden, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		require.NoError(t, os.WriteFile(name, now.Bytes(), 0o644))
		t.Fatalf("%s was missing; it is written now", name)
	}
	require.NoError(t, err)
	require.Equal(t, golden, now.Bytes())
	got, err := loadSnapshot(bytes.NewReader(golden), nil)
	require.NoError(t, err)
	require.Equal(t, s, got)
}

// TestNewerLevelStops: a replica whose level passes what this software understands does not go on, by a command or by a snapshot.
func TestNewerLevelStops(t *testing.T) {
	m := NewMachine()
	_, err := m.Update(statemachine.Entry{Cmd: (&command{broker: testBroker(1)}).encode()})
	require.NoError(t, err)
	image := m.Image()
	r, err := m.Update(statemachine.Entry{Cmd: raise(9, word(1, 1, 8)).encode()})
	require.NoError(t, err, "it is refused everywhere")
	require.Zero(t, r.Value)
	_, err = m.Update(statemachine.Entry{Cmd: raise(9, word(1, 1, 9)).encode()})
	require.ErrorIs(t, err, errNewerLevel)
	require.Same(t, image, m.Image())

	s := statedState(t)
	s.image = s.image.withLevel(&raiseLevel{level: 9})
	var newer bytes.Buffer
	require.NoError(t, saveSnapshot(&newer, s, nil))
	other := NewMachine()
	require.ErrorIs(t, other.RecoverFromSnapshot(&newer, nil, nil), errNewerLevel)
}
