package archive

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/protocol"
)

var testHeader = fileHeader{export: 0x0102030405060708, partition: 9}

// TestLayout pins the bytes of both headers: exports must stay readable.
func TestLayout(t *testing.T) {
	require.Equal(t, "544c504152540001"+"0102030405060708"+"00000009", hex.EncodeToString(testHeader.append(nil)[:20]))
	h := chunkHeader{packing: zstdPacked, stored: 0x10, length: 0x20, records: 3, first: 0x1122, crc: 0xaabbccdd}
	require.Equal(t, "43484b01"+"00000010"+"00000020"+"00000003"+"0000000000001122"+"aabbccdd", hex.EncodeToString(h.append(nil)[:28]))
	got, err := parseChunkHeader(h.append(nil))
	require.NoError(t, err)
	require.Equal(t, h, got)
}

// TestSealedFilesCanBeReadAgain: one that would be above the bound is not written, and what was there stays.
func TestSealedFilesCanBeReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "backup")
	backup := func(cursors int) *ClusterBackup {
		b := &ClusterBackup{Topics: []TopicBackup{{}}}
		for i := range cursors {
			b.Topics[0].Subscriptions = append(b.Topics[0].Subscriptions, Cursor{Subscription: "billing", Offset: protocol.Offset(i)})
		}
		return b
	}
	require.NoError(t, writeSealed(file, clusterFormat, backup(100)))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Less(t, len(text), 100*65, "without indentation")

	require.NoError(t, writeBounded(file, clusterFormat, backup(100), len(text)))
	require.ErrorIs(t, writeBounded(file, clusterFormat, backup(101), len(text)), ErrTooLarge)
	left, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*"))
	require.NoError(t, err)
	require.Equal(t, []string{file}, left)
	var got ClusterBackup
	require.NoError(t, readBounded(file, clusterFormat, &got, len(text)))
	require.Len(t, got.Topics[0].Subscriptions, 100)
	require.ErrorIs(t, readBounded(file, clusterFormat, &got, len(text)-1), ErrTooLarge)

	var indented bytes.Buffer
	require.NoError(t, json.Indent(&indented, text, "", "  "))
	require.NoError(t, os.WriteFile(file, indented.Bytes(), 0o600))
	require.NoError(t, readSealed(file, clusterFormat, &got), "white space does not count")
}

// written is a random file: what was added, and the bytes of it.
type written struct {
	path    string
	batches [][]byte
	next    protocol.Offset
}

func write(t *rapid.T, dir string) *written {
	f := &written{path: filepath.Join(dir, "f")}
	require.NoError(t, os.RemoveAll(f.path))
	f.next = protocol.Offset(rapid.Uint64Range(0, 1000).Draw(t, "start"))
	w, err := openWriter(f.path, testHeader, f.next, rapid.Bool().Draw(t, "pack"))
	require.NoError(t, err)
	f.extend(t, w)
	return f
}

// extend adds some batches, with gaps and chunks that end early, and closes w.
func (f *written) extend(t *rapid.T, w *writer) {
	w.fill = 4000
	for range rapid.IntRange(1, 12).Draw(t, "batches") {
		f.next += protocol.Offset(rapid.SampledFrom([]uint64{0, 0, 0, 1, 50}).Draw(t, "gap"))
		h, b := sealedBatch(t, f.next, rapid.IntRange(1, 5).Draw(t, "records"), rapid.SampledFrom([]int{0, 10, 700, 5000}).Draw(t, "bytes"))
		require.NoError(t, w.add(&h, b))
		if rapid.IntRange(0, 3).Draw(t, "flush") == 0 {
			require.NoError(t, w.flush())
		}
		f.batches = append(f.batches, b)
		f.next = h.Next()
	}
	require.NoError(t, w.close())
}

func readAll(path string, r io.Reader) (batches [][]byte, err error) {
	in, err := newReader(path, r, testHeader)
	for err == nil {
		var c *chunk
		if c, err = in.chunk(); err == nil {
			batches = append(batches, c.batches...)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return batches, err
}

// TestWrittenIsRead: what was added is read, byte for byte, also after the file was cut anywhere and continued.
func TestWrittenIsRead(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		f := write(t, dir)
		text, err := os.ReadFile(f.path)
		require.NoError(t, err)
		got, err := readAll(f.path, bytes.NewReader(text))
		require.NoError(t, err)
		require.Equal(t, f.batches, got)

		cut := rapid.IntRange(0, len(text)).Draw(t, "cut")
		require.NoError(t, os.Truncate(f.path, int64(cut)))
		w, err := openWriter(f.path, testHeader, 0, false)
		require.NoError(t, err)
		for _, b := range f.batches { // all of them again: those that are there are passed over
			h, err := checkBatch(b)
			require.NoError(t, err)
			require.NoError(t, w.add(&h, b))
		}
		f.extend(t, w)
		text, err = os.ReadFile(f.path)
		require.NoError(t, err)
		got, err = readAll(f.path, bytes.NewReader(text))
		require.NoError(t, err)
		require.Equal(t, f.batches, got)
	})
}

// TestEveryFlippedBitIsFound, and the place that is named is at the bit or before it, in the same part of the file.
func TestEveryFlippedBitIsFound(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		f := write(t, dir)
		text, err := os.ReadFile(f.path)
		require.NoError(t, err)
		at := rapid.IntRange(0, len(text)-1).Draw(t, "byte")
		text[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		_, err = readAll(f.path, bytes.NewReader(text))
		var damage *DamageError
		require.ErrorAs(t, err, &damage)
		require.Equal(t, f.path, damage.File)
		require.LessOrEqual(t, damage.Byte, int64(at))
		require.Less(t, int64(at)-damage.Byte, int64(chunkHeaderSize+maxChunkBytes))
	})
}

// FuzzRead: no bytes make the reader panic, or hand out a batch that is not one; what it takes, the writer writes again.
func FuzzRead(f *testing.F) {
	h := testHeader.append(nil)
	f.Add(h)
	for _, pack := range []bool{false, true} {
		path := filepath.Join(f.TempDir(), "f")
		w, err := openWriter(path, testHeader, 40, pack)
		require.NoError(f, err)
		for _, first := range []protocol.Offset{40, 43, 100} {
			bh, b := sealedBatch(f, first, 3, 20)
			require.NoError(f, w.add(&bh, b))
		}
		require.NoError(f, w.close())
		text, err := os.ReadFile(path)
		require.NoError(f, err)
		f.Add(text)
		f.Add(text[:len(text)-5])
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		batches, err := readAll("f", bytes.NewReader(text))
		var damage *DamageError
		if err != nil {
			require.ErrorAs(t, err, &damage)
			require.LessOrEqual(t, damage.Byte, int64(len(text)))
		}
		if len(batches) == 0 {
			return
		}
		path := filepath.Join(t.TempDir(), "f")
		w, err := openWriter(path, testHeader, 0, false)
		require.NoError(t, err)
		for _, b := range batches {
			h, err := checkBatch(b)
			require.NoError(t, err)
			require.NoError(t, w.add(&h, b))
		}
		require.NoError(t, w.flush())
		require.NoError(t, w.f.Close()) // without the fsync of close
		again, err := os.ReadFile(path)
		require.NoError(t, err)
		got, err := readAll(path, bytes.NewReader(again))
		require.NoError(t, err)
		require.Equal(t, batches, got)
	})
}
