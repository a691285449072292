package kafka

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/vitals"
)

const (
	agreePartitions = 8
	agreeRounds     = 5
	agreeMeasured   = 6 * time.Second  // of each side in each round
	agreeSettle     = 2 * time.Second  // before that
	agreeWarm       = 20 * time.Second // of the servers, and twice that with the tool: both are Java, and get faster for long
	agreeWithin     = 0.15
)

// TestAgreesWithPerfTest publishes with this driver and with kafka-producer-perf-test, by turns on one cluster, and compares
// messages acknowledged a second. Both are one producer in one process, with
//
//	acks=all enable.idempotence=true linger.ms=10 compression.type=none batch.size=1000012
//
// on 8 partitions and with the same bound of what is not acknowledged yet: 50 000 messages.
//
// What is compared is the steady state. The tool's figure for a whole run counts the start of its Java machine, which takes 15 s
// and more to get fast where its processors are busy. Its --warmup-records does not help: the clock of its steady state starts when the first
// record after the warm-up is handed over, while the buffer is full of records that are not counted. So the tool runs through, is
// stopped (SIGSTOP) while it is the driver's turn, and the lines that it prints every second are added up.
//
// A request of the tool holds 1 MiB by default, which is one full batch, so at 1 KiB the servers answer many more requests for the
// same messages than this driver sends; its max.request.size is raised to the driver's bound.
//
// The median ratio of the rounds has to be within 15 %, both ways. Processor time is logged; bench/README.md has the figures.
func TestAgreesWithPerfTest(t *testing.T) {
	if os.Getenv("TRUNKBENCH_AGREE") == "" {
		t.Skip("set TRUNKBENCH_AGREE=1 to compare with kafka-producer-perf-test: it takes seven minutes")
	}
	for _, size := range []int{256, 1024} {
		t.Run(fmt.Sprintf("%d B", size), func(t *testing.T) { require.InDelta(t, 1, agree(t, size), agreeWithin) })
	}
}

// agree returns how many times faster the driver was than the tool: the median of the rounds.
func agree(t *testing.T, size int) float64 {
	s := open(t, "").(*system)
	topic := driver.Topic{Name: "agree", Partitions: agreePartitions, Replicas: 3}
	require.NoError(t, s.CreateTopic(t.Context(), topic))
	publish(t, s, topic.Name, size, agreeWarm)
	tool := startPerfTest(t, s, topic.Name, size)
	tool.measure(t, s, 2*agreeWarm)
	var ours, theirs, ratios []float64
	for round := range agreeRounds {
		a, b := publish(t, s, topic.Name, size, agreeMeasured), tool.measure(t, s, agreeMeasured)
		t.Logf("round %d: driver %s; kafka-producer-perf-test %s", round+1, a, b)
		ours, theirs, ratios = append(ours, a.rate()), append(theirs, b.rate()), append(ratios, a.rate()/b.rate())
	}
	t.Logf("%d B, medians: driver %.0f messages/s, kafka-producer-perf-test %.0f, ratio of rounds %.2f (%.2f..%.2f)", size, median(ours),
		median(theirs), median(ratios), slices.Min(ratios), slices.Max(ratios))
	return median(ratios)
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// spent is what happened between two moments.
type spent struct {
	acked           float64
	seconds         float64
	client, servers time.Duration // processor time
}

func (s spent) rate() float64 { return s.acked / s.seconds }

func (s spent) String() string {
	million := s.acked / 1e6
	return fmt.Sprintf("%.0f/s, CPU s per million: client %.1f, servers %.1f", s.rate(), s.client.Seconds()/million, s.servers.Seconds()/million)
}

// now is the processor time of a client and of the servers so far. The servers are descendants of the test, so they are taken off
// what it used.
func now(t *testing.T, s *system, client int) spent {
	t.Helper()
	var u spent
	for _, n := range s.Nodes() {
		p, err := vitals.Process(n.PID)
		require.NoError(t, err)
		u.servers += p.CPU
	}
	p, err := vitals.Process(client)
	require.NoError(t, err)
	if u.client = p.CPU; client == os.Getpid() {
		u.client -= u.servers
	}
	return u
}

func (s spent) since(before spent) spent {
	return spent{s.acked - before.acked, s.seconds - before.seconds, s.client - before.client, s.servers - before.servers}
}

// publish publishes through the driver as fast as it takes messages, and measures after a while for so long.
func publish(t *testing.T, s *system, topic string, size int, long time.Duration) spent {
	t.Helper()
	p, err := s.Producer(t.Context(), driver.ProducerOptions{Topic: topic, Retry: true})
	require.NoError(t, err)
	var acked, failed atomic.Int64
	m := driver.Message{Partition: driver.AnyPartition, Payload: payload(size), Done: func(_ *driver.Message, a driver.Ack) {
		if a.Err != nil {
			failed.Add(1)
		}
		acked.Add(1)
	}}
	var stop atomic.Bool
	var sender sync.WaitGroup
	sender.Go(func() {
		for !stop.Load() {
			p.Send(t.Context(), &m) // Done only counts, so one message does for all
		}
	})
	time.Sleep(agreeSettle)
	begin, at, first := now(t, s, os.Getpid()), time.Now(), acked.Load()
	time.Sleep(long)
	got := now(t, s, os.Getpid()).since(begin)
	got.acked, got.seconds = float64(acked.Load()-first), time.Since(at).Seconds()
	stop.Store(true)
	sender.Wait()
	require.NoError(t, p.Close(t.Context()))
	require.Zero(t, failed.Load())
	return got
}

// payload is the same for both: neither compresses, so it does not matter what it says.
func payload(size int) []byte { return []byte(strings.Repeat("x", size)) }

// perfTool is Apache's own load generator while it runs.
type perfTool struct {
	cmd   *exec.Cmd
	lines chan spent // what it says every second
}

var perfLine = regexp.MustCompile(`^(\d+) records sent, ([0-9.]+) records/sec`)

// startPerfTest starts the tool with this driver's settings, and stops it at once. It ends with the test.
func startPerfTest(t *testing.T, s *system, topic string, size int) *perfTool {
	t.Helper()
	// Without a file of payloads the tool makes up each byte as it sends, and measures that.
	payloads := filepath.Join(t.TempDir(), "payloads")
	require.NoError(t, os.WriteFile(payloads, slices.Concat(payload(size), []byte("\n"), payload(size)), 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	p := &perfTool{lines: make(chan spent, 1000)}
	p.cmd = exec.CommandContext(ctx, "java", slices.Concat(jvm, []string{
		"-cp", filepath.Join(jars(t), "*"), "org.apache.kafka.tools.ProducerPerformance", "--topic", topic, "--payload-file", payloads,
		"--num-records", "1000000000", "--throughput", "-1", "--reporting-interval", "1000",
		"--command-property", "bootstrap.servers=" + strings.Join(s.addrs, ","), "acks=all", "enable.idempotence=true", "compression.type=none",
		fmt.Sprintf("linger.ms=%d", linger.Milliseconds()),
		"batch.size=1000012",                                    // what franz-go fills
		"max.request.size=104857600",                            // franz-go's bound of a request; the tool's own default, 1 MiB, holds one full batch
		fmt.Sprintf("buffer.memory=%d", bufferRecords*size*5/4), // franz-go's bound; a quarter more, since a batch that is not full counts whole
	})...)
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.cmd.Stderr = os.Stderr
	require.NoError(t, p.cmd.Start())
	go p.read(bufio.NewScanner(out))
	t.Cleanup(func() {
		cancel()
		for range p.lines { // until it has ended
		}
		_ = p.cmd.Wait() // killed
	})
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGSTOP))
	return p
}

func (p *perfTool) read(out *bufio.Scanner) {
	defer close(p.lines)
	for out.Scan() {
		f := perfLine.FindStringSubmatch(out.Text())
		if f == nil {
			continue
		}
		acked, _ := strconv.ParseFloat(f[1], 64) // the pattern holds numbers only
		rate, _ := strconv.ParseFloat(f[2], 64)
		p.lines <- spent{acked: acked, seconds: acked / rate}
	}
}

// measure lets the tool go on and measures after a while for so long.
func (p *perfTool) measure(t *testing.T, s *system, long time.Duration) spent {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGCONT))
	p.next(t) // holds the time for which it was stopped
	for settle := 0.0; settle < agreeSettle.Seconds(); {
		settle += p.next(t).seconds
	}
	begin := now(t, s, p.cmd.Process.Pid)
	var acked, seconds float64
	for seconds < long.Seconds() {
		line := p.next(t)
		acked, seconds = acked+line.acked, seconds+line.seconds
	}
	got := now(t, s, p.cmd.Process.Pid).since(begin)
	got.acked, got.seconds = acked, seconds
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGSTOP))
	return got
}

func (p *perfTool) next(t *testing.T) spent {
	t.Helper()
	select {
	case line, open := <-p.lines:
		require.True(t, open, "kafka-producer-perf-test ended")
		return line
	case <-time.After(30 * time.Second):
		t.Fatal("kafka-producer-perf-test says nothing")
		return spent{}
	}
}
