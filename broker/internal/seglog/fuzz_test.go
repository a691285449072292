package seglog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// fuzzKeep is the checkpoint of the log that FuzzRecovery damages: everything below it is synced.
const fuzzKeep = protocol.Offset(100)

// mutation is 6 bytes of fuzz input: which file, what, where, with what.
type mutation struct {
	file, op byte
	at, arg  uint16
}

func parseMutations(b []byte) []mutation {
	var out []mutation
	for ; len(b) >= 6 && len(out) < 16; b = b[6:] {
		out = append(out, mutation{b[0], b[1], binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint16(b[4:])})
	}
	return out
}

// apply changes data and returns it, and the first position that may differ.
func (m mutation) apply(data []byte) ([]byte, int) {
	at := 0
	if len(data) > 0 {
		at = int(m.at) % len(data)
	}
	end := min(len(data), at+int(m.arg))
	switch m.op % 6 {
	case 0:
		if len(data) > 0 {
			data[at] ^= byte(m.arg>>8) | byte(m.arg) | 1
		}
	case 1:
		return data[:at], at
	case 2:
		clear(data[at:end])
	case 3:
		at = len(data)
		data = append(data, make([]byte, m.arg%3000)...)
	case 4:
		return slices.Delete(data, at, end), at
	case 5:
		return slices.Insert(data, at, slices.Clone(data[at:end])...), at
	}
	return data, at
}

// FuzzRecovery damages the files of a log and opens it. It must open or report a CorruptionError, never panic.
// Whatever it gives afterwards is what was written; and when no batch below the checkpoint was touched it gives all
// of them.
func FuzzRecovery(f *testing.F) {
	base := newDir(f)
	l := create(f, base, 0, Options{SegmentBytes: 3600, IndexEveryBytes: 1500})
	var batches []modelBatch
	for range 12 {
		from := l.Next()
		raw := add(f, l, 10, 1000, int64(from))
		batches = append(batches, modelBatch{base: from, next: l.Next(), raw: raw})
	}
	require.NoError(f, l.Sync())
	keptBytes := len(batches[0].raw) // of the last segment, which begins at 90
	f.Add(true, []byte{})
	for op := range byte(6) {
		for file := range byte(9) {
			f.Add(op%2 == 0, []byte{file, op, 0, 100, 0, 50, file + 1, op, 9, 0, 0, 3})
		}
	}
	f.Fuzz(func(t *testing.T, all bool, input []byte) {
		m := base.CrashClone(nil)
		intact := damageFiles(t, m, parseMutations(input), keptBytes)
		keep := fuzzKeep
		if all {
			keep = All
		}
		log, err := Open(m, testDir, keep, noCache)
		var damage *CorruptionError
		if err != nil {
			require.ErrorAs(t, err, &damage)
			require.False(t, intact, "%v", err)
			return
		}
		defer log.Close()
		if all {
			require.True(t, !intact || log.Next() >= fuzzKeep, "ends at %d", log.Next())
		} else {
			require.Equal(t, fuzzKeep, log.Next())
		}
		checkBatches(t, log, batches, intact)
		raw := buildBatch(t, log.Next(), 1, 100, 1000)
		h, err := batch.ParseHeader(raw)
		require.NoError(t, err)
		require.NoError(t, log.Append(raw, h))
		got, err := log.Read(h.BaseOffset, 0, nil)
		require.NoError(t, err)
		require.True(t, bytes.Equal(raw, got))
	})
}

// damageFiles applies the mutations. It reports whether no batch below fuzzKeep was touched; keptBytes of the last
// segment lie below it.
func damageFiles(t *testing.T, m *storefs.Mem, mutations []mutation, keptBytes int) (intact bool) {
	files := names(t, m)
	intact = true
	for _, mu := range mutations {
		file := files[int(mu.file)%len(files)]
		name := testDir + "/" + file
		if _, err := m.Stat(name); err != nil {
			continue // removed by an earlier one
		}
		_, isLog := parseFileName(file, logSuffix)
		if mu.op >= 240 {
			require.NoError(t, m.Remove(name))
			intact = intact && !isLog
			continue
		}
		at := 0
		alter(t, m, name, func(b []byte) []byte { b, at = mu.apply(b); return b })
		if isLog {
			intact = intact && name == fileName(testDir, 90, logSuffix) && at >= keptBytes
		}
	}
	return intact
}

// checkBatches reads every batch: it is as it was written or, when the log is not intact, gone or reported.
func checkBatches(t *testing.T, log *Log, batches []modelBatch, intact bool) {
	var damage *CorruptionError
	for _, b := range batches {
		if b.base < log.Start() || b.next > log.Next() {
			require.False(t, intact && b.next <= fuzzKeep, "batch %d is gone", b.base)
			continue
		}
		got, err := log.Read(b.base, 0, nil)
		if errors.As(err, &damage) {
			require.False(t, intact, "%v", err)
			continue
		}
		require.NoError(t, err)
		require.True(t, bytes.Equal(b.raw, got), "batch %d differs", b.base)
	}
	if _, err := log.OffsetForTime(55); err != nil {
		require.ErrorAs(t, err, &damage)
	}
}
