package blackbox

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/client"
)

// TestRotIsRepaired flips a bit in a sealed segment of each broker in turn: the scrub of one that nobody reads, and a read
// of the leader's, find it and have it repaired by the others.
func TestRotIsRepaired(t *testing.T) {
	e := up(t, 3, map[string]string{"topics.segment_bytes": "4MiB", "topics.scrub_every": "2s"})
	e.createTopic(t, "t", 1, 3)
	p, err := e.client.Producer(deadline(t, 20*time.Second), "t")
	require.NoError(t, err)
	const records = 40
	for n := range records {
		_, err := p.Publish(deadline(t, 20*time.Second), client.Record{Value: append(numbered(n), bytes.Repeat([]byte{byte(n)}, 256<<10)...)})
		require.NoError(t, err)
	}
	for _, b := range e.Brokers() {
		var segments []string
		eventually(t, 20*time.Second, func() error { // a follower may lag
			segments, err = filepath.Glob(filepath.Join(e.Dir(), fmt.Sprintf("broker-%d/data/partitions/*/data/log.*/*.log", b.ID)))
			require.NoError(t, err)
			return atLeast(len(segments), 2)
		})
		slices.Sort(segments)
		before, err := os.ReadFile(segments[0])
		require.NoError(t, err)
		f, err := os.OpenFile(segments[0], os.O_RDWR, 0)
		require.NoError(t, err)
		at := int64(len(before) / 2)
		_, err = f.WriteAt([]byte{before[at] ^ 1}, at)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		eventually(t, 20*time.Second, func() error {
			now, err := os.ReadFile(segments[0])
			require.NoError(t, err)
			if !bytes.Equal(before, now) {
				return fmt.Errorf("%s is not repaired", segments[0])
			}
			if text := metricsOf(t, b.Admin); !strings.Contains(text, "trunkline_fsm_segments_repaired_total 1\n") ||
				!strings.Contains(text, "trunkline_fsm_damaged_segments 0\n") {
				return fmt.Errorf("broker %d does not say that it repaired a segment", b.ID)
			}
			return nil
		})
		log, err := os.ReadFile(e.Log(b.ID))
		require.NoError(t, err)
		require.Contains(t, string(log), filepath.Base(segments[0]))
	}
}

func metricsOf(t *testing.T, admin string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(deadline(t, 5*time.Second), http.MethodGet, "http://"+admin+"/metrics", nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(text)
}
