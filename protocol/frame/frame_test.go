package frame

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/internal/golden"
)

// allKinds are the kinds that exist.
func allKinds() []protocol.Kind {
	var ks []protocol.Kind
	for k := range 256 {
		if protocol.Kind(k).MaxBody() > 0 {
			ks = append(ks, protocol.Kind(k))
		}
	}
	return ks
}

func TestGolden(t *testing.T) {
	for _, k := range allKinds() {
		golden.Check(t, k.String(), fmt.Sprintf("frame of kind %d, %s, with the body 01 02 03", k, k),
			Append(nil, k, []byte{1, 2, 3}))
	}
	golden.Check(t, "empty-body", "frame of kind 6, metadata-subscribe, with an empty body",
		Append(nil, protocol.KindMetadataSubscribe, nil))
}

func TestHeader(t *testing.T) {
	for _, k := range allKinds() {
		for _, n := range []int{0, 1, k.MaxBody()} {
			h, err := ParseHeader(AppendHeader(nil, k, n))
			require.NoError(t, err)
			require.Equal(t, Header{Kind: k, Length: n}, h)
		}
		_, err := ParseHeader(AppendHeader(nil, k, k.MaxBody()+1))
		requireCode(t, protocol.CodeFrameTooLarge, err)
	}
	_, err := ParseHeader([]byte{0, 0, 0, 0, 200, 0, 0, 0})
	requireCode(t, protocol.CodeUnexpectedFrame, err)
	_, err = ParseHeader(make([]byte, HeaderSize-1))
	requireCode(t, protocol.CodeInvalidRequest, err)
	h, err := ParseHeader([]byte{0, 0, 0, 1, byte(protocol.KindPing), 0xff, 0xff, 0xff})
	require.NoError(t, err, "flags and reserved bytes are for later versions")
	require.Equal(t, Header{Kind: protocol.KindPing, Length: 1}, h)
}

func TestBeginEnd(t *testing.T) {
	dst := []byte("before")
	start := len(dst)
	dst = End(append(Begin(dst, protocol.KindAck), "body"...), start)
	require.Equal(t, append([]byte("before"), Append(nil, protocol.KindAck, []byte("body"))...), dst)
}

// TestReader reads random frames, in random pieces, by both methods.
func TestReader(t *testing.T) {
	kinds := allKinds()
	rapid.Check(t, func(t *rapid.T) {
		type sent struct {
			kind protocol.Kind
			body []byte
		}
		var want []sent
		var stream []byte
		for range rapid.IntRange(0, 30).Draw(t, "frames") {
			k := rapid.SampledFrom(kinds).Draw(t, "kind")
			size := rapid.SampledFrom([]int{0, 1, 30, 200, 1000, 5000, 70_000, 600_000}).Draw(t, "size")
			body := bytes.Repeat([]byte{byte(len(want) + 1)}, min(size, k.MaxBody()))
			want = append(want, sent{k, body})
			stream = Append(stream, k, body)
		}
		src := &pieces{data: stream, t: t}
		r := NewReader(src)
		for i, w := range want {
			read := r.Next
			if rapid.Bool().Draw(t, "owned") {
				read = r.NextOwned
			}
			k, body, err := read()
			require.NoError(t, err, "frame %d", i)
			require.Equal(t, w.kind, k)
			require.True(t, bytes.Equal(w.body, body), "frame %d", i)
		}
		_, _, err := r.Next()
		require.Equal(t, io.EOF, err)
	})
}

// pieces is a reader that returns random parts of data.
type pieces struct {
	data []byte
	t    *rapid.T
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := min(len(b), len(p.data), rapid.SampledFrom([]int{1, 7, 8, 100, 4096, 1 << 20}).Draw(p.t, "piece"))
	copy(b, p.data[:n])
	p.data = p.data[n:]
	if len(p.data) == 0 {
		return n, io.EOF // data and end together
	}
	return n, nil
}

func TestReaderEnds(t *testing.T) {
	whole := Append(nil, protocol.KindAck, []byte("0123456789"))
	for cut := range len(whole) {
		for _, owned := range []bool{false, true} {
			r := NewReader(iotest.OneByteReader(bytes.NewReader(whole[:cut])))
			read := r.Next
			if owned {
				read = r.NextOwned
			}
			_, _, err := read()
			want := io.ErrUnexpectedEOF
			if cut == 0 {
				want = io.EOF
			}
			require.Equal(t, want, err, "cut at %d", cut)
			_, _, err = r.Next()
			require.Equal(t, want, err, "the error stays")
		}
	}
}

func TestReaderKeepsTheSourcesError(t *testing.T) {
	cause := errors.New("stream was reset")
	r := NewReader(io.MultiReader(bytes.NewReader(Append(nil, protocol.KindAck, nil)), iotest.ErrReader(cause)))
	_, _, err := r.Next()
	require.NoError(t, err)
	_, _, err = r.Next()
	require.ErrorIs(t, err, cause)
}

func TestReaderGivesUpOnAnIdleSource(t *testing.T) {
	r := NewReader(idle{})
	_, _, err := r.Next()
	require.ErrorIs(t, err, io.ErrNoProgress)
}

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

func TestSetLimit(t *testing.T) {
	stream := Append(Append(nil, protocol.KindProduce, make([]byte, 100)), protocol.KindProduce, make([]byte, 101))
	r := NewReader(bytes.NewReader(stream))
	r.SetLimit(protocol.KindProduce, 100)
	_, _, err := r.Next()
	require.NoError(t, err)
	_, _, err = r.Next()
	requireCode(t, protocol.CodeFrameTooLarge, err)
	_, _, err = r.Next()
	requireCode(t, protocol.CodeFrameTooLarge, err)
}

// TestOnly: a frame of a kind that may not come is refused by its header; its body is not waited for.
func TestOnly(t *testing.T) {
	stream := Append(Append(nil, protocol.KindAck, []byte("a")), protocol.KindCredit, []byte("c"))
	for _, owned := range []bool{false, true} {
		body := AppendHeader(nil, protocol.KindDeliver, protocol.MaxDeliverBytes)
		r := NewReader(bytes.NewReader(append(bytes.Clone(stream), body...)))
		r.Only(protocol.KindCredit, protocol.KindAck)
		read := r.Next
		if owned {
			read = r.NextOwned
		}
		for _, want := range []protocol.Kind{protocol.KindAck, protocol.KindCredit} {
			k, _, err := read()
			require.NoError(t, err)
			require.Equal(t, want, k)
		}
		_, _, err := read()
		requireCode(t, protocol.CodeUnexpectedFrame, err)
		_, _, err = read()
		requireCode(t, protocol.CodeUnexpectedFrame, err)
	}
}

// TestClaimsCostNothing checks that memory follows what arrived and not what a header claims.
func TestClaimsCostNothing(t *testing.T) {
	claim := append(AppendHeader(nil, protocol.KindProduce, protocol.MaxBatchBytesLimit), make([]byte, 100)...)
	for _, owned := range []bool{false, true} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r := NewReader(bytes.NewReader(claim))
		read := r.Next
		if owned {
			read = r.NextOwned
		}
		_, _, err := read()
		runtime.ReadMemStats(&after)
		require.Equal(t, io.ErrUnexpectedEOF, err)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(2*eagerBytes))
	}
}

func TestLargestFrame(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), protocol.MaxBatchBytesLimit/16)
	stream := Append(Append(nil, protocol.KindProduce, body), protocol.KindProduce, body)
	r := NewReader(bytes.NewReader(stream))
	_, got, err := r.Next()
	require.NoError(t, err)
	require.True(t, bytes.Equal(body, got))
	_, got, err = r.NextOwned()
	require.NoError(t, err)
	require.True(t, bytes.Equal(body, got))
	require.Equal(t, smallBuffer, len(r.buf), "a huge buffer lives for one frame")
}

func TestBufferShrinks(t *testing.T) {
	stream := Append(nil, protocol.KindDeliver, make([]byte, 100<<10))
	for range shrinkAfter + 1 {
		stream = Append(stream, protocol.KindAck, make([]byte, 100))
	}
	r := NewReader(bytes.NewReader(stream))
	_, _, err := r.Next()
	require.NoError(t, err)
	require.Greater(t, len(r.buf), smallBuffer)
	for range shrinkAfter {
		_, _, err := r.Next()
		require.NoError(t, err)
	}
	require.Greater(t, len(r.buf), smallBuffer)
	_, _, err = r.Next()
	require.NoError(t, err)
	require.Equal(t, smallBuffer, len(r.buf))
}

func TestNextAllocatesNothing(t *testing.T) {
	stream := Append(nil, protocol.KindAck, make([]byte, 20))
	src := bytes.NewReader(nil)
	r := NewReader(src)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		src.Reset(stream)
		if _, _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}))
}

func requireCode(t *testing.T, want protocol.Code, err error) {
	t.Helper()
	var pe *protocol.Error
	require.ErrorAs(t, err, &pe)
	require.Equal(t, want, pe.Code, err)
}

// FuzzFrame checks that what a Reader accepts is what it was sent, byte by byte or at once.
func FuzzFrame(f *testing.F) {
	f.Add(Append(Append(nil, protocol.KindPing, []byte("x")), protocol.KindProduce, make([]byte, 100)))
	f.Add(AppendHeader(nil, protocol.KindProduce, protocol.MaxBatchBytesLimit))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		fast, slow := NewReader(bytes.NewReader(in)), NewReader(iotest.OneByteReader(bytes.NewReader(in)))
		for rest := in; ; {
			k, body, err := fast.Next()
			k2, body2, err2 := slow.NextOwned()
			if fmt.Sprint(err) != fmt.Sprint(err2) || k != k2 || !bytes.Equal(body, body2) {
				t.Fatalf("readers differ: %v %x %v, %v %x %v", k, body, err, k2, body2, err2)
			}
			if err != nil {
				if errors.Is(err, io.EOF) && len(rest) > 0 {
					t.Fatalf("%d bytes were lost", len(rest))
				}
				return
			}
			n := HeaderSize + len(body)
			again := Append(nil, k, body)
			copy(again[5:HeaderSize], rest[5:HeaderSize]) // flags and reserved bytes are not kept
			if !bytes.Equal(again, rest[:n]) {
				t.Fatalf("read %x, the stream had %x", again, rest[:n])
			}
			rest = rest[n:]
		}
	})
}
