package journal

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"

	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/storefs"
)

// fuzzed is a crashed journal with one file, its bytes, and the log that each number of rounds makes.
func fuzzed(t testing.TB) (mem *storefs.Mem, path string, bytes []byte, logs map[int][]pb.Entry) {
	mem = newMem(t)
	j := openRoomy(t, mem)
	logs = map[int][]pb.Entry{0: nil}
	log := []pb.Entry{}
	for i := range uint64(6) {
		list := entries(i*2+1, i*2+3, i+1, 300) // each voids the last entry of the one before
		log = append(log[:i*2:i*2], list...)
		save(t, j, update(1, list))
		logs[len(logs)] = log
	}
	require.NoError(t, j.SaveBootstrapInfo(1, 1, pb.Bootstrap{Addresses: map[uint64]string{1: "a"}}))
	require.NoError(t, j.SaveSnapshots([]pb.Update{{ShardID: 1, ReplicaID: 1, Snapshot: pb.Snapshot{Index: 3, Term: 2}}}))
	logs[7], logs[8] = log, log
	crashed := mem.CrashClone(nil)
	path = walFiles(t, crashed)[0]
	bytes, err := storefs.ReadFile(crashed, path, 1<<20)
	require.NoError(t, err)
	return crashed, path, bytes, logs
}

// FuzzFile makes any bytes the journal's only file. What is opened then is a prefix of what was written, or nothing is.
// With reseal, the checksums of the first round are made to fit, so that what is behind them is looked at.
func FuzzFile(f *testing.F) {
	mem, path, valid, logs := fuzzed(f)
	used := valid[:10*blockBytes]
	f.Add(used, false)
	f.Add(used[:3*blockBytes], false)
	f.Add(used[:blockBytes+200], true)
	for _, at := range []int{0, 40, blockBytes + 48, blockBytes + 52, blockBytes + 64, blockBytes + 68, blockBytes + 96, blockBytes + 104,
		blockBytes + 150, 4*blockBytes + 100, 7*blockBytes + 66, 8*blockBytes + 120} {
		b := append([]byte(nil), used...)
		b[at] ^= 0xff
		f.Add(b, false)
		f.Add(b, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, reseal bool) {
		if reseal {
			seal(b)
		}
		c := mem.CrashClone(nil)
		file, err := c.OpenFile(path, os.O_RDWR|os.O_TRUNC)
		require.NoError(t, err)
		_, err = file.Write(b)
		require.NoError(t, err)
		require.NoError(t, file.Sync())
		require.NoError(t, file.Close())
		j, err := Open(testDir, 1, small(c))
		if err != nil {
			var damage *CorruptionError
			require.True(t, errors.As(err, &damage), "%v", err)
			return
		}
		got, _, err := j.IterateEntries(nil, 0, 1, 1, 1, 100, 0)
		if !reseal { // else anything may be said
			require.NoError(t, err)
			prefix := false
			for _, log := range logs {
				prefix = prefix || len(log) == len(got) && (len(log) == 0 || string(log[len(log)-1].Cmd) == string(got[len(got)-1].Cmd))
			}
			require.True(t, prefix, "%d entries", len(got))
		}
		_, _ = j.ReadRaftState(1, 1, 0)
		save(t, j, update(9, entries(1, 1, 1, 10)))
		require.NoError(t, j.Close())
		j, err = Open(testDir, 1, small(c))
		require.NoError(t, err, "what was accepted once is accepted again")
		wantLog(t, j, 9, entries(1, 1, 1, 10))
		require.NoError(t, j.Close())
	})
}

// seal gives the round at the first block fitting checksums, as far as its lengths make sense.
func seal(b []byte) {
	if len(b) < blockBytes+roundHeaderBytes {
		return
	}
	h, ok := parseRoundHeader(b[blockBytes:], int64(len(b)-blockBytes))
	if !ok {
		return
	}
	round := b[blockBytes:][:roundHeaderBytes+int64(h.payload)]
	pos := h.headersSize()
	for i := range int64(h.records) {
		rec := round[roundHeaderBytes+i*recordHeaderBytes:]
		n := int64(binary.BigEndian.Uint32(rec[4:]))
		if pos+n > int64(len(round)) {
			break
		}
		binary.BigEndian.PutUint32(rec[36:], checksum(round[pos:pos+n]))
		pos += n
	}
	binary.BigEndian.PutUint32(round[56:], 0)
	binary.BigEndian.PutUint32(round[60:], h.checksum(round))
}
