package fsm

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// golden compares got with testdata/name, which holds it in hexadecimal, 32 bytes a line.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".hex")
	if *update {
		var out bytes.Buffer
		for b := got; len(b) > 0; b = b[min(32, len(b)):] {
			out.WriteString(hex.EncodeToString(b[:min(32, len(b))]) + "\n")
		}
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, out.Bytes(), 0o644))
	}
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	want, err := hex.DecodeString(string(bytes.ReplaceAll(raw, []byte("\n"), nil)))
	require.NoError(t, err)
	require.Equal(t, hex.EncodeToString(want), hex.EncodeToString(got), "the bytes of %s are frozen", name)
}

// makeBatch returns a batch of count records of a producer, as a client would send it.
func makeBatch(id protocol.ProducerID, epoch protocol.ProducerEpoch, seq protocol.Sequence, count int) []byte {
	b := batch.NewBuilder(batch.None)
	for i := range count {
		record := batch.Record{
			Key:       []byte{byte(id)},
			Value:     bytes.Repeat([]byte{byte(int(seq) + i)}, 40),
			Timestamp: 1_700_000_000_000 + int64(i),
		}
		if err := b.Add(record); err != nil {
			panic(err)
		}
	}
	out, err := b.Build(nil, id, epoch, seq)
	if err != nil {
		panic(err)
	}
	return out
}

// resealed returns a batch whose payload was changed with a right CRC again.
func resealed(b []byte) []byte {
	binary.BigEndian.PutUint32(b[36:], crc32.Checksum(b[40:], castagnoli))
	batch.Stamp(b, 0, 0, 0)
	return b
}

// goldenOps has every operation once.
func goldenOps() *Builder {
	b := NewOps(7, 1_700_000_000_123)
	b.Append(makeBatch(0x11, 2, 5, 2))
	b.ProducerOpen(protocol.NamedProducerBit|0x22, 3)
	b.CursorOpen("billing", 40)
	b.CursorActivate("billing")
	b.CursorAck("billing", 1, 41)
	b.CursorDelete("old")
	b.SetStart(12)
	return b
}

func TestCommandVectors(t *testing.T) {
	golden(t, "command_epoch_begin", EpochBegin(9, 3, 2, 1_700_000_000_123))
	b := goldenOps()
	require.Equal(t, 7, b.Len())
	require.Equal(t, len(b.Bytes()), b.Size())
	golden(t, "command_ops", b.Bytes())
	var data []byte
	data = appendResult(data, OpResult{A: 41, B: 1})
	data = appendResult(data, OpResult{Code: protocol.CodeStaleActivation, A: 40, B: 2})
	golden(t, "result_ops", data)
	golden(t, "result_fenced", appendFenced(nil, 7, 3))
}

func TestCommandParse(t *testing.T) {
	b := goldenOps()
	c, err := parseCommand(b.Bytes())
	require.NoError(t, err)
	require.EqualValues(t, kindOps, c.kind)
	require.EqualValues(t, 7, c.epoch)
	require.EqualValues(t, 1_700_000_000_123, c.timeMs)
	n, err := countOps(c.body)
	require.NoError(t, err)
	require.Equal(t, b.Len(), n)

	c, err = parseCommand(EpochBegin(9, 3, 2, -1))
	require.NoError(t, err)
	require.EqualValues(t, kindEpochBegin, c.kind)
	require.EqualValues(t, 9, c.epoch)
	require.EqualValues(t, -1, c.timeMs)
}

func TestCommandBuilderReuse(t *testing.T) {
	b := goldenOps()
	first := bytes.Clone(b.Bytes())
	b.Reset(8, 1)
	require.Zero(t, b.Len())
	require.Equal(t, CommandHeaderSize, b.Size())
	b.SetStart(1)
	require.Equal(t, CommandHeaderSize+OpHeaderSize+setStartSize, b.Size())
	require.Equal(t, first, goldenOps().Bytes())
}

func TestCommandMalformed(t *testing.T) {
	whole := goldenOps().Bytes()
	for n := range whole {
		c, err := parseCommand(whole[:n])
		if err == nil {
			_, err = countOps(c.body)
		}
		if n == CommandHeaderSize {
			require.NoError(t, err, "a command without operations is one")
			continue
		}
		if err == nil { // cut at the border of an operation
			ops, _ := countOps(c.body)
			require.Less(t, ops, 7)
			continue
		}
		require.ErrorIs(t, err, errMalformed, "%d bytes", n)
	}
	claim := EpochBegin(1, 1, 1, 1)
	for _, bad := range [][]byte{
		nil,
		append([]byte{0}, claim[1:]...),
		append([]byte{1, 3}, claim[2:]...),
		claim[:len(claim)-1],
		append(bytes.Clone(claim), 0),
		append(NewOps(1, 1).Bytes(), opSetStart, 0xff, 0xff, 0xff, 0xff),
	} {
		c, err := parseCommand(bad)
		if err == nil {
			_, err = countOps(c.body)
		}
		require.ErrorIs(t, err, errMalformed)
	}
	_, err := parseCommand([]byte{2})
	require.ErrorIs(t, err, ErrNewerCommand)
}

func TestCommandTooManyOps(t *testing.T) {
	b := NewOps(1, 1)
	for range MaxOps {
		b.CursorActivate("")
	}
	c, err := parseCommand(b.Bytes())
	require.NoError(t, err)
	n, err := countOps(c.body)
	require.NoError(t, err)
	require.Equal(t, MaxOps, n)
	b.CursorActivate("")
	c, err = parseCommand(b.Bytes())
	require.NoError(t, err)
	_, err = countOps(c.body)
	require.ErrorIs(t, err, errMalformed)
}

func TestParseResult(t *testing.T) {
	var data []byte
	want := []OpResult{{A: 1, B: 2}, {Code: protocol.CodeNotFound}, {A: 1<<64 - 1}}
	for _, r := range want {
		data = appendResult(data, r)
	}
	for i, r := range want {
		require.Equal(t, r, ParseResult(data, i))
	}
	for _, i := range []int{-1, 3, 1 << 40} {
		require.Equal(t, protocol.CodeInternal, ParseResult(data, i).Code)
	}
	require.Equal(t, protocol.CodeInternal, ParseResult(data[:17], 0).Code)
	require.Zero(t, ParseEpoch(nil))
	epoch, leader := ParseFenced(appendFenced(nil, 5, 6))
	require.EqualValues(t, 5, epoch)
	require.EqualValues(t, 6, leader)
	epoch, leader = ParseFenced([]byte{1})
	require.Zero(t, epoch)
	require.Zero(t, leader)
}

func FuzzCommand(f *testing.F) {
	f.Add(goldenOps().Bytes())
	f.Add(EpochBegin(1, 2, 3, 4))
	f.Add([]byte{1, 2})
	f.Add(append(NewOps(1, 1).Bytes(), opAppend, 0xff, 0xff, 0xff, 0xff, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseCommand(b)
		if err != nil {
			if !errors.Is(err, errMalformed) && !errors.Is(err, ErrNewerCommand) {
				t.Fatal(err)
			}
			return
		}
		want, err := countOps(c.body)
		if c.kind != kindOps || err != nil {
			return
		}
		got, size := 0, CommandHeaderSize
		for body := c.body; len(body) > 0; got++ {
			_, payload, rest, ok := nextOp(body)
			if !ok {
				t.Fatal("countOps accepted what nextOp does not")
			}
			size += OpHeaderSize + len(payload)
			body = rest
		}
		if got != want || size != len(b) {
			t.Fatalf("%d of %d operations, %d of %d bytes", got, want, size, len(b))
		}
	})
}
