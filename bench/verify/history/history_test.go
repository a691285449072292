package history

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// drawOp draws any operation that makes sense.
func drawOp(t *rapid.T) Op {
	o := Op{
		Worker: rapid.IntRange(0, 99).Draw(t, "worker"), Kind: rapid.SampledFrom(kinds).Draw(t, "kind"),
		Key: rapid.StringOfN(rapid.RuneFrom([]rune("abc.-_<\"\u00e9")), 0, 20, -1).Draw(t, "key"), ID: rapid.Uint64().Draw(t, "id"),
		Partition: rapid.Int32Range(0, 1<<30).Draw(t, "partition"), Producer: rapid.Uint32().Draw(t, "producer"),
		Epoch: rapid.Uint64().Draw(t, "epoch"), Seq: rapid.Uint64().Draw(t, "seq"), Invoke: rapid.Int64Range(0, 1<<60).Draw(t, "invoke"),
		Class: rapid.SampledFrom(classes).Draw(t, "class"), Offset: rapid.Int64Min(NoOffset).Draw(t, "offset"), Dup: rapid.Bool().Draw(t, "dup"),
	}
	o.Return = o.Invoke + rapid.Int64Range(0, 1<<60).Draw(t, "took")
	return o
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ops := rapid.SliceOfN(rapid.Custom(drawOp), 0, 20).Draw(t, "ops")
		var file bytes.Buffer
		require.NoError(t, Write(&file, Header{Seed: 7, Forgotten: 3}, ops))
		whole := file.Bytes()
		h, got, err := Read(bytes.NewReader(whole))
		require.NoError(t, err)
		require.Equal(t, Header{Version: version, Seed: 7, Kept: len(ops), Forgotten: 3}, h)
		require.Equal(t, ops, append([]Op{}, got...))

		cut := rapid.IntRange(0, len(whole)-2).Draw(t, "cut") // without its last line's end it is whole
		_, got, err = Read(bytes.NewReader(whole[:cut]))
		var format *FormatError
		require.ErrorAs(t, err, &format)
		require.LessOrEqual(t, len(got), len(ops))
		require.Equal(t, ops[:len(got)], append([]Op{}, got...), "what was read before the cut")
	})
}

func TestWhatIsNoHistory(t *testing.T) {
	const header = `{"trunkline_history":1,"kept":1}` + "\n"
	for name, c := range map[string]struct {
		text    string
		line    int
		because string
	}{
		"empty":                  {"", 1, "unexpected EOF"},
		"not JSON":               {"hello\n", 1, "invalid character"},
		"another version":        {`{"trunkline_history":2}`, 1, "version 2"},
		"no header":              {`{"op":"publish","class":"ok"}`, 1, "version 0"},
		"no such operation":      {header + `{"op":"dance","class":"ok"}`, 2, "dance"},
		"no such class":          {header + `{"op":"publish","class":"maybe"}`, 2, "maybe"},
		"back in time":           {header + `{"op":"publish","class":"ok","invoke_ns":2,"return_ns":1}`, 2, "before it was invoked"},
		"a partition below zero": {header + `{"op":"publish","class":"ok","partition":-1}`, 2, "partition -1"},
		"a long line":            {header + `{"op":"publish","key":"` + strings.Repeat("x", maxLine) + `"}`, 2, "too long"},
		"fewer than promised":    {header, 2, "0 of 1 operations"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Read(strings.NewReader(c.text))
			var format *FormatError
			require.ErrorAs(t, err, &format)
			require.Equal(t, c.line, format.Line)
			require.ErrorContains(t, err, c.because)
		})
	}
	broken := errors.New("the disk is gone")
	_, _, err := Read(io.MultiReader(strings.NewReader(header), failing{broken}))
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, Write(io.Discard, Header{}, []Op{{Kind: "dance"}}), "dance")
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// FuzzRead: no input makes Read panic, and what it takes it writes and takes again.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"trunkline_history":1,"kept":1}` + "\n" + `{"op":"publish","class":"ok","offset":3}` + "\n"))
	f.Add([]byte(`{"trunkline_history":1}` + "\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		h, ops, err := Read(bytes.NewReader(text))
		if err != nil {
			return
		}
		var file bytes.Buffer
		require.NoError(t, Write(&file, h, ops))
		_, again, err := Read(&file)
		var format *FormatError
		if errors.As(err, &format) && strings.Contains(format.Error(), "too long") {
			return // written out a line may be longer
		}
		require.NoError(t, err)
		require.Equal(t, ops, again)
		_ = Find(ops)
	})
}

func TestRingKeepsTheNewest(t *testing.T) {
	r := NewRing(2, 3)
	for i := range int64(10) {
		r.Add(Op{Invoke: 100 - i, Offset: i})
	}
	r.Add(Op{Partition: 1, Invoke: 92, Offset: 77})
	ops, forgotten := r.Ops()
	require.Equal(t, int64(7), forgotten)
	var offsets []int64
	for _, o := range ops {
		offsets = append(offsets, o.Offset)
	}
	require.Equal(t, []int64{9, 8, 77, 7}, offsets, "by the time of their beginning")
}

func TestRingFromManyGoroutines(t *testing.T) {
	r := NewRing(2, 100)
	var wg sync.WaitGroup
	for g := range int32(4) {
		wg.Go(func() {
			for i := range int64(1000) {
				r.Add(Op{Partition: g % 2, Invoke: i})
				if i%100 == 0 {
					r.Ops()
				}
			}
		})
	}
	wg.Wait()
	ops, forgotten := r.Ops()
	require.Len(t, ops, 200)
	require.Equal(t, int64(3800), forgotten)
}
