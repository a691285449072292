package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// batchAt makes a batch of one record.
func batchAt(t *testing.T, offset int, value string) []byte {
	t.Helper()
	b := batch.NewBuilder(batch.None)
	require.NoError(t, b.Add(batch.Record{Value: []byte(value), Timestamp: 1}))
	frame, err := b.Build(nil, 1, 1, protocol.Sequence(offset))
	require.NoError(t, err)
	batch.Stamp(frame, protocol.Offset(offset), 1, 1)
	return frame
}

// replica writes the batches [from, to) of a log in two segments and returns the broker's data directory.
func replica(t *testing.T, from, to int, batches [][]byte) string {
	t.Helper()
	data := t.TempDir()
	dir := filepath.Join(data, "partitions/16/data/log.00000001")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	middle := (from + to) / 2
	for _, part := range [][2]int{{from, middle}, {middle, to}} {
		var segment []byte
		for _, b := range batches[part[0]:part[1]] {
			segment = append(segment, b...)
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%020d.log", part[0])), segment, 0o600))
	}
	return data
}

func TestReplicasAreComparedByteForByte(t *testing.T) {
	var batches, altered [][]byte
	size := int64(0)
	for i := range 10 {
		batches = append(batches, batchAt(t, i, fmt.Sprint("value ", i)))
		altered = append(altered, batches[i])
		if i >= 4 {
			size += int64(len(batches[i]))
		}
	}
	altered[7] = batchAt(t, 7, "value x")
	torn := append([][]byte(nil), batches...)
	torn[9] = torn[9][:len(torn[9])-1]
	damaged := append([][]byte(nil), batches...)
	damaged[5] = append([]byte(nil), damaged[5]...)
	damaged[5][len(damaged[5])-1]++

	same := replica(t, 0, 10, batches)
	c, err := compareReplicas([]string{same, replica(t, 4, 10, batches), replica(t, 2, 10, batches)}, 3)
	require.NoError(t, err)
	require.Equal(t, comparison{Partitions: 1, Bytes: size}, c, "from the highest start on")

	for name, other := range map[string]string{
		"offset 7 on":          replica(t, 0, 10, altered),
		"offset 8 on":          replica(t, 0, 8, batches),
		"offset 9: unexpected": replica(t, 0, 10, torn),
		"batch at offset 5":    replica(t, 0, 10, damaged),
	} {
		c, err := compareReplicas([]string{same, other}, 2)
		require.NoError(t, err)
		require.Len(t, c.Differ, 1, name)
		require.Contains(t, c.Differ[0], name)
	}
}

func TestReplicaWithoutAPartition(t *testing.T) {
	same := replica(t, 0, 1, [][]byte{batchAt(t, 0, "v")})
	c, err := compareReplicas([]string{same, t.TempDir()}, 2)
	require.NoError(t, err)
	require.Len(t, c.Differ, 1)
	require.Contains(t, c.Differ[0], "1 brokers hold a replica, not 2")

	empty := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(empty, "partitions/16/data"), 0o700))
	c, err = compareReplicas([]string{same, empty}, 2)
	require.NoError(t, err)
	require.Len(t, c.Differ, 1)
	require.Contains(t, c.Differ[0], "holds no log")
}

func TestReplicaThatWasLeftBehind(t *testing.T) {
	batches := [][]byte{batchAt(t, 0, "v"), batchAt(t, 1, "w")}
	left := replica(t, 0, 2, batches)
	c, err := compareReplicas([]string{replica(t, 0, 2, batches), left, replica(t, 0, 2, batches)}, 2)
	require.NoError(t, err)
	require.Len(t, c.Differ, 1)
	require.Contains(t, c.Differ[0], "3 brokers hold a replica, not 2")

	c, err = compareReplicas([]string{replica(t, 0, 2, batches), t.TempDir(), replica(t, 0, 2, batches)}, 2)
	require.NoError(t, err)
	require.Empty(t, c.Differ, "it is on two of three brokers")
}
