package batch

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/internal/golden"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var compressions = []Compression{None, Zstd, S2}

// sampleRecords has every shape of field: absent, empty, short, long, with headers.
func sampleRecords() []Record {
	return []Record{
		{Key: []byte("key"), Value: []byte("value"), Timestamp: 1_700_000_000_000},
		{Key: nil, Value: []byte{}, Timestamp: 1_700_000_000_500},
		{Key: []byte{}, Value: nil, Timestamp: 1_700_000_000_001},
		{
			Key:       []byte("k"),
			Value:     bytes.Repeat([]byte("compress me "), 40),
			Headers:   []HeaderField{{"trace", []byte{1, 2, 3}}, {"", nil}, {"trace", []byte{}}},
			Timestamp: -1,
		},
	}
}

func build(t require.TestingT, c Compression, base protocol.Sequence, records ...Record) []byte {
	b := NewBuilder(c)
	for _, r := range records {
		require.NoError(t, b.Add(r))
	}
	out, err := b.Build(nil, 0x1122334455667788, 9, base)
	require.NoError(t, err)
	return out
}

func readAll(t require.TestingT, b []byte, opts ReadOptions) []Record {
	it, err := Records(b, opts)
	require.NoError(t, err)
	var got []Record
	for r, ok := it.Next(); ok; r, ok = it.Next() {
		got = append(got, r)
	}
	require.NoError(t, it.Err())
	return got
}

func TestGolden(t *testing.T) {
	for _, c := range compressions {
		t.Run(c.String(), func(t *testing.T) {
			want := sampleRecords()
			b := build(t, c, 1000, want...)
			Stamp(b, 1<<40, 7, 1_700_000_001_000)
			h, err := Check(b, len(b))
			require.NoError(t, err)
			value, err := json.Marshal(want)
			require.NoError(t, err)
			head, err := json.Marshal(h)
			require.NoError(t, err)
			name := "batch-" + c.String()
			// Packed bytes may differ in another version of the packer; what they unpack to may not.
			if c == None || golden.Updating() {
				golden.Check(t, name, fmt.Sprintf("batch, compression %s\n%s\n%s", c, head, value), b)
			}
			vector := golden.Read(t, name)
			got, err := Check(vector, protocol.MaxBatchBytesLimit)
			require.NoError(t, err)
			h.Length = got.Length
			require.Equal(t, h, got)
			require.Equal(t, want, readAll(t, vector, ReadOptions{}))
		})
	}
}

func TestHeaderLayout(t *testing.T) {
	b := build(t, None, 56, Record{Timestamp: 64}, Record{Timestamp: 72})
	Stamp(b, 8, 16, 24)
	be := binary.BigEndian
	require.Equal(t, uint32(len(b)), be.Uint32(b))
	require.Equal(t, []byte{1, 0, 0, 0}, b[4:8])
	require.Equal(t, []uint64{8, 16, 24}, []uint64{be.Uint64(b[8:]), be.Uint64(b[16:]), be.Uint64(b[24:])})
	require.Equal(t, crc32.Checksum(b[:32], crc32.MakeTable(crc32.Castagnoli)), be.Uint32(b[32:]))
	require.Equal(t, crc32.Checksum(b[40:], crc32.MakeTable(crc32.Castagnoli)), be.Uint32(b[36:]))
	require.Equal(t, uint64(0x1122334455667788), be.Uint64(b[40:]))
	require.Equal(t, []uint32{9, 2}, []uint32{be.Uint32(b[48:]), be.Uint32(b[52:])})
	require.Equal(t, []uint64{56, 64, 72}, []uint64{be.Uint64(b[56:]), be.Uint64(b[64:]), be.Uint64(b[72:])})
	require.Equal(t, "\x94\xc0\xc0\xc0\x40\x94\xc0\xc0\xc0\x48", string(b[HeaderSize:]))

	h, err := ParseHeader(b)
	require.NoError(t, err)
	require.Equal(t, protocol.Offset(10), h.Next())
	require.Equal(t, protocol.Sequence(58), h.NextSequence())
}

// TestRoundTrip draws batches, packs and unpacks them, and cuts them out of a concatenation.
func TestRoundTrip(t *testing.T) {
	bytesOrNil := rapid.OneOf(rapid.Just([]byte(nil)), rapid.SliceOfN(rapid.Byte(), 0, 300))
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		var want [][]Record
		for range rapid.IntRange(1, 4).Draw(t, "batches") {
			builder := NewBuilder(rapid.SampledFrom(compressions).Draw(t, "compression"))
			var records []Record
			for range rapid.IntRange(1, 20).Draw(t, "records") {
				r := Record{
					Key: bytesOrNil.Draw(t, "key"), Value: bytesOrNil.Draw(t, "value"),
					Timestamp: rapid.Int64().Draw(t, "time"),
				}
				for range rapid.IntRange(0, 20).Draw(t, "headers") {
					r.Headers = append(r.Headers, HeaderField{rapid.String().Draw(t, "name"), bytesOrNil.Draw(t, "content")})
				}
				before := builder.Size()
				require.NoError(t, builder.Add(r))
				require.Equal(t, builder.Size()-before, EncodedSize(&r), "%+v", r)
				records = append(records, r)
			}
			require.Equal(t, len(records), builder.Len())
			start := len(stream)
			var err error
			stream, err = builder.Build(stream, 5, 6, 7)
			require.NoError(t, err)
			require.LessOrEqual(t, len(stream)-start, builder.Size(), "packing never makes it larger")
			want = append(want, records)
		}
		buffer := make([]byte, 1000)
		for len(stream) > 0 {
			first, rest, err := Split(stream)
			require.NoError(t, err)
			opts := ReadOptions{Checked: rapid.Bool().Draw(t, "checked")}
			if rapid.Bool().Draw(t, "buffer") {
				opts.Buffer = buffer
			}
			got := readAll(t, first, opts)
			require.Equal(t, want[0], got)
			h, err := Check(first, len(first))
			require.NoError(t, err)
			require.Equal(t, want[0][0].Timestamp, h.FirstTimestamp)
			for _, r := range want[0] {
				require.GreaterOrEqual(t, h.MaxTimestamp, r.Timestamp)
			}
			stream, want = rest, want[1:]
		}
		require.Empty(t, want)
	})
}

// TestRecordLayout reads records with the library, as a client in another language would.
func TestRecordLayout(t *testing.T) {
	b := build(t, None, 0, sampleRecords()...)
	d := msgpack.NewDecoder(bytes.NewReader(b[HeaderSize:]))
	for _, want := range sampleRecords() {
		var fields []any
		require.NoError(t, d.Decode(&fields))
		require.Len(t, fields, recordFields)
		var headers any
		if want.Headers != nil {
			var hs []any
			for _, h := range want.Headers {
				hs = append(hs, []any{h.Key, orNil(h.Value)})
			}
			headers = hs
		}
		require.EqualValues(t, []any{orNil(want.Key), orNil(want.Value), headers}, fields[:3])
		require.EqualValues(t, fmt.Sprint(want.Timestamp), fmt.Sprint(fields[3]))
	}
	_, err := d.PeekCode()
	require.Equal(t, io.EOF, err)
}

func orNil(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

// TestRecordsGrow reads records of a newer and of an older producer.
func TestRecordsGrow(t *testing.T) {
	payload := []byte("\x96\xc4\x01k\xc4\x01v\x91\x93\xa1h\xc4\x01x\x01\x05\x81\x01\x02\xc0" + "\x91\xc4\x01k")
	got := readAll(t, wrap(payload, None, 2), ReadOptions{})
	require.Equal(t, []Record{
		{Key: []byte("k"), Value: []byte("v"), Headers: []HeaderField{{"h", []byte("x")}}, Timestamp: 5},
		{Key: []byte("k")},
	}, got)
}

// wrap makes a batch with right checksums around any payload.
func wrap(payload []byte, c Compression, count uint32) []byte {
	b := append(make([]byte, HeaderSize), payload...)
	b[posVersion], b[posAttributes] = version, byte(c)
	binary.BigEndian.PutUint32(b[posCount:], count)
	return seal(b)
}

// seal makes the length and the checksums of b right.
func seal(b []byte) []byte {
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	binary.BigEndian.PutUint32(b[posBodyCRC:], crc32.Checksum(b[posProducer:], castagnoli))
	binary.BigEndian.PutUint32(b[posStampCRC:], crc32.Checksum(b[:posStampCRC], castagnoli))
	return b
}

// TestEveryBitCounts flips each bit of a batch: Check notices all of them.
func TestEveryBitCounts(t *testing.T) {
	b := build(t, S2, 3, sampleRecords()...)
	for i := range len(b) * 8 {
		b[i/8] ^= 1 << (i % 8)
		_, err := Check(b, len(b))
		require.Error(t, err, "bit %d", i)
		b[i/8] ^= 1 << (i % 8)
	}
	for n := range len(b) {
		_, err := Check(b[:n], len(b))
		require.Error(t, err, "cut at %d", n)
	}
	_, err := Check(append(b, 0), len(b)+1)
	require.ErrorIs(t, err, protocol.ErrCorruptBatch)
	_, err = Check(b, len(b)-1)
	require.ErrorIs(t, err, protocol.ErrBatchTooLarge)
	_, err = Check(b, len(b))
	require.NoError(t, err)
}

// TestStampKeepsTheBody checks that a stamp changes nothing but itself.
func TestStampKeepsTheBody(t *testing.T) {
	b := build(t, None, 3, sampleRecords()...)
	before := bytes.Clone(b)
	Stamp(b[:HeaderSize], math.MaxUint32, 5, -6)
	h, err := Check(b, len(b))
	require.NoError(t, err)
	require.Equal(t, protocol.Offset(math.MaxUint32), h.BaseOffset)
	require.Equal(t, protocol.Epoch(5), h.Epoch)
	require.Equal(t, int64(-6), h.AppendTime)
	require.Equal(t, before[:posBaseOffset], b[:posBaseOffset])
	require.Equal(t, before[posBodyCRC:], b[posBodyCRC:])
}

func TestRefusedHeaders(t *testing.T) {
	unsupported := &protocol.Error{Code: protocol.CodeUnsupported}
	put32, put64 := binary.BigEndian.PutUint32, binary.BigEndian.PutUint64
	cases := []struct {
		name   string
		change func([]byte)
		want   error
	}{
		{"version", func(b []byte) { b[posVersion] = 2 }, unsupported},
		{"attributes", func(b []byte) { b[posAttributes] = 4 }, unsupported},
		{"compression", func(b []byte) { b[posAttributes] = 3 }, unsupported},
		{"reserved", func(b []byte) { b[posReserved] = 1 }, unsupported},
		{"no records", func(b []byte) { put32(b[posCount:], 0) }, protocol.ErrCorruptBatch},
		{"many records", func(b []byte) { put32(b[posCount:], protocol.MaxBatchRecords+1) }, protocol.ErrCorruptBatch},
		{"sequence", func(b []byte) { put64(b[posBaseSequence:], math.MaxUint64) }, protocol.ErrCorruptBatch},
		{"offset", func(b []byte) { put64(b[posBaseOffset:], math.MaxUint64) }, protocol.ErrCorruptBatch},
		{"unpacked size", func(b []byte) {
			b[posAttributes] = byte(S2)
			binary.BigEndian.PutUint32(b[HeaderSize:], protocol.MaxBatchBytesLimit+1)
		}, protocol.ErrBatchTooLarge},
	}
	for _, c := range cases {
		b := build(t, None, 0, sampleRecords()...)
		c.change(b)
		_, err := Check(seal(b), len(b))
		require.ErrorIs(t, err, c.want, c.name)
	}
	for _, n := range []uint32{0, HeaderSize - 1, HeaderSize, protocol.MaxBatchBytesLimit + 1, math.MaxUint32} {
		b := build(t, None, 0, sampleRecords()...)
		binary.BigEndian.PutUint32(b, n)
		binary.BigEndian.PutUint32(b[posStampCRC:], crc32.Checksum(b[:posStampCRC], castagnoli))
		_, err := ParseHeader(b)
		require.Error(t, err, "length %d", n)
		_, _, err = Split(b)
		require.Error(t, err, "length %d", n)
	}
	b := build(t, None, 0, sampleRecords()...)
	_, _, err := Split(b[:len(b)-1])
	require.ErrorIs(t, err, protocol.ErrCorruptBatch)
}

// TestHostilePayloads have right checksums and wrong contents.
func TestHostilePayloads(t *testing.T) {
	records := func(n int) []byte { return bytes.Repeat([]byte("\x94\xc0\xc0\xc0\x01"), n) }
	manyHeaders := "\x94\xc0\xc0\xdc\x01\x01" + strings.Repeat("\x92\xa0\xc0", 257) + "\x01"
	sized := func(n int, packed []byte) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(n)), packed...)
	}
	cases := map[string][]byte{
		"fewer records than counted":  wrap(records(2), None, 3),
		"more records than counted":   wrap(records(2), None, 1),
		"not an array":                wrap([]byte("\xa5hello"), None, 1),
		"key of 4 GiB":                wrap([]byte("\x94\xc6\xff\xff\xff\xff"), None, 1),
		"record of 4 Gi fields":       wrap([]byte("\xdd\xff\xff\xff\xff\xc0\xc0"), None, 1),
		"headers, 4 Gi of them":       wrap([]byte("\x94\xc0\xc0\xdd\xff\xff\xff\xff\x01"), None, 1),
		"more headers than allowed":   wrap([]byte(manyHeaders), None, 1),
		"zstd: not zstd":              wrap(sized(100, []byte("nonsense")), Zstd, 1),
		"zstd: smaller than claimed":  wrap(sized(1000, pack(nil, Zstd, records(10))), Zstd, 10),
		"zstd: larger than claimed":   wrap(sized(10, pack(nil, Zstd, records(1000))), Zstd, 10),
		"zstd: 16 MiB behind a claim": wrap(sized(100, pack(nil, Zstd, make([]byte, 16<<20))), Zstd, 10),
		"s2: not s2":                  wrap(sized(100, []byte("\xff\xff\xff\xff\xff")), S2, 1),
		"s2: smaller than claimed":    wrap(sized(1000, pack(nil, S2, records(10))), S2, 10),
		"s2: larger than claimed":     wrap(sized(10, pack(nil, S2, records(1000))), S2, 10),
		"s2: 4 GiB in its own header": wrap(sized(100, []byte("\xff\xff\xff\xff\x0f")), S2, 1),
	}
	for name, b := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := Check(b, protocol.MaxBatchBytesLimit)
			require.NoError(t, err, "a broker does not look inside")
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err = drain(b)
			runtime.ReadMemStats(&after)
			require.ErrorIs(t, err, protocol.ErrCorruptBatch)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20), "mostly the decoder's own tables")
		})
	}
}

// drain reads all records of b and returns what stopped it.
func drain(b []byte) error {
	it, err := Records(b, ReadOptions{})
	if err != nil {
		return err
	}
	for _, ok := it.Next(); ok; _, ok = it.Next() {
	}
	if _, ok := it.Next(); ok {
		return io.ErrNoProgress // impossible: the end must stay the end
	}
	return it.Err()
}

func TestBuilderLimits(t *testing.T) {
	b := NewBuilder(None)
	_, err := b.Build(nil, 1, 1, 0)
	require.ErrorIs(t, err, protocol.ErrInvalidRequest)
	require.ErrorIs(t, b.Add(Record{Headers: make([]HeaderField, protocol.MaxRecordHeaders+1)}), protocol.ErrInvalidRequest)
	require.ErrorIs(t, b.Add(Record{Value: make([]byte, protocol.MaxBatchBytesLimit)}), protocol.ErrRecordTooLarge)
	require.Zero(t, b.Len())

	for range protocol.MaxBatchRecords {
		require.NoError(t, b.Add(Record{}))
	}
	require.ErrorIs(t, b.Add(Record{}), protocol.ErrBatchTooLarge)
	out, err := b.Build(nil, 1, 1, 0)
	require.NoError(t, err)
	require.Len(t, readAll(t, out, ReadOptions{}), protocol.MaxBatchRecords)

	b.Reset()
	require.Equal(t, HeaderSize, b.Size())
	fits := make([]byte, protocol.MaxBatchBytesLimit-HeaderSize-9)
	require.NoError(t, b.Add(Record{Value: fits}))
	require.Equal(t, protocol.MaxBatchBytesLimit, b.Size())
	require.ErrorIs(t, b.Add(Record{}), protocol.ErrBatchTooLarge)
	out, err = b.Build(nil, 1, 1, 0)
	require.NoError(t, err)
	require.NoError(t, drain(out))
}

func TestIncompressibleIsStored(t *testing.T) {
	for _, c := range compressions {
		b := build(t, c, 0, Record{Value: []byte("tiny")})
		h, err := Check(b, len(b))
		require.NoError(t, err)
		require.Equal(t, None, h.Compression)
	}
}

// TestBuilderReuse builds twice, with records added between, and again after Reset.
func TestBuilderReuse(t *testing.T) {
	for _, c := range compressions {
		b := NewBuilder(c)
		records := sampleRecords()
		require.NoError(t, b.Add(records[3]))
		one, err := b.Build([]byte("x"), 1, 2, 3)
		require.NoError(t, err)
		require.NoError(t, b.Add(records[0]))
		two, err := b.Build(nil, 1, 2, 3)
		require.NoError(t, err)
		require.Equal(t, records[3:], readAll(t, one[1:], ReadOptions{}))
		require.Equal(t, []Record{records[3], records[0]}, readAll(t, two, ReadOptions{}))
		b.Reset()
		require.NoError(t, b.Add(records[2]))
		three, err := b.Build(one[:0], 1, 2, 3)
		require.NoError(t, err)
		require.Equal(t, records[2:3], readAll(t, three, ReadOptions{}))
	}
}

func TestDoorAllocatesNothing(t *testing.T) {
	b := build(t, None, 0, sampleRecords()...)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, err := Check(b, len(b)); err != nil {
			t.Fatal(err)
		}
		Stamp(b, 1, 2, 3)
		if _, _, err := Split(b); err != nil {
			t.Fatal(err)
		}
	}))
}

func TestNames(t *testing.T) {
	require.Equal(t, "none zstd s2 compression(3)", fmt.Sprint(None, " ", Zstd, " ", S2, " ", Compression(3)))
}
