//go:build mix

package blackbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

// mix is a cluster whose brokers run the release before or this one, and what its clients have seen.
type mix struct {
	*env
	before, now string // directories of binaries
	links       string // links/N is what broker N runs
	lines       []string
	read        map[string]int // of lines, by subscription
}

// TestMixedReleases takes a cluster of the release before to this one, with a broker killed on the way; takes one broker back, and there
// again; finalises; and lets nobody of the release before in any more. Records flow all the time, clients of both releases use brokers of
// both, replicas of each release get snapshots of the other, and nobody meets a frame that it does not know.
func TestMixedReleases(t *testing.T) {
	before, _ := previous(t)
	m := upMixed(t, before)
	m.createTopic(t, "t", 6, 3)
	m.createTopic(t, "cli", 1, 3)
	m.createTopic(t, "bulk", 1, 3)
	s := m.startStream(t, "t", 6, 2*time.Millisecond)
	read := m.follow(t, "t")
	m.exchange(t)

	m.replace(t, 1, m.now, m.Stop, true)
	m.requireSnapshots(t, 1, 2) // of a leader of the release before
	m.requireHeldBack(t, "broker 2 runs release previous, which understands level 1")
	m.exchange(t)
	m.replace(t, 2, m.now, m.Kill, false)
	m.exchange(t)
	m.replace(t, 3, m.now, m.Stop, false)
	m.exchange(t)
	eventually(t, 30*time.Second, func() error { return m.health(t, 0, "finalize_due") })
	t.Log(m.tool(t, m.now, "", "cluster", "health"))

	m.replace(t, 1, m.before, m.Kill, true)
	m.requireSnapshots(t, 1, 2) // of a leader of this release
	m.requireHeldBack(t, "broker 1 runs release previous, which understands level 1")
	m.exchange(t)
	m.replace(t, 1, m.now, m.Stop, false)
	m.exchange(t)

	m.finalise(t)
	m.exchange(t)
	m.replace(t, 2, m.now, m.Kill, true)
	m.requireSnapshots(t, 2, 3)
	m.exchange(t)
	eventually(t, 30*time.Second, func() error { return m.health(t, 0, "healthy") })

	h := s.finish(t)
	m.requireKept(t, "t", h)
	read.requireAll(t, len(h[0]))
	m.requireUnderstood(t)
	m.requireShutOut(t)
}

// upMixed starts three brokers of the release before. Logs are compacted often, so that who was away needs a snapshot.
func upMixed(t *testing.T, before string) *mix {
	t.Helper()
	m := &mix{before: before, now: binaries, links: t.TempDir(), read: map[string]int{}}
	spec := cluster.Spec{Brokers: 3, Binary: filepath.Join(before, "trunklined"), Config: map[string]string{"raft.compact_bytes": "1MiB"}}
	for id := range 3 {
		m.run(t, id+1, before)
		spec.Places = append(spec.Places, cluster.Place{Binary: filepath.Join(m.links, fmt.Sprint(id+1))})
	}
	m.env = upAs(t, spec)
	return m
}

// run says what a broker runs from its next start on.
func (m *mix) run(t *testing.T, id int, dir string) {
	t.Helper()
	link := filepath.Join(m.links, fmt.Sprint(id))
	require.NoError(t, os.Symlink(filepath.Join(dir, "trunklined"), link+".new"))
	require.NoError(t, os.Rename(link+".new", link))
}

// replace ends a broker and starts it with the binaries in dir, if need be after so much was published that its log is compacted
// away, and waits until it has everything.
func (m *mix) replace(t *testing.T, id int, dir string, end func(context.Context, int) error, far bool) {
	t.Helper()
	m.requireUnderstood(t) // counters begin anew
	require.NoError(t, end(deadline(t, 30*time.Second), id))
	m.run(t, id, dir)
	if far {
		m.bulk(t)
		m.churn(t)
	}
	require.NoError(t, m.Start(deadline(t, 60*time.Second), id))
	m.awaitCaughtUp(t)
}

// bulk publishes until the log's leader has compacted it twice: the first time may leave what was there before. What was published before
// the leader first looked does not count for it, so it goes on publishing while it waits.
func (m *mix) bulk(t *testing.T) {
	t.Helper()
	ctx := deadline(t, time.Minute)
	p, err := m.client.Producer(ctx, "bulk")
	require.NoError(t, err)
	defer p.Close(ctx)
	for range 2 {
		leader, err := m.Broker(m.leader(t, "bulk", 0))
		require.NoError(t, err)
		compactions := func() int {
			return int(counters(metricsOf(t, leader.Admin), "trunkline_raft_compaction_seconds_count"))
		}
		before := compactions()
		eventually(t, 30*time.Second, func() error {
			_, err := p.Publish(ctx, client.Record{Value: bytes.Repeat([]byte("x"), 128<<10)})
			require.NoError(t, err)
			return atLeast(compactions(), before+1)
		})
	}
}

// awaitCaughtUp waits until all replicas of all brokers have everything.
func (m *mix) awaitCaughtUp(t *testing.T) {
	t.Helper()
	eventually(t, 60*time.Second, func() error {
		for _, topic := range []string{"t", "cli", "bulk"} {
			d, err := m.client.Admin().DescribeTopic(deadline(t, 5*time.Second), topic)
			if err != nil {
				return err
			}
			for _, p := range d.Partitions {
				for _, r := range p.States {
					if r.Err != nil || r.Next+500 < p.Next || topic != "t" && r.Next != p.Next {
						return fmt.Errorf("broker %d has %d of %d of %s/%d (%w)", r.Broker, r.Next, p.Next, topic, p.Partition, r.Err)
					}
				}
			}
		}
		return nil
	})
}

// exchange has the command lines of both releases publish and read; each reads what was published since, in order and once.
func (m *mix) exchange(t *testing.T) {
	t.Helper()
	for _, dir := range []string{m.before, m.now} {
		var text strings.Builder
		for range 20 {
			line := fmt.Sprintf("%s-%d", filepath.Base(filepath.Dir(dir)), len(m.lines))
			m.lines = append(m.lines, line)
			fmt.Fprintln(&text, line)
		}
		m.tool(t, dir, text.String(), "pub", "cli")
	}
	for _, dir := range []string{m.before, m.now} {
		sub := "of-" + map[string]string{m.before: "before", m.now: "now"}[dir]
		from := m.read[sub]
		out := m.tool(t, dir, "", "sub", "cli", "--subscription", sub, "--from", "earliest", "--count", fmt.Sprint(len(m.lines)-from))
		require.Equal(t, m.lines[from:], strings.Fields(out))
		m.read[sub] = len(m.lines)
		require.Equal(t, m.lines, strings.Fields(m.tool(t, dir, "", "read", "cli", "--stop-at-end")))
	}
}

// tool runs the trunkline command of a release.
func (m *mix) tool(t *testing.T, dir, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(deadline(t, time.Minute), filepath.Join(dir, "trunkline"), append([]string{"--context", m.Context()}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Run(), "%s: %v: %s", dir, args, errs.String())
	return out.String()
}

// churn changes the metadata so often that who was away needs a snapshot of them.
func (m *mix) churn(t *testing.T) {
	t.Helper()
	const clients, changes = 12, 1800
	ctx := deadline(t, time.Minute)
	failed := make([]error, clients)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for n := 0; n < changes/clients && failed[i] == nil; n++ {
				_, failed[i] = m.client.Admin().AlterTopic(ctx, "bulk", client.TopicChange{Retention: new(time.Duration(1+n) * time.Hour)})
			}
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(failed...))
}

// requireSnapshots asks that a broker was brought up by snapshots, of a partition and of the metadata, and that all of the latter that
// brokers keep are of this version.
func (m *mix) requireSnapshots(t *testing.T, id int, version byte) {
	t.Helper()
	b, err := m.Broker(id)
	require.NoError(t, err)
	require.Positive(t, counters(metricsOf(t, b.Admin), "trunkline_fsm_snapshots_installed_total"))
	const magic = "TLMETA"
	has := map[int]bool{}
	for _, b := range m.Brokers() {
		files, err := filepath.Glob(filepath.Join(m.Dir(), fmt.Sprint("broker-", b.ID), "data", "raft", "host", "*", "snapshot-part-1", "*", "*", "*.gbsnap"))
		require.NoError(t, err)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			at := bytes.Index(text, []byte(magic))
			require.GreaterOrEqual(t, at, 0, file)
			require.Equal(t, version, text[at+len(magic)], file)
			has[b.ID] = true
		}
	}
	require.True(t, has[id], "broker %d has no snapshot of the metadata", id)
}

// requireUnderstood asks that no broker that runs met a frame or message that it does not know.
func (m *mix) requireUnderstood(t *testing.T) {
	t.Helper()
	for _, b := range m.Brokers() {
		text := metricsOf(t, b.Admin)
		for _, code := range []string{"unexpected_frame", "unsupported", "frame_too_large", "internal"} {
			require.Zero(t, counters(text, `trunkline_session_errors_total{code="`+code+`"}`), "broker %d: %s", b.ID, code)
		}
		for _, code := range []string{"version", "message", "other"} {
			require.Zero(t, counters(text, `trunkline_raftnet_rejects_total{code="`+code+`"}`), "broker %d: %s", b.ID, code)
		}
		log, err := os.ReadFile(m.Log(b.ID))
		require.NoError(t, err)
		require.NotRegexp(t, "unexpected frame|malformed|announcements refused|panic", string(log), "broker %d", b.ID)
	}
}

// counters sums up the samples whose name, with the labels that are given, begins so.
func counters(metrics, name string) (sum float64) {
	for _, hit := range regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(name)+`(?:\{[^}]*\})? (\S+)$`).FindAllStringSubmatch(metrics, -1) {
		var v float64
		_, _ = fmt.Sscan(hit[1], &v)
		sum += v
	}
	return sum
}

// requireHeldBack asks that the cluster cannot be finalised, and why.
func (m *mix) requireHeldBack(t *testing.T, why string) {
	t.Helper()
	for _, args := range [][]string{{"cluster", "finalize", "--dry-run"}, {"cluster", "finalize"}} {
		out, errs, err := m.cli(t, "", args...)
		require.Error(t, err)
		require.Contains(t, out, why)
		require.Contains(t, errs, "nothing was changed")
		t.Log(out, errs)
	}
}

// finalise raises the level, and again, which changes nothing.
func (m *mix) finalise(t *testing.T) {
	t.Helper()
	require.Equal(t, 1, m.level(t, "--dry-run"))
	out := m.tool(t, m.now, "", "cluster", "finalize")
	require.Contains(t, out, "Raised from level 1 to level 2")
	t.Log(out)
	require.Equal(t, 2, m.level(t))
	out = m.tool(t, m.now, "", "cluster", "finalize")
	require.Contains(t, out, "\nThe cluster is at level 2, the highest that its brokers understand.")
	eventually(t, 20*time.Second, func() error { // the level reaches the disks of all with the image
		for _, b := range m.Brokers() {
			if id := m.identity(t, b.ID); id["version"] != 3.0 || id["level"] != 2.0 {
				return fmt.Errorf("broker %d: %v", b.ID, id)
			}
		}
		return nil
	})
}

func (m *mix) level(t *testing.T, flags ...string) int {
	t.Helper()
	out, errs, err := m.cli(t, "", append([]string{"cluster", "finalize", "--json"}, flags...)...)
	require.NoError(t, err, errs)
	var r struct{ Level int }
	require.NoError(t, json.Unmarshal([]byte(out), &r))
	return r.Level
}

func (m *mix) identityFile(id int) string {
	return filepath.Join(m.Dir(), fmt.Sprint("broker-", id), "data", "identity.json")
}

func (m *mix) identity(t *testing.T, id int) map[string]any {
	t.Helper()
	text, err := os.ReadFile(m.identityFile(id))
	require.NoError(t, err)
	var fields map[string]any
	require.NoError(t, json.Unmarshal(text, &fields))
	return fields
}

// requireShutOut asks that a broker of the release before is refused: by its own directory; if that was not marked in time, by the others
// or by its own log, whichever is first; and when it wants to join.
func (m *mix) requireShutOut(t *testing.T) {
	t.Helper()
	ctx := deadline(t, time.Minute)
	require.NoError(t, m.Stop(ctx, 3))
	m.run(t, 3, m.before)
	require.ErrorContains(t, m.Start(ctx, 3), "has layout version 3 and this trunklined knows 2: run the version that wrote it")

	text, err := os.ReadFile(m.identityFile(3))
	require.NoError(t, err)
	unmarked := strings.Replace(string(text), `"version": 3`, `"version": 2`, 1)
	require.NotEqual(t, string(text), unmarked)
	require.NoError(t, os.WriteFile(m.identityFile(3), []byte(unmarked), 0o600))
	require.Error(t, m.Start(ctx, 3))
	log, err := os.ReadFile(m.Log(3))
	require.NoError(t, err)
	require.Regexp(t, "the cluster was finalised at level 2, and broker 3 runs a release that understands level 1|"+ // its peers
		"read metadata snapshot: version 3, this broker reads 2", string(log)) // what it has itself

	require.NoError(t, os.WriteFile(m.identityFile(3), text, 0o600))
	m.run(t, 3, m.now)
	require.NoError(t, m.Start(ctx, 3))
	_, err = m.Join(deadline(t, 30*time.Second)) // of the cluster's own binary, which is of the release before
	require.ErrorContains(t, err, "the cluster was finalised at level 2, and broker 4 runs a release that understands level 1")
}

// TestMixedGolden reads the golden frames of the release before.
func TestMixedGolden(t *testing.T) {
	_, src := previous(t)
	vectors, err := filepath.Glob(filepath.Join(src, "protocol", "wire", "testdata", "*.bin"))
	require.NoError(t, err)
	require.NotEmpty(t, vectors)
	for _, path := range vectors {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		kind, body, err := frame.NewReader(bytes.NewReader(b)).Next()
		require.NoError(t, err, path)
		if message := messageOf(kind); message != nil {
			require.NoError(t, message.Decode(body), path)
		} else {
			require.Equal(t, protocol.KindDeliver, kind, path) // its body is no message
		}
	}
}

func messageOf(k protocol.Kind) interface{ Decode([]byte) error } {
	switch k {
	case protocol.KindError:
		return new(wire.Error)
	case protocol.KindHello:
		return new(wire.Hello)
	case protocol.KindHelloOK:
		return new(wire.HelloOK)
	case protocol.KindPing, protocol.KindPong:
		return new(wire.Ping)
	case protocol.KindMetadataSubscribe:
		return new(wire.MetadataSubscribe)
	case protocol.KindMetadata:
		return new(wire.Metadata)
	case protocol.KindLeaderChange:
		return new(wire.LeaderChange)
	case protocol.KindGoAway:
		return new(wire.GoAway)
	case protocol.KindProduceOpen:
		return new(wire.ProduceOpen)
	case protocol.KindProduceOpenOK:
		return new(wire.ProduceOpenOK)
	case protocol.KindProduceAck:
		return new(wire.ProduceAck)
	case protocol.KindRequest:
		return new(wire.Request)
	case protocol.KindResponse:
		return new(wire.Response)
	}
	return consumeMessageOf(k)
}

func consumeMessageOf(k protocol.Kind) interface{ Decode([]byte) error } {
	switch k {
	case protocol.KindConsumeOpen:
		return new(wire.ConsumeOpen)
	case protocol.KindConsumeOpenOK:
		return new(wire.ConsumeOpenOK)
	case protocol.KindActivate:
		return new(wire.Activate)
	case protocol.KindCredit:
		return new(wire.Credit)
	case protocol.KindAck:
		return new(wire.Ack)
	case protocol.KindAckOK:
		return new(wire.AckOK)
	case protocol.KindRevoke:
		return new(wire.Revoke)
	case protocol.KindRelease:
		return new(wire.Release)
	case protocol.KindDeactivated:
		return new(wire.Deactivated)
	case protocol.KindGap:
		return new(wire.Gap)
	}
	return nil
}

// follower is a subscription that reads all the time.
type follower struct {
	next      map[protocol.Partition]protocol.Offset
	again     int // records that came once more: a hand-over may deliver again what was not acknowledged
	delivered chan int
	ended     chan error
}

// follow reads a topic until the test ends; a record that is passed over ends it.
func (m *mix) follow(t *testing.T, topic string) *follower {
	t.Helper()
	sub, err := m.client.Subscribe(deadline(t, 20*time.Second), topic, "flat")
	require.NoError(t, err)
	f := &follower{next: map[protocol.Partition]protocol.Offset{}, delivered: make(chan int, 1), ended: make(chan error, 1)}
	go func() { f.ended <- f.read(t.Context(), sub) }()
	return f
}

func (f *follower) read(ctx context.Context, sub *client.Subscription) error {
	for total := 0; ; {
		r, err := sub.Receive(ctx)
		if err != nil {
			return err
		}
		switch next := f.next[r.Partition]; {
		case r.Offset > next:
			return fmt.Errorf("partition %d: offset %d was passed over, %d came", r.Partition, next, r.Offset)
		case r.Offset < next:
			f.again++
		default:
			f.next[r.Partition]++
			total++
		}
		if err := sub.Ack(r); err != nil {
			return err
		}
		select { // the newest count only
		case <-f.delivered:
		default:
		}
		f.delivered <- total
	}
}

// requireAll waits until n records were delivered, each for the first time in order.
func (f *follower) requireAll(t *testing.T, n int) {
	t.Helper()
	limit := time.After(30 * time.Second)
	for {
		select {
		case got := <-f.delivered:
			if got >= n {
				require.Equal(t, n, got)
				return
			}
		case err := <-f.ended:
			t.Fatal(err)
		case <-limit:
			t.Fatalf("of %d records not all were delivered", n)
		}
	}
}
