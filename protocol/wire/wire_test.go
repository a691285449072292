package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/internal/mpack"
)

// TestRoundTrip draws random messages of every type.
func TestRoundTrip(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				want := s.fresh()
				v := reflect.ValueOf(want).Elem()
				if s.kind == protocol.KindRequest || s.kind == protocol.KindResponse {
					i := rapid.IntRange(0, v.NumField()-1).Draw(t, "variant")
					v.Field(i).Set(reflect.New(v.Field(i).Type().Elem()))
					draw(t, v.Field(i).Elem())
				} else {
					draw(t, v)
				}
				prefix := []byte("prefix")
				b := want.Append(prefix)
				require.Equal(t, "prefix", string(b[:len(prefix)]))
				got := s.fresh()
				require.NoError(t, got.Decode(b[len(prefix):]))
				require.Equal(t, want, got)
			})
		})
	}
}

// draw sets v to a random value; empty slices stay nil.
func draw(t *rapid.T, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			draw(t, v.Field(i))
		}
	case reflect.Pointer:
		if rapid.Bool().Draw(t, "set") {
			v.Set(reflect.New(v.Type().Elem()))
			draw(t, v.Elem())
		}
	case reflect.Slice:
		n := rapid.IntRange(0, 3).Draw(t, "len")
		if n == 0 {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			draw(t, v.Index(i))
		}
	case reflect.String:
		v.SetString(rapid.StringN(0, 40, 160).Draw(t, "text"))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	default:
		v.SetUint(rapid.Uint64().Draw(t, "n") >> rapid.IntRange(64-v.Type().Bits(), 63).Draw(t, "shift"))
	}
}

// TestNewerPeer adds fields that this version does not know behind every array of every message.
func TestNewerPeer(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			b := extend(t, s.value.Append(nil), reflect.ValueOf(s.value).Elem())
			got := s.fresh()
			require.NoError(t, got.Decode(b))
			require.Equal(t, s.value, got)
		})
	}
}

// extend re-encodes a message with two more fields behind its own, and nested ones likewise.
func extend(t *testing.T, b []byte, v reflect.Value) []byte {
	t.Helper()
	var values []any
	d := msgpack.NewDecoder(bytes.NewReader(b))
	n, err := d.DecodeArrayLen()
	require.NoError(t, err)
	union := v.Type() == reflect.TypeFor[Request]() || v.Type() == reflect.TypeFor[Response]()
	for i := range n {
		raw, err := d.DecodeRaw()
		require.NoError(t, err)
		value := []byte(raw)
		switch {
		case union && i == 1:
			for j := range v.NumField() {
				if !v.Field(j).IsNil() {
					value = extend(t, raw, v.Field(j).Elem())
				}
			}
		case !union && v.Field(i).Kind() == reflect.Struct:
			value = extend(t, raw, v.Field(i))
		case !union && v.Field(i).Kind() == reflect.Slice && v.Field(i).Type().Elem().Kind() == reflect.Struct:
			value = extendList(t, raw, v.Field(i))
		}
		values = append(values, msgpack.RawMessage(value))
	}
	extension := &msgpack.RawMessage{0xd4, 1, 2}
	values = append(values, map[string]any{"new": []any{1, nil, "x"}}, []any{[]any{}, 1.5, extension})
	out, err := msgpack.Marshal(values)
	require.NoError(t, err)
	return out
}

func extendList(t *testing.T, b []byte, v reflect.Value) []byte {
	t.Helper()
	var elems []any
	d := msgpack.NewDecoder(bytes.NewReader(b))
	n, err := d.DecodeArrayLen()
	require.NoError(t, err)
	for i := range n {
		raw, err := d.DecodeRaw()
		require.NoError(t, err)
		elems = append(elems, msgpack.RawMessage(extend(t, raw, v.Index(i))))
	}
	out, err := msgpack.Marshal(elems)
	require.NoError(t, err)
	return out
}

// TestOlderPeer drops fields from the end: they read as zero.
func TestOlderPeer(t *testing.T) {
	for _, s := range bodies() {
		fill(reflect.ValueOf(s.value).Elem(), "", new(int))
		fields := reflect.TypeOf(s.value).Elem().NumField()
		for keep := range fields {
			var raws []any
			d := msgpack.NewDecoder(bytes.NewReader(s.value.Append(nil)))
			_, err := d.DecodeArrayLen()
			require.NoError(t, err)
			want := s.fresh()
			for i := range keep {
				raw, err := d.DecodeRaw()
				require.NoError(t, err)
				raws = append(raws, raw)
				reflect.ValueOf(want).Elem().Field(i).Set(reflect.ValueOf(s.value).Elem().Field(i))
			}
			b, err := msgpack.Marshal(append([]any{}, raws...))
			require.NoError(t, err)
			got := s.fresh()
			fill(reflect.ValueOf(got).Elem(), "", new(int)) // what was there before does not shine through
			require.NoError(t, got.Decode(b), "%s with %d fields", s.name, keep)
			require.Equal(t, want, got, "%s with %d fields", s.name, keep)
		}
	}
}

// TestHostileLengths puts claims of 4 Gi elements and bytes at every position of every message and
// measures what decoding allocates.
func TestHostileLengths(t *testing.T) {
	claims := []string{
		"\xc6\xff\xff\xff\xff", "\xdb\xff\xff\xff\xff", "\xdd\xff\xff\xff\xff", "\xdf\xff\xff\xff\xff",
		"\xc9\xff\xff\xff\xff\x01", "\xdd\x00\x00\x00\x20", "\xdc\xff\xff", "\xc5\xff\xff",
	}
	for _, s := range samples() {
		whole := s.value.Append(nil)
		for _, claim := range claims {
			m := s.fresh()
			for i := range whole {
				in := append(append(bytes.Clone(whole[:i]), claim...), whole[i:]...)
				var before, after runtime.MemStats
				if i%8 == 0 { // reading the statistics stops the world
					runtime.ReadMemStats(&before)
				}
				_ = m.Decode(in)
				if i%8 == 0 {
					runtime.ReadMemStats(&after)
					require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(bound(in)), "%s: %x", s.name, in)
				}
			}
		}
	}
}

// bound is the most that decoding in may allocate: the budget, copies of strings, an error.
func bound(in []byte) int { return (mpack.AllocFactor+1)*len(in) + 8<<10 }

// TestManySmallElements claims what really is there, in the smallest encoding that decodes.
func TestManySmallElements(t *testing.T) {
	const n = 100_000
	head := append([]byte{0xdd}, 0, 1, 0x86, 0xa0)
	list := append(head, bytes.Repeat([]byte{0xc0}, n)...)
	for name, in := range map[string][]byte{
		"brokers": append([]byte{0x92, 1}, list...),
		"topics":  append([]byte{0x93, 1, 0xc0}, list...),
	} {
		var m Metadata
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := m.Decode(in)
		runtime.ReadMemStats(&after)
		require.ErrorIs(t, err, protocol.ErrInvalidRequest, name)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(bound(in)), name)
	}
}

func TestLimits(t *testing.T) {
	h := Hello{Features: make([]string, maxFeatures)}
	require.NoError(t, new(Hello).Decode(h.Append(nil)))
	h.Features = make([]string, maxFeatures+1)
	require.ErrorIs(t, new(Hello).Decode(h.Append(nil)), protocol.ErrInvalidRequest)

	// The largest fields of a small frame still fit its cap.
	ack := ProduceAck{
		BaseSequence: 1<<64 - 1, Count: 1<<32 - 1, BaseOffset: 1<<64 - 1, Epoch: 1<<64 - 1, Duplicate: true,
		Code: 1<<16 - 1, Message: strings.Repeat("\u00e9", 5000), Leader: 1<<64 - 1,
	}
	b := ack.Append(nil)
	require.LessOrEqual(t, len(b), protocol.KindProduceAck.MaxBody())
	require.NoError(t, ack.Decode(b))
	require.True(t, utf8.ValidString(ack.Message))
	require.Len(t, ack.Message, maxAckText)
	require.Len(t, cut("a"+ack.Message, maxAckText), maxAckText-1, "characters stay whole")

	e := Error{Message: strings.Repeat("x", 1<<20)}
	require.LessOrEqual(t, len(e.Append(nil)), protocol.KindError.MaxBody())
	g := GoAway{Reason: e.Message}
	require.LessOrEqual(t, len(g.Append(nil)), protocol.KindGoAway.MaxBody())

	c := LeaderChange{Leaders: make([]Leader, MaxLeaders)}
	for i := range c.Leaders {
		c.Leaders[i] = Leader{1<<64 - 1, 1<<32 - 1, 1<<64 - 1, 1<<64 - 1}
	}
	require.LessOrEqual(t, len(c.Append(nil)), protocol.KindLeaderChange.MaxBody())

	p := Ping{Payload: make([]byte, protocol.MaxPingBytes-8)}
	require.LessOrEqual(t, len(p.Append(nil)), protocol.KindPing.MaxBody())
}

func TestUnions(t *testing.T) {
	var q Request
	require.ErrorIs(t, q.Decode(q.Append(nil)), &protocol.Error{Code: protocol.CodeUnsupported}, "nothing is set")
	require.ErrorIs(t, q.Decode([]byte{0x92, 99, 0x91, 1}), &protocol.Error{Code: protocol.CodeUnsupported})
	require.ErrorIs(t, q.Decode([]byte{0x92, tagMetadata, 0xc0}), protocol.ErrInvalidRequest, "no body")
	require.ErrorIs(t, q.Decode([]byte{0x91, tagMetadata}), protocol.ErrInvalidRequest, "no body")
	require.ErrorIs(t, q.Decode([]byte{0x90}), protocol.ErrInvalidRequest)
	require.ErrorIs(t, q.Decode(nil), protocol.ErrInvalidRequest)
	require.NoError(t, q.Decode([]byte{0x92, tagMetadata, 0x90}))
	require.Equal(t, Request{Metadata: &MetadataRequest{}}, q)

	var r Response
	require.ErrorIs(t, r.Decode(r.Append(nil)), &protocol.Error{Code: protocol.CodeUnsupported})
	require.NoError(t, r.Decode((&Response{Error: &Error{Code: 1}}).Append(nil)))
	require.Equal(t, protocol.CodeNotLeader, r.Error.Code)
}

func TestErrorFrom(t *testing.T) {
	pe := &protocol.Error{Code: protocol.CodeNotLeader, Message: "led by 2", Leader: 2, Epoch: 9}
	require.Equal(t, Error{Code: protocol.CodeNotLeader, Message: "led by 2", Leader: 2, Epoch: 9}, ErrorFrom(pe))
	e := ErrorFrom(fmt.Errorf("open: %w", pe))
	require.Equal(t, Error{Code: protocol.CodeNotLeader, Message: "open: not_leader: led by 2", Leader: 2, Epoch: 9}, e)
	require.Equal(t, *pe, *(&Error{pe.Code, pe.Message, pe.Leader, pe.Epoch}).Err())
	require.Equal(t, protocol.CodeInternal, ErrorFrom(errors.New("odd")).Code)
	require.Equal(t, protocol.CodeTimeout, ErrorFrom(fmt.Errorf("wait: %w", context.DeadlineExceeded)).Code)
}

// TestHotPathsAllocateNothing covers what is written and read for every batch and acknowledgement.
func TestHotPathsAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops entries under the race detector")
	}
	buf := make([]byte, 0, 4096)
	ackBytes := (&Ack{Activation: 1, Offset: 1 << 40}).Append(nil)
	paths := map[string]func(){
		"ProduceAck": func() {
			m := ProduceAck{BaseSequence: 1 << 40, Count: 100, BaseOffset: 1 << 50, Epoch: 3}
			buf = frame.End(m.Append(frame.Begin(buf[:0], protocol.KindProduceAck)), 0)
		},
		"Ack": func() {
			m := Ack{Activation: 3, Offset: 1 << 40}
			buf = frame.End(m.Append(frame.Begin(buf[:0], protocol.KindAck)), 0)
		},
		"AckOK": func() {
			m := AckOK{Activation: 3, Offset: 1 << 40}
			buf = frame.End(m.Append(frame.Begin(buf[:0], protocol.KindAckOK)), 0)
		},
		"Credit": func() {
			m := Credit{Bytes: 1 << 20}
			buf = frame.End(m.Append(frame.Begin(buf[:0], protocol.KindCredit)), 0)
		},
		"Deliver": func() {
			b := AppendDeliverHeader(frame.Begin(buf[:0], protocol.KindDeliver), DeliverHeader{3, 1 << 40})
			buf = frame.End(append(b, ackBytes...), 0)
		},
		"decode Ack": func() {
			var m Ack
			if err := m.Decode(ackBytes); err != nil {
				panic(err)
			}
		},
	}
	for name, f := range paths {
		require.Zero(t, testing.AllocsPerRun(200, f), name)
	}
}

// FuzzWire decodes arbitrary input as each of the messages: no panic, bounded memory, and what was
// accepted encodes to something that decodes the same.
func FuzzWire(f *testing.F) {
	table := samples()
	for i, s := range table {
		f.Add(uint8(i), s.value.Append(nil))
	}
	f.Add(uint8(6), []byte("\x93\x01\x90\xdd\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, which uint8, in []byte) {
		s := table[int(which)%len(table)]
		m := s.fresh()
		if err := m.Decode(in); err != nil {
			var pe *protocol.Error
			if !errors.As(err, &pe) {
				t.Fatalf("%s: an error without a code: %v", s.name, err)
			}
			return
		}
		if got := memory(reflect.ValueOf(m).Elem()); got > bound(in) {
			t.Fatalf("%s: %d bytes in memory from %d", s.name, got, len(in))
		}
		again := s.fresh()
		b := m.Append(nil)
		if err := again.Decode(b); err != nil {
			t.Fatalf("%s: decode what was encoded: %v", s.name, err)
		}
		if twice := again.Append(nil); !bytes.Equal(b, twice) {
			t.Fatalf("%s: %x encodes again as %x", s.name, b, twice)
		}
	})
}

// memory is what v holds beyond itself.
func memory(v reflect.Value) int {
	n := 0
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			n += memory(v.Field(i))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			n = int(v.Type().Elem().Size()) + memory(v.Elem())
		}
	case reflect.Slice:
		n = v.Len() * int(v.Type().Elem().Size())
		for i := range v.Len() {
			n += memory(v.Index(i))
		}
	case reflect.String:
		n = v.Len()
	}
	return n
}

func BenchmarkProduceAck(b *testing.B) {
	m := ProduceAck{BaseSequence: 1 << 40, Count: 100, BaseOffset: 1 << 50, Epoch: 3}
	buf := m.Append(nil)
	b.Run("append", func(b *testing.B) {
		for b.Loop() {
			buf = m.Append(buf[:0])
		}
	})
	b.Run("decode", func(b *testing.B) {
		for b.Loop() {
			if err := m.Decode(buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}
