package blackbox

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/client/archive"
	"github.com/trunkline/trunkline/protocol"
)

// TestExportAndImport: records are exported while more come, exporter and importer are killed and run again, a leader dies
// meanwhile, and the imported topic holds every record of the export once, in order.
func TestExportAndImport(t *testing.T) {
	const partitions, before = 3, 45_000
	e := up(t, 3, nil)
	e.createTopic(t, "calls", partitions, 3)
	ctx := deadline(t, time.Minute)
	p, err := e.client.Producer(ctx, "calls")
	require.NoError(t, err)
	send := func(ctx context.Context, n int) error {
		value := append(numbered(n), make([]byte, 200)...)
		return p.Send(ctx, client.Record{Key: fmt.Appendf(nil, "k%d", n%7), Value: value, Partition: client.OnPartition(n % partitions)}, nil)
	}
	for n := range before {
		require.NoError(t, send(ctx, n))
	}
	require.NoError(t, p.Flush(ctx))
	load, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := before; load.Err() == nil; n++ {
			_ = send(load, n)
			time.Sleep(time.Millisecond)
		}
	})
	defer wg.Wait()
	defer stop()

	dir := filepath.Join(t.TempDir(), "export")
	kills := killedOften(t, e, filepath.Join(dir, "partition-00000.batches"), "topic", "export", "calls", "--out", dir, "--throttle", "5MiB")
	kills += killedOften(t, e, "", "topic", "import", dir, "--topic", "copy", "--throttle", "5MiB")
	require.NoError(t, e.Kill(ctx, e.leader(t, "copy", 0)))
	out, errs, err := e.cli(t, "", "topic", "import", dir, "--topic", "copy", "--subscriptions")
	require.NoError(t, err, errs)
	require.Contains(t, out, "imported into copy")
	stop()
	wg.Wait()
	out, errs, err = e.cli(t, "", "topic", "verify", dir)
	require.NoError(t, err, errs)
	t.Logf("killed %d times; %s", kills, out)

	m, err := archive.Verify(dir)
	require.NoError(t, err)
	require.GreaterOrEqual(t, m.Records(), uint64(before))
	want, got := recordsOf(t, e, "calls"), recordsOf(t, e, "copy")
	for _, part := range m.Partitions {
		copied := got[part.Partition]
		require.Len(t, copied, int(part.Records))
		require.Equal(t, want[part.Partition][:len(copied)], copied)
	}
}

// killedOften runs the command and kills it after a while, which grows until the command ends by itself. It returns how often it was
// killed: at least once after more than a chunk was in the file, if one is given, whatever the while.
func killedOften(t *testing.T, e *env, wrote string, args ...string) (kills int) {
	grown := wrote == ""
	hasChunk := func() bool {
		info, err := os.Stat(wrote)
		return err == nil && info.Size() > 1<<20
	}
	args = append([]string{"--context", e.Context()}, args...)
	for patience := 200 * time.Millisecond; ; patience += 300 * time.Millisecond {
		ctx, kill := context.WithTimeout(deadline(t, time.Minute), patience)
		if !grown {
			go func() {
				for !hasChunk() && ctx.Err() == nil {
					time.Sleep(5 * time.Millisecond)
				}
				kill()
			}()
		}
		out, err := exec.CommandContext(ctx, filepath.Join(binaries, "trunkline"), args...).CombinedOutput()
		kill()
		if err == nil {
			require.NotZero(t, kills)
			require.True(t, grown, "it was never killed within the file")
			return kills
		}
		var ended *exec.ExitError
		require.ErrorAs(t, err, &ended)
		require.Equal(t, -1, ended.ExitCode(), "%v: %s", args, out)
		kills++
		grown = grown || hasChunk()
	}
}

// recordsOf is what a topic holds now, as text.
func recordsOf(t *testing.T, e *env, topic string) map[protocol.Partition][]string {
	r, err := e.client.Reader(deadline(t, 20*time.Second), topic, client.StopAtEnd())
	require.NoError(t, err)
	got := map[protocol.Partition][]string{}
	for m, err := range r.Messages(deadline(t, 20*time.Second)) {
		require.NoError(t, err)
		got[m.Partition] = append(got[m.Partition], fmt.Sprintf("%s %d %d", m.Key, number(m.Value[:8]), m.Timestamp.UnixMilli()))
	}
	require.NoError(t, r.Close(deadline(t, 5*time.Second)))
	return got
}

// TestSalvage: two of three brokers are gone for good. What the third one has is copied, after a restart of it alone, and imported into
// a new cluster; what was acknowledged while all three were well is there.
func TestSalvage(t *testing.T) {
	const settled = 2000
	e := up(t, 3, nil)
	e.createTopic(t, "calls", 2, 3)
	ctx := deadline(t, time.Minute)
	p, err := e.client.Producer(ctx, "calls")
	require.NoError(t, err)
	for n := range settled {
		require.NoError(t, p.Send(ctx, client.Record{Value: numbered(n), Partition: client.OnPartition(n % 2)}, nil))
	}
	require.NoError(t, p.Flush(ctx))
	eventually(t, 10*time.Second, func() error { // a follower learns with the next entries what is committed
		_, err := p.Publish(ctx, client.Record{Value: numbered(settled), Partition: client.OnPartition(0)})
		require.NoError(t, err)
		_, err = p.Publish(ctx, client.Record{Value: numbered(settled), Partition: client.OnPartition(1)})
		require.NoError(t, err)
		d, err := e.client.Admin().DescribeTopic(ctx, "calls")
		require.NoError(t, err)
		for _, part := range d.Partitions {
			for _, s := range part.States {
				if s.Err != nil {
					return s.Err
				}
				if s.Next < settled/2 {
					return fmt.Errorf("partition %d on broker %d has %d records", part.Partition, s.Broker, s.Next)
				}
			}
		}
		return nil
	})
	// The same of the metadata: that the topic was made is committed, and a broker that starts alone must have it on disk that it is.
	e.createTopic(t, "later", 1, 3)
	e.createTopic(t, "last", 1, 3)
	require.NoError(t, e.Kill(ctx, 1))
	require.NoError(t, e.Kill(ctx, 2))
	require.NoError(t, e.Kill(ctx, 3))
	require.NoError(t, e.Spawn(3))
	dir := filepath.Join(t.TempDir(), "salvaged")
	var out string
	eventually(t, 30*time.Second, func() error {
		var errs string
		var err error
		if out, errs, err = e.cli(t, "", "topic", "export", "calls", "--out", dir, "--salvage"); err != nil {
			return fmt.Errorf("%s", errs)
		}
		return nil
	})
	require.Contains(t, out, "partition 1: salvaged from broker 3")
	require.Contains(t, out, "the positions of the subscriptions are not in it")

	fresh := up(t, 1, nil)
	_, errs, err := fresh.cli(t, "", "topic", "import", dir, "--replicas", "1")
	require.NoError(t, err, errs)
	for part, records := range recordsOf(t, fresh, "calls") {
		require.GreaterOrEqual(t, len(records), settled/2)
		for i := range settled / 2 {
			require.Contains(t, records[i], fmt.Sprintf(" %d ", 2*i+int(part)))
		}
	}
}

// TestBackupAndRestore: the topics of one cluster are made again on another one.
func TestBackupAndRestore(t *testing.T) {
	old, fresh := up(t, 1, nil), up(t, 1, nil)
	old.createTopic(t, "a", 3, 1)
	old.createTopic(t, "b", 1, 1)
	file := filepath.Join(t.TempDir(), "backup.json")
	out, errs, err := old.cli(t, "", "cluster", "backup", "--out", file)
	require.NoError(t, err, errs)
	require.Contains(t, out, "2 topics, 1 brokers")
	out, errs, err = fresh.cli(t, "", "cluster", "restore", file)
	require.NoError(t, err, errs)
	require.Contains(t, out, "created 2 topics [a b]")
	require.Contains(t, out, "not restored")
	fresh.createTopic(t, "c", 1, 1)
	_, errs, err = fresh.cli(t, "", "cluster", "backup", "--out", file)
	require.NoError(t, err, errs)
	_, errs, err = old.cli(t, "", "cluster", "restore", file)
	require.NoError(t, err, errs)
	topics, err := old.client.Admin().ListTopics(deadline(t, 10*time.Second))
	require.NoError(t, err)
	require.Len(t, topics, 3)
}

// TestArchiveMistakes: what may be typed wrong is answered by one line, and nothing is left behind.
func TestArchiveMistakes(t *testing.T) {
	e := up(t, 1, nil)
	e.createTopic(t, "t", 2, 1)
	dir := filepath.Join(t.TempDir(), "x")
	_, errs, err := e.cli(t, "", "topic", "export", "t", "--out", dir)
	require.NoError(t, err, errs)
	for args, want := range map[string]string{
		"topic export t":                                     "out",
		"topic export nope --out %s-1":                       "topic_not_found",
		"topic export t --out %s-1 --until soon":             "neither now nor a list",
		"topic export t --out %s-1 --until 0=7":              "cannot be exported until 7",
		"topic export t --out %s-1 --partitions 2":           "partition_unknown",
		"topic export t --out %s-1 --throttle fast":          "--throttle",
		"topic export other --out %s":                        "holds another export",
		"topic export t --out %s --partitions 1":             "holds another export",
		"topic verify %s-2":                                  "no such file",
		"topic import %s-2":                                  "nothing was written",
		"topic import %s --compression gzip --topic u":       "none of none, zstd, s2",
		"topic import %s --replicas 3 --topic u":             "replicas",
		"cluster backup":                                     "out",
		"cluster restore %s-2":                               "no such file",
		"cluster restore %s/manifest.json":                   "this program reads",
		"cluster backup --out /proc/no/such/place/backup.js": "no such file",
	} {
		args = strings.ReplaceAll(args, "%s", dir)
		out, errs, err := e.cli(t, "", strings.Fields(args)...)
		require.Error(t, err, "%s: %s", args, out)
		require.Contains(t, errs, want, args)
		require.Equal(t, 1, strings.Count(errs, "\n"), "%s: %s", args, errs)
		left, err := filepath.Glob(dir + "-*/*")
		require.NoError(t, err)
		require.Empty(t, left, args)
	}
}
