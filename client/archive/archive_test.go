package archive

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// TestRoundTrip: a topic, exported and imported under another name, holds the same records in the same partitions.
func TestRoundTrip(t *testing.T) {
	for _, pack := range []bool{false, true} {
		fc := cluster(t)
		fc.CreateTopic("t", 3)
		c := connect(t, fc)
		fill(t, c, "t", 3, 100)
		dir := filepath.Join(t.TempDir(), "x")
		m, err := Export(within(t), c, "t", dir, ExportOptions{Pack: pack})
		require.NoError(t, err)
		require.Equal(t, uint64(300), m.Records())
		require.NoFileExists(t, filepath.Join(dir, planFile))
		again, err := Export(within(t), c, "t", dir, ExportOptions{})
		require.NoError(t, err, "complete: nothing to do")
		require.Equal(t, m, again)
		checked, err := Verify(dir)
		require.NoError(t, err)
		require.Equal(t, m, checked)

		r, err := Import(within(t), c, dir, ImportOptions{Topic: "u"})
		require.NoError(t, err)
		require.Equal(t, &Imported{Topic: "u", Created: true, Records: 300}, r)
		require.Equal(t, content(t, c, "t"), content(t, c, "u"))
		r, err = Import(within(t), c, dir, ImportOptions{Topic: "u"})
		require.NoError(t, err)
		require.Equal(t, uint64(300), r.Before)
		require.Equal(t, content(t, c, "t"), content(t, c, "u"), "imported twice")
	}
}

// TestExportUnderLoad: an export that is interrupted again and again while records come holds what was there when it began, whole,
// and nothing that was published after its plan was written.
func TestExportUnderLoad(t *testing.T) {
	fc := cluster(t)
	fc.CreateTopic("t", 2)
	c := connect(t, fc)
	fill(t, c, "t", 2, 400)
	load, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		p, err := c.Producer(load, "t")
		require.NoError(t, err)
		for n := 0; load.Err() == nil; n++ {
			_ = p.Send(load, client.Record{Value: []byte("later"), Partition: client.OnPartition(n % 2)}, nil)
			time.Sleep(time.Millisecond)
		}
		_ = p.Close(load)
	})
	defer wg.Wait()
	defer stop()
	dir := t.TempDir()
	var m *Manifest
	for tries := 0; m == nil; tries++ {
		require.Less(t, tries, 200)
		short, cancel := context.WithTimeout(t.Context(), time.Duration(5+tries)*time.Millisecond)
		var err error
		if m, err = Export(short, c, "t", dir, ExportOptions{}); err != nil {
			require.Nil(t, m)
			_, err := Verify(dir)
			require.Error(t, err, "an export that failed looks complete")
			damageTail(t, dir)
		}
		cancel()
	}
	_, err := Verify(dir)
	require.NoError(t, err)
	_, err = Import(within(t), c, dir, ImportOptions{Topic: "u"})
	require.NoError(t, err)
	want, got := content(t, c, "t"), content(t, c, "u")
	for p, records := range got {
		require.GreaterOrEqual(t, len(records), 400)
		require.Equal(t, want[p][:len(records)], records)
	}
}

// damageTail does to one file what a power cut can do to its last chunk.
func damageTail(t *testing.T, dir string) {
	files, err := filepath.Glob(filepath.Join(dir, "*.batches"))
	require.NoError(t, err)
	for _, f := range files {
		info, err := os.Stat(f)
		require.NoError(t, err)
		if info.Size() > 0 {
			require.NoError(t, os.Truncate(f, info.Size()-rand.Int64N(min(info.Size(), 40))))
		}
	}
}

// TestImportInterrupted: an import that ends at any moment and is repeated writes each record once, in order.
func TestImportInterrupted(t *testing.T) {
	fc := cluster(t)
	fc.CreateTopic("t", 3)
	c := connect(t, fc)
	fill(t, c, "t", 3, 1500)
	dir := t.TempDir()
	_, err := Export(within(t), c, "t", dir, ExportOptions{})
	require.NoError(t, err)
	interrupted, continued := 0, 0
	for tries := 0; ; tries++ {
		require.Less(t, tries, 200)
		limit := time.Duration((tries+1)*(tries+1)) * 250 * time.Microsecond // from too short for anything to long enough for a slow machine
		short, cancel := context.WithTimeout(t.Context(), limit)
		r, err := Import(short, c, dir, ImportOptions{Topic: "u"})
		cancel()
		if err == nil {
			if r.Before > 0 {
				continued++
			}
			break
		}
		interrupted++
		if tries == 5 {
			fc.DropConns(1)
		}
	}
	require.NotZero(t, interrupted)
	t.Logf("interrupted %d times, continued %d", interrupted, continued)
	require.Equal(t, content(t, c, "t"), content(t, c, "u"))
}

// TestTwoImportersAtOnce: one of them is fenced, or both find the work done; nothing is in the topic twice.
func TestTwoImportersAtOnce(t *testing.T) {
	fc := cluster(t)
	fc.CreateTopic("t", 2)
	fc.CreateTopic("u", 2)
	c := connect(t, fc)
	fill(t, c, "t", 2, 2000)
	dir := t.TempDir()
	_, err := Export(within(t), c, "t", dir, ExportOptions{})
	require.NoError(t, err)
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i := range errs {
		wg.Go(func() { _, errs[i] = Import(within(t), c, dir, ImportOptions{Topic: "u"}) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			require.ErrorIs(t, err, client.ErrFenced)
		}
	}
	require.False(t, errs[0] != nil && errs[1] != nil, "both failed: %v", errs)
	require.Equal(t, content(t, c, "t"), content(t, c, "u"))
}

// TestRetentionMeanwhile: records that were removed after the plan are listed as gaps, and nothing else is missing.
func TestRetentionMeanwhile(t *testing.T) {
	fc := cluster(t)
	fc.CreateTopic("t", 3)
	c := connect(t, fc)
	fill(t, c, "t", 3, 100)
	dir := t.TempDir()
	m, err := plan(within(t), c, "t", ExportOptions{})
	require.NoError(t, err)
	require.NoError(t, writeSealed(filepath.Join(dir, planFile), topicFormat, m))
	fc.Truncate("t", 0, 40)
	fc.Truncate("t", 1, 100)
	m, err = Export(within(t), c, "t", dir, ExportOptions{})
	require.NoError(t, err)
	require.Len(t, m.Partitions[0].Gaps, 1)
	gap := m.Partitions[0].Gaps[0]
	require.Zero(t, gap.From)
	require.LessOrEqual(t, gap.To, protocol.Offset(40), "batches are removed whole")
	require.Equal(t, uint64(100-gap.To), m.Partitions[0].Records)
	require.Equal(t, []Gap{{0, 100}}, m.Partitions[1].Gaps)
	require.Empty(t, m.Partitions[2].Gaps)
	require.Equal(t, gap.To, 70-m.Partitions[0].place(70))
	_, err = Import(within(t), c, dir, ImportOptions{Topic: "u"})
	require.NoError(t, err)
	want := content(t, c, "t")
	got := content(t, c, "u")
	require.Equal(t, want[0][len(want[0])-len(got[0]):], got[0])
	require.Equal(t, want[2], got[2])
}

// TestLostRecordsAreTold: a log that ends below where it ended when the export began has lost records.
func TestLostRecordsAreTold(t *testing.T) {
	fc := cluster(t)
	fc.CreateTopic("t", 1)
	c := connect(t, fc)
	fill(t, c, "t", 1, 10)
	dir := t.TempDir()
	m, err := plan(within(t), c, "t", ExportOptions{})
	require.NoError(t, err)
	m.Partitions[0].End += 5
	require.NoError(t, writeSealed(filepath.Join(dir, planFile), topicFormat, m))
	_, err = Export(within(t), c, "t", dir, ExportOptions{})
	require.ErrorContains(t, err, "the log ends at offset 10, when the export began it reached 15")
	_, err = Verify(dir)
	require.ErrorIs(t, err, ErrIncomplete)

	fc.DeleteTopic("t")
	fc.CreateTopic("t", 1)
	c = connect(t, fc)
	fill(t, c, "t", 1, 20)
	_, err = Export(within(t), c, "t", dir, ExportOptions{})
	require.ErrorIs(t, err, ErrTopicChanged)
	_, err = Export(within(t), c, "other", dir, ExportOptions{})
	require.ErrorIs(t, err, ErrOtherExport)
}

// TestParts: partitions and ends that were asked for are what is exported.
func TestParts(t *testing.T) {
	fc := cluster(t)
	fc.CreateTopic("t", 4)
	c := connect(t, fc)
	fill(t, c, "t", 4, 50)
	m, err := Export(within(t), c, "t", t.TempDir(), ExportOptions{
		Partitions: []protocol.Partition{3, 1}, Until: map[protocol.Partition]protocol.Offset{1: 20}, BytesPerSecond: 1 << 20,
	})
	require.NoError(t, err)
	require.Len(t, m.Partitions, 2)
	require.GreaterOrEqual(t, m.Partitions[0].Records, uint64(20))
	require.Less(t, m.Partitions[0].Records, uint64(50))
	require.Equal(t, protocol.Offset(m.Partitions[0].Records), m.Partitions[0].End)
	require.Equal(t, uint64(50), m.Partitions[1].Records)
	for _, o := range []ExportOptions{
		{Partitions: []protocol.Partition{4}},
		{Until: map[protocol.Partition]protocol.Offset{0: 51}},
		{Until: map[protocol.Partition]protocol.Offset{9: 1}},
	} {
		dir := t.TempDir()
		_, err := Export(within(t), c, "t", dir, o)
		require.Error(t, err)
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left)
	}
}

// TestDamageIsRefused: any changed byte of any file of an export is found before the first record is written.
func TestDamageIsRefused(t *testing.T) {
	fc := cluster(t)
	fc.CreateTopic("t", 2)
	c := connect(t, fc)
	fill(t, c, "t", 2, 20)
	dir := t.TempDir()
	_, err := Export(within(t), c, "t", dir, ExportOptions{})
	require.NoError(t, err)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 3)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		good, err := os.ReadFile(path)
		require.NoError(t, err)
		for range 20 {
			bad := append([]byte(nil), good...)
			at := rand.IntN(len(bad))
			if bad[at] == ' ' || bad[at] == '\n' {
				continue // white space of JSON
			}
			bad[at] ^= 4
			require.NoError(t, os.WriteFile(path, bad, 0o600))
			_, err = Import(within(t), c, dir, ImportOptions{Topic: "u"})
			require.Error(t, err, "byte %d of %s", at, e.Name())
			require.ErrorContains(t, err, path)
		}
		require.NoError(t, os.WriteFile(path, good[:len(good)-3], 0o600))
		_, err = Import(within(t), c, dir, ImportOptions{Topic: "u"})
		require.ErrorContains(t, err, path)
		require.NoError(t, os.WriteFile(path, good, 0o600))
	}
	require.Error(t, os.Remove(filepath.Join(dir, "nothing")))
	topics, err := c.Admin().ListTopics(within(t))
	require.NoError(t, err)
	require.Len(t, topics, 1, "nothing was created")
}

// TestCursorsComeBack: subscriptions begin in the imported topic behind what they had acknowledged.
func TestCursorsComeBack(t *testing.T) {
	fc := cluster(t)
	fc.CreateTopic("t", 2)
	c := connect(t, fc)
	fill(t, c, "t", 2, 100)
	s, err := c.Subscribe(within(t), "t", "billing")
	require.NoError(t, err)
	for range 90 {
		m, err := s.Receive(within(t))
		require.NoError(t, err)
		require.NoError(t, s.Ack(m))
	}
	require.NoError(t, s.Commit(within(t)))
	require.NoError(t, s.Close(within(t)))
	dir := t.TempDir()
	_, err = Export(within(t), c, "t", dir, ExportOptions{})
	require.NoError(t, err)
	for range 2 {
		_, err = Import(within(t), c, dir, ImportOptions{Topic: "u", Subscriptions: true})
		require.NoError(t, err)
		want, got := protocol.Offset(0), protocol.Offset(0)
		for p := range 2 {
			a, _ := fc.Cursor("t", protocol.Partition(p), "billing")
			b, _ := fc.Cursor("u", protocol.Partition(p), "billing")
			require.Equal(t, a, b)
			want, got = want+a, got+b
		}
		require.Equal(t, protocol.Offset(90), got)
	}
	fill(t, c, "u", 1, 1)
	_, err = Import(within(t), c, dir, ImportOptions{Topic: "u", Subscriptions: true})
	require.ErrorContains(t, err, "the records are imported, the subscriptions are not")
}

// TestClusterBackup: a fresh cluster gets the topics, and one with a topic of another shape is left as it is.
func TestClusterBackup(t *testing.T) {
	fc := cluster(t)
	c := connect(t, fc)
	for i, name := range []string{"a", "b", "c"} {
		_, err := c.Admin().CreateTopic(within(t), name, client.TopicSpec{Partitions: i + 1})
		require.NoError(t, err)
	}
	file := filepath.Join(t.TempDir(), "backup.json")
	b, err := BackupCluster(within(t), c, file)
	require.NoError(t, err)
	require.Len(t, b.Topics, 3)
	require.Len(t, b.Brokers, 3)

	fresh := connect(t, cluster(t))
	_, err = fresh.Admin().CreateTopic(within(t), "c", client.TopicSpec{Partitions: 8})
	require.NoError(t, err)
	_, err = RestoreCluster(within(t), fresh, file)
	require.ErrorIs(t, err, ErrShape)
	topics, err := fresh.Admin().ListTopics(within(t))
	require.NoError(t, err)
	require.Len(t, topics, 1, "refused before anything was created")
	require.NoError(t, fresh.Admin().DeleteTopic(within(t), "c"))
	r, err := RestoreCluster(within(t), fresh, file)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "c"}, r.Created)
	r, err = RestoreCluster(within(t), fresh, file)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "c"}, r.Present)

	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, []byte(fmt.Sprintf("%s ", text)), 0o600))
	_, err = RestoreCluster(within(t), fresh, file)
	require.NoError(t, err, "white space does not count")
	for i := range text {
		if text[i] == '3' {
			text[i] = '4'
			break
		}
	}
	require.NoError(t, os.WriteFile(file, text, 0o600))
	_, err = RestoreCluster(within(t), fresh, file)
	require.Error(t, err)
}
