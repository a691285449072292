package blackbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/client"
)

// TestCommandLine walks through the README's five minutes.
func TestCommandLine(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tl")
	out, errs, err := trunkline(t, []string{"local", "up", "--dir", dir, "--brokers", "3"}, "")
	require.NoError(t, err, errs)
	defer func() {
		_, errs, err := trunkline(t, []string{"local", "down", "--dir", dir}, "")
		require.NoError(t, err, errs)
		require.NoDirExists(t, dir)
	}()
	var local struct {
		Context string `json:"context"`
		Brokers []struct {
			ID, PID       int
			Listen, Admin string
		} `json:"brokers"`
	}
	require.NoError(t, json.Unmarshal([]byte(out), &local))
	require.Len(t, local.Brokers, 3)
	tl := func(stdin string, args ...string) string {
		out, errs, err := trunkline(t, append([]string{"--context", local.Context}, args...), stdin)
		require.NoError(t, err, "%v: %s", args, errs)
		return out
	}
	tl("", "topic", "create", "calls", "--partitions", "4", "--replicas", "3", "--retention", "1h")
	_, errs, err = trunkline(t, []string{"--context", local.Context, "pub", "calls", "--key-field", "2", "--field-sep", ","}, "1,a\n2,b\n3,a\n")
	require.NoError(t, err, errs)
	lines := strings.Split(strings.TrimSpace(errs), "\n")
	var result struct {
		Published, Acked, Failed int
		Seconds                  float64
	}
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &result))
	require.Equal(t, 3, result.Published)
	require.Equal(t, 3, result.Acked)

	got := strings.Fields(tl("", "sub", "calls", "--subscription", "s", "--count", "2"))
	got = append(got, strings.Fields(tl("", "sub", "calls", "--subscription", "s", "--idle-exit", "1s"))...)
	require.ElementsMatch(t, []string{"1,a", "2,b", "3,a"}, got)
	require.Less(t, strings.Index(strings.Join(got, " "), "1,a"), strings.Index(strings.Join(got, " "), "3,a"))

	_, errs, err = trunkline(t, []string{"local", "kill", "2", "--dir", dir}, "")
	require.NoError(t, err, errs)
	tl("4,d\n", "pub", "calls")
	require.Contains(t, tl("", "sub", "calls", "--subscription", "s", "--count", "1", "--format", "json"), `"value":"4,d"`)
	require.Contains(t, tl("", "cluster", "status"), "2 dead")
	_, errs, err = trunkline(t, []string{"local", "start", "2", "--dir", dir}, "")
	require.NoError(t, err, errs)
	eventually(t, 15*time.Second, func() error {
		if out := tl("", "read", "calls", "--replica", "2", "--stop-at-end"); len(strings.Fields(out)) != 4 {
			return fmt.Errorf("broker 2 holds %q", out)
		}
		return nil
	})
	require.Contains(t, tl("", "topic", "describe", "calls", "--json"), `"retention": "1h0m0s"`)
	tl("", "topic", "alter", "calls", "--partitions", "6")
	require.Contains(t, tl("", "topic", "list"), "calls")
	tl("", "topic", "delete", "calls")
	require.NotContains(t, tl("", "topic", "list"), "calls")
}

// TestMistakesGetOneLine: what a new user may type wrong is answered by one line that says what is wrong.
func TestMistakesGetOneLine(t *testing.T) {
	e := up(t, 1, nil)
	e.createTopic(t, "t", 1, 1)
	missing := filepath.Join(t.TempDir(), "missing")
	for _, tc := range []struct {
		args string
		want string
	}{
		{"topic create t", "topic_exists"},
		{"topic create a/b", "invalid_name"},
		{"topic create x --partitions 0", "at least 1 partition"},
		{"topic create x --partitions 99999", "partitions"},
		{"topic create x --replicas 3", "replicas"},
		{"topic create x --retention -1h", "negative"},
		{"topic create x --retention-bytes lots", "not a size"},
		{"topic create", "accepts 1 arg"},
		{"topic describe nope", "topic_not_found"},
		{"topic delete nope", "topic_not_found"},
		{"topic alter t", "nothing to alter"},
		{"topic alter t --partitions 0", "partitions"},
		{"pub nope", "topic_not_found"},
		{"pub t --compression gzip", "none of none, zstd, s2"},
		{"pub t --key-field -1", "counted from 1"},
		{"sub t", "subscription"},
		{"sub t --subscription s --from yesterday", "neither earliest"},
		{"sub t --subscription s --format xml", "neither value nor json"},
		{"sub t --subscription a/b", "invalid_name"},
		{"read t --replica 9", "9"},
		{"frobnicate", "unknown command"},
		{"local kill 7 --dir " + e.Dir(), "no broker 7"},
		{"local kill x --dir " + e.Dir(), "not a broker ID"},
		{"local up --dir " + e.Dir(), "holds a cluster already"},
		{"local up --brokers 99 --dir " + missing, "1 to 7"},
		{"local status --dir " + missing, "no local cluster"},
		{"local status", "dir"},
		{"--context " + missing + " topic list", "no such file"},
	} {
		out, errs, err := e.cli(t, "x\n", strings.Fields(tc.args)...)
		require.Error(t, err, "%s: %s", tc.args, out)
		first := strings.SplitN(errs, "\n", 2)[0]
		require.Contains(t, first, tc.want, tc.args)
		if !strings.HasPrefix(tc.args, "pub") { // which always ends with its JSON
			require.Equal(t, 1, strings.Count(errs, "\n"), "%s: %s", tc.args, errs)
		}
	}
	_, errs, err := trunkline(t, []string{"topic", "list"}, "")
	require.Error(t, err)
	require.Contains(t, errs, "TRUNKLINE_CONTEXT")
}

// TestDeletedTopicLeavesNothing: its data is gone from disk and a new topic of the name shows nothing of it.
func TestDeletedTopicLeavesNothing(t *testing.T) {
	e := up(t, 3, nil)
	e.createTopic(t, "t", 3, 3)
	ctx := deadline(t, time.Minute)
	p, err := e.client.Producer(ctx, "t")
	require.NoError(t, err)
	for n := range 100 {
		_, err := p.Publish(ctx, client.Record{Value: numbered(n)})
		require.NoError(t, err)
	}
	require.NotZero(t, shardDirs(t, e))
	require.NoError(t, e.Kill(ctx, 3)) // must remove its share when it comes back
	require.NoError(t, e.client.Admin().DeleteTopic(ctx, "t"))
	_, err = p.Publish(ctx, client.Record{Value: numbered(1)})
	require.ErrorIs(t, err, client.ErrTopicNotFound)
	require.NoError(t, e.Start(ctx, 3))
	eventually(t, 20*time.Second, func() error {
		if n := shardDirs(t, e); n > 0 {
			return fmt.Errorf("%d directories of partitions are left", n)
		}
		return nil
	})
	e.createTopic(t, "t", 3, 3)
	for _, part := range e.readReplica(t, "t", 1) {
		require.Empty(t, part)
	}
}

func shardDirs(t *testing.T, e *env) int {
	n := 0
	for _, b := range e.Brokers() {
		dirs, err := filepath.Glob(filepath.Join(e.Dir(), fmt.Sprintf("broker-%d", b.ID), "data", "partitions", "*"))
		require.NoError(t, err)
		n += len(dirs)
	}
	return n
}

// TestWipedAndForeignDirectoriesAreRefused: with a message that says what to do, and the cluster goes on.
func TestWipedAndForeignDirectoriesAreRefused(t *testing.T) {
	e := up(t, 3, nil)
	e.createTopic(t, "t", 2, 3)
	ctx := deadline(t, time.Minute)
	p, err := e.client.Producer(ctx, "t")
	require.NoError(t, err)
	_, err = p.Publish(ctx, client.Record{Value: numbered(0)})
	require.NoError(t, err)
	time.Sleep(300 * time.Millisecond) // the registry reaches every broker's disk with the next metadata change
	require.NoError(t, e.Kill(ctx, 2))
	data := filepath.Join(e.Dir(), "broker-2", "data")
	require.NoError(t, os.Rename(data, data+".old"))
	err = e.Start(ctx, 2)
	require.ErrorContains(t, err, "another data directory")
	require.ErrorContains(t, err, "Put the old data_dir back")
	_, err = p.Publish(ctx, client.Record{Value: numbered(1)})
	require.NoError(t, err)

	require.NoError(t, os.RemoveAll(data))
	require.NoError(t, os.Rename(data+".old", data))
	require.NoError(t, e.Start(ctx, 2))

	out, err := exec.CommandContext(ctx, filepath.Join(binaries, "trunklined"), "--data-dir", data).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "in use by another broker process")
	require.NoError(t, e.Kill(ctx, 2))
	out, err = exec.CommandContext(ctx, filepath.Join(binaries, "trunklined"), "--data-dir", data).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), `belongs to cluster "local"`)
}

// TestSingleBrokerNeedsNoConfiguration: it says how to reach it, serves, drains on SIGTERM with exit code 0, and keeps its data.
func TestSingleBrokerNeedsNoConfiguration(t *testing.T) {
	dir := t.TempDir()
	raft := freeAddr(t) // part of the Raft membership: the same in both rounds
	for round := range 2 {
		cmd := exec.Command(filepath.Join(binaries, "trunklined"), "--listen", "127.0.0.1:0", "--raft-listen", raft, "--admin-listen", "127.0.0.1:0")
		cmd.Dir = dir
		var log bytes.Buffer
		cmd.Stderr = &log
		require.NoError(t, cmd.Start())
		contextFile := filepath.Join(dir, "trunkline-data", "context.json")
		eventually(t, 20*time.Second, func() error {
			_, errs, err := trunkline(t, []string{"--context", contextFile, "topic", "create", fmt.Sprint("t", round)}, "")
			if err != nil {
				return fmt.Errorf("%w: %s", err, errs)
			}
			return nil
		})
		_, errs, err := trunkline(t, []string{"--context", contextFile, "pub", "t0"}, "hello\n")
		require.NoError(t, err, errs)
		start := time.Now()
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(t, cmd.Wait(), log.String())
		require.Less(t, time.Since(start), 10*time.Second)
		require.Contains(t, log.String(), "try: trunkline --context")
		if round == 1 {
			require.NotContains(t, log.String(), "panic")
		}
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// TestRollingRestartIsInvisible: SIGTERM one broker after the other while records flow; no publish fails.
func TestRollingRestartIsInvisible(t *testing.T) {
	e := up(t, 3, nil)
	e.createTopic(t, "t", 6, 3)
	s := e.startStream(t, "t", 6, time.Millisecond)
	eventually(t, 20*time.Second, func() error { return atLeast(s.acked(), 500) })
	for _, b := range e.Brokers() {
		start := time.Now()
		require.NoError(t, e.Stop(deadline(t, 15*time.Second), b.ID))
		require.Less(t, time.Since(start), 10*time.Second)
		before := s.acked()
		eventually(t, 10*time.Second, func() error { return atLeast(s.acked(), before+500) })
		require.NoError(t, e.Start(deadline(t, 30*time.Second), b.ID))
		eventually(t, 20*time.Second, func() error {
			d, err := e.client.Admin().DescribeTopic(deadline(t, 5*time.Second), "t")
			if err != nil {
				return err
			}
			for _, p := range d.Partitions {
				for _, r := range p.States {
					if r.Err != nil || r.Next+200 < p.Next {
						return fmt.Errorf("broker %d lags on partition %d (%w)", r.Broker, p.Partition, r.Err)
					}
				}
			}
			return nil
		})
	}
	e.requireKept(t, "t", s.finish(t))
}

// TestDiskReserveRefusesPublishesAndServesReads sets a reserve that no disk can have free.
func TestDiskReserveRefusesPublishesAndServesReads(t *testing.T) {
	e := up(t, 1, map[string]string{"limits.disk_reserve": "1000TiB"})
	e.createTopic(t, "t", 1, 1)
	eventually(t, 10*time.Second, func() error {
		_, errs, err := e.cli(t, "x\n", "pub", "t", "--timeout", "500ms")
		if err == nil || !strings.Contains(errs, "disk_reserve") {
			return fmt.Errorf("published: %w %s", err, errs)
		}
		return nil
	})
	out, errs, err := e.cli(t, "", "read", "t", "--stop-at-end")
	require.NoError(t, err, errs)
	require.NotContains(t, out, "panic")
}

// TestBrokerShortOfDiskLeadsNothing: a new topic's partitions begin on their preferred leaders, a third of them on the broker without
// room. It hands them over, and records flow.
func TestBrokerShortOfDiskLeadsNothing(t *testing.T) {
	const partitions = 6
	e := up(t, 3, nil)
	require.NoError(t, e.Stop(deadline(t, 15*time.Second), 1))
	conf, err := os.OpenFile(filepath.Join(e.Dir(), "broker-1", "trunkline.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = conf.WriteString("limits: {disk_reserve: 1000TiB}\n")
	require.NoError(t, errors.Join(err, conf.Close()))
	require.NoError(t, e.Start(deadline(t, 30*time.Second), 1))

	e.createTopic(t, "t", partitions, 3)
	s := e.startStream(t, "t", partitions, time.Millisecond)
	eventually(t, 20*time.Second, func() error {
		d, err := e.client.Admin().DescribeTopic(deadline(t, 5*time.Second), "t")
		if err != nil {
			return err
		}
		for _, p := range d.Partitions {
			if p.Leader < 2 {
				return fmt.Errorf("broker %d leads partition %d", p.Leader, p.Partition)
			}
		}
		return nil
	})
	before := s.acked()
	eventually(t, 10*time.Second, func() error { return atLeast(s.acked(), before+500) })
	e.requireKept(t, "t", s.finish(t))
}
