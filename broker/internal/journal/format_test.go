package journal

import (
	"testing"

	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/stretchr/testify/require"
)

func TestHeadersRoundTrip(t *testing.T) {
	f := fileHeader{journal: journalID{1, 2}, worker: 3, first: true, id: 4, epoch: 5, start: 6}
	b := f.appendTo(nil)
	require.Len(t, b, blockBytes)
	got, err := parseFileHeader(b)
	require.NoError(t, err)
	require.Equal(t, f, got)
	for i := range fileHeaderBytes {
		b[i] ^= 1
		_, err := parseFileHeader(b)
		require.Error(t, err, "byte %d", i)
		b[i] ^= 1
	}

	records := []record{{recordHeader: recordHeader{typ: recordState, node: nodeID{1, 2}}}}
	records[0].putState(pb.State{Term: 1, Vote: 2, Commit: 3})
	h := roundHeader{file: 1, epoch: 2, seq: 3, durable: 2, oldest: 1, payload: uint32(payloadSize(records)), records: 1}
	b = make([]byte, h.size())
	encode(b, &h, records, 4096, 1)
	round, ok := parseRoundHeader(b, int64(len(b)))
	require.True(t, ok && round.valid(b))
	require.Equal(t, h, round)
	rec, err := parseRecordHeader(b[roundHeaderBytes:])
	require.NoError(t, err)
	require.Equal(t, records[0].recordHeader, rec)
	require.Equal(t, records[0].state, parseState(b[records[0].offset-4096:]))
	require.Equal(t, uint64(1+roundHeaderBytes+recordHeaderBytes), records[0].at)
	for i := range roundHeaderBytes + recordHeaderBytes {
		b[i] ^= 1
		round, ok := parseRoundHeader(b, int64(len(b)))
		require.False(t, ok && round.valid(b), "byte %d", i)
		b[i] ^= 1
	}
}

func TestEntriesRoundTrip(t *testing.T) {
	want := entries(5, 9, 3, 20)
	want[1].Cmd, want[2].Cmd = nil, []byte{}
	want[3].Type = pb.MetadataEntry
	body := make([]byte, entriesSize(want))
	putEntries(body, want)
	require.NoError(t, checkEntries(body, 5, 5))
	require.Error(t, checkEntries(body, 5, 4))
	require.Error(t, checkEntries(body, 5, 6))
	require.Error(t, checkEntries(body[:len(body)-1], 5, 5))
	r := entryReader{body: body, index: 5, left: 5}
	for i := range want {
		var e pb.Entry
		require.NoError(t, r.next(&e))
		require.Equal(t, want[i], e)
	}
	part, err := cutEntries(body, 5, 6, 8)
	require.NoError(t, err)
	require.NoError(t, checkEntries(part, 6, 3))
}

func TestArena(t *testing.T) {
	a := arena{mem: make([]byte, 4*blockBytes)}
	_, _, ok := a.take(3 * blockBytes)
	require.False(t, ok)
	var at []uint64
	for i := range 7 {
		b, pos, ok := a.take(2 * blockBytes)
		if i == 3 {
			b, pos, ok = a.take(blockBytes) // the next one does not fit behind it
			b = b[:blockBytes]
		}
		require.True(t, ok)
		b[0] = byte(i)
		at = append(at, pos)
		require.LessOrEqual(t, a.head-a.tail, uint64(len(a.mem)))
		for k, p := range at {
			if got, ok := a.at(p, 1); ok {
				require.Equal(t, byte(k), got[0])
			} else {
				require.Less(t, k, i)
			}
		}
	}
	_, ok = a.at(at[0], 1)
	require.False(t, ok)
	_, ok = a.at(a.head-1, 2)
	require.False(t, ok)
}

func TestOverlay(t *testing.T) {
	f := &file{}
	ext := func(first, last uint64, at int64) extent {
		return extent{first: first, last: last, file: f, offset: at, count: uint32(last - first + 1)}
	}
	var x extents
	x.push(ext(21, 30, 1))
	x.overlay(ext(1, 10, 2))  // with a hole
	x.overlay(ext(11, 15, 3)) // beside it
	x.overlay(ext(16, 20, 4)) // the hole is closed
	x.overlay(ext(5, 10, 5))  // the upper part of one
	x.overlay(ext(11, 20, 6)) // two at once
	x.overlay(ext(25, 29, 7)) // reaches into one from below: refused
	want := []extent{ext(1, 4, 2), ext(5, 10, 5), ext(11, 20, 6), ext(21, 30, 1)}
	want[0].count = 10
	require.Equal(t, want, x.all())
	require.Equal(t, int64(4*recordHeaderBytes), f.live)
	x.overlay(ext(41, 50, 8))
	x.close()
	require.Equal(t, []extent{ext(41, 50, 8)}, x.all())
	require.Equal(t, int64(recordHeaderBytes), f.live)
}
