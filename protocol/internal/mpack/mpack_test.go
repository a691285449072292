package mpack

import (
	"bytes"
	"errors"
	"io"
	"math"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"
)

// TestAgainstLibrary checks that what the Encoder writes is what the library reads, and the other way round.
func TestAgainstLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u, i := rapid.Uint64().Draw(t, "u"), rapid.Int64().Draw(t, "i")
		s, b := rapid.String().Draw(t, "s"), rapid.SliceOf(rapid.Byte()).Draw(t, "b")
		ok := rapid.Bool().Draw(t, "ok")

		e := Acquire(nil)
		e.Array(5)
		e.Uint(u)
		e.Int(i)
		e.String(s)
		e.Bytes(b)
		e.Bool(ok)
		ours := e.Release()

		var gotU uint64
		var gotI int64
		var gotS string
		var gotB []byte
		var gotOK bool
		lib := msgpack.NewDecoder(bytes.NewReader(ours))
		n, err := lib.DecodeArrayLen()
		require.NoError(t, err)
		require.Equal(t, 5, n)
		require.NoError(t, lib.DecodeMulti(&gotU, &gotI, &gotS, &gotB, &gotOK))
		require.Equal(t, []any{u, i, s, ok}, []any{gotU, gotI, gotS, gotOK})
		require.True(t, bytes.Equal(b, gotB))

		theirs, err := msgpack.Marshal([]any{u, i, s, b, ok})
		require.NoError(t, err)
		for _, in := range [][]byte{ours, theirs} {
			err := Decode(in, func(d *Decoder) {
				f := d.Fields()
				require.Equal(t, []any{u, i, s}, []any{f.Uint64(), f.Int(), f.String()})
				require.True(t, bytes.Equal(b, f.Bytes()))
				require.Equal(t, ok, f.Bool())
				f.End()
			})
			require.NoError(t, err)
		}
	})
}

func TestNumbersOutOfRange(t *testing.T) {
	cases := []struct {
		name string
		in   string
		read func(*Fields)
	}{
		{"negative fixnum as unsigned", "\x91\xff", func(f *Fields) { f.Uint64() }},
		{"negative int64 as unsigned", "\x91\xd3\x80\x00\x00\x00\x00\x00\x00\x00", func(f *Fields) { f.Uint64() }},
		{"uint64 above int64 as signed", "\x91\xcf\x80\x00\x00\x00\x00\x00\x00\x00", func(f *Fields) { f.Int() }},
		{"256 as uint8", "\x91\xcd\x01\x00", func(f *Fields) { f.Uint8() }},
		{"65536 as uint16", "\x91\xce\x00\x01\x00\x00", func(f *Fields) { f.Uint16() }},
		{"1<<32 as uint32", "\x91\xcf\x00\x00\x00\x01\x00\x00\x00\x00", func(f *Fields) { f.Uint32() }},
		{"1<<32 as optional uint32", "\x91\xcf\x00\x00\x00\x01\x00\x00\x00\x00", func(f *Fields) { f.OptUint32() }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := Decode([]byte(c.in), func(d *Decoder) {
				f := d.Fields()
				c.read(&f)
			})
			require.ErrorIs(t, err, ErrRange)
		})
	}
	require.NoError(t, Decode([]byte("\x92\xd0\x05\xcf\x7f\xff\xff\xff\xff\xff\xff\xff"), func(d *Decoder) {
		f := d.Fields()
		require.Equal(t, uint64(5), f.Uint64(), "a small signed form is fine")
		require.Equal(t, int64(math.MaxInt64), f.Int())
	}))
}

func TestWrongTypes(t *testing.T) {
	reads := map[string]func(*Fields){
		"uint": func(f *Fields) { f.Uint64() }, "int": func(f *Fields) { f.Int() },
		"bool": func(f *Fields) { f.Bool() }, "string": func(f *Fields) { _ = f.String() },
		"bytes": func(f *Fields) { f.Bytes() }, "opt": func(f *Fields) { f.OptUint64() },
		"list": func(f *Fields) { List(f, 9, func(d *Decoder, s *string) { *s = d.String() }) },
	}
	for name, read := range reads {
		t.Run(name, func(t *testing.T) {
			for _, in := range []string{"\x91\xca\x00\x00\x00\x00", "\x91\x81\x01\x02", "\x91\xc1", "\x91\xd4\x01\x02"} {
				require.Error(t, Decode([]byte(in), func(d *Decoder) {
					f := d.Fields()
					read(&f)
				}), "%x", in)
			}
		})
	}
}

func TestErrorsStickAndEndsAreChecked(t *testing.T) {
	err := Decode([]byte{0x92, 0x01}, func(d *Decoder) {
		f := d.Fields()
		require.Equal(t, 0, f.left, "two elements do not fit one byte")
		require.ErrorIs(t, d.Err(), ErrShort)
		require.Zero(t, f.Uint64())
		require.Empty(t, d.String())
		require.False(t, d.Nil())
		d.Skip()
	})
	require.ErrorIs(t, err, ErrShort)
	require.ErrorIs(t, Decode([]byte{0x90, 0xc0}, func(d *Decoder) { d.Fields() }), ErrTrailing)
	require.ErrorIs(t, Decode(nil, func(d *Decoder) { d.Fields() }), io.ErrUnexpectedEOF)
}

func TestSkip(t *testing.T) {
	values := []any{
		nil, true, 1, -1, int64(math.MinInt64), uint64(math.MaxUint64), 1.5, float32(2), "text",
		strings.Repeat("long", 100), bytes.Repeat([]byte{1}, 70000), []any{1, []any{2, "x"}, nil},
		map[string]any{"a": []any{1, 2}, "b": map[string]any{"c": nil}},
		&msgpack.RawMessage{0xd4, 1, 2}, &msgpack.RawMessage{0xc7, 3, 1, 9, 9, 9},
	}
	for _, v := range values {
		in, err := msgpack.Marshal([]any{v, 42})
		require.NoError(t, err)
		require.NoError(t, Decode(in, func(d *Decoder) {
			f := d.Fields()
			require.True(t, f.Next())
			d.Skip()
			require.Equal(t, uint64(42), f.Uint64(), "after %v", v)
		}))
	}
}

// TestDepthCostsNothing would exhaust the stack of a recursive skip.
func TestDepthCostsNothing(t *testing.T) {
	defer debug.SetMaxStack(debug.SetMaxStack(16 << 20))
	for _, head := range []string{"\x91", "\x81\x01", "\xdc\x00\x01"} {
		deep := []byte(strings.Repeat(head, 1<<20/len(head)) + "\xc0")
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		require.NoError(t, Decode(append([]byte{0x91}, deep...), func(d *Decoder) {
			f := d.Fields()
			f.End()
		}))
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(3<<19), "one copy of the input, nothing else")
	}
}

func TestLists(t *testing.T) {
	read := func(d *Decoder, v *uint64) { *v = d.Uint(math.MaxUint64) }
	decode := func(in string, limit int) (got []uint64, err error) {
		err = Decode([]byte(in), func(d *Decoder) {
			f := d.Fields()
			got = List(&f, limit, read)
		})
		return got, err
	}
	got, err := decode("\x91\x93\x01\x02\x03", 3)
	require.NoError(t, err)
	require.Equal(t, []uint64{1, 2, 3}, got)
	_, err = decode("\x91\x93\x01\x02\x03", 2)
	require.ErrorIs(t, err, ErrTooMany)
	_, err = decode("\x91\xdd\xff\xff\xff\xff\x01", math.MaxInt32)
	require.ErrorIs(t, err, ErrShort)

	type big [4 << 10]byte
	err = Decode([]byte("\x91\x92\xc0\xc0"), func(d *Decoder) {
		f := d.Fields()
		List(&f, 9, func(d *Decoder, _ *big) { d.Skip() })
	})
	require.ErrorIs(t, err, ErrBudget)
}

func TestPooledDecoderKeepsNothing(t *testing.T) {
	in := []byte("\x91\xa3abc")
	var v []byte
	require.NoError(t, Decode(in, func(d *Decoder) {
		f := d.Fields()
		v = f.Bytes()
	}))
	in[2] = 'X'
	require.Equal(t, "abc", string(v))
}

// FuzzDecoder reads arbitrary input through every primitive and passes over it as a whole.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte("\x95\x01\xff\xa1x\xc4\x01y\xc3"))
	f.Add([]byte("\xdd\xff\xff\xff\xff"))
	f.Add([]byte("\xc6\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, in []byte) {
		whole := Decode(in, (*Decoder).Skip)
		parts := Decode(in, func(d *Decoder) {
			f := d.Fields()
			f.Uint64()
			f.Int()
			_ = f.String()
			f.Bytes()
			f.Bool()
			f.OptUint64()
			List(&f, 16, func(d *Decoder, s *string) { *s = d.String() })
			f.End()
		})
		if parts == nil && whole != nil {
			t.Fatalf("read field by field, but not as a whole: %v", whole)
		}
		if whole == nil && len(in) > 0 && len(in) < 64 {
			// The library refuses some keys of maps, but never finds the input too short.
			err := msgpack.NewDecoder(bytes.NewReader(in)).Skip()
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("passed over %x, the library did not: %v", in, err)
			}
		}
	})
}
