package kafka

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/driver"
)

const agreePartitions = 8

// TestAgreesWithPerfTest publishes with this driver and with kafka-producer-perf-test, by turns on one cluster with the same
// settings, and compares the medians: a driver that is more than 15 % slower than Kafka's own tool uses Kafka badly. The tool's
// Java client shares the processors with the servers and is dearer than the Go one; on two cores it was the slower by 1.3 to 2.
func TestAgreesWithPerfTest(t *testing.T) {
	if os.Getenv("TRUNKBENCH_AGREE") == "" {
		t.Skip("set TRUNKBENCH_AGREE=1 to compare with kafka-producer-perf-test: it takes six minutes")
	}
	s := open(t, "").(*system)
	for _, size := range []int{256, 1024} {
		topic := driver.Topic{Name: fmt.Sprintf("agree-%d", size), Partitions: agreePartitions, Replicas: 3}
		require.NoError(t, s.CreateTopic(t.Context(), topic))
		count := 15 * int(ours(t, s, topic.Name, size, 200_000)) // warms up; 15 s, of which a Java machine takes 5 to warm up
		perfTest(t, s, topic.Name, size, 50_000)
		var mine, theirs []float64
		for range 3 {
			mine = append(mine, ours(t, s, topic.Name, size, count))
			theirs = append(theirs, perfTest(t, s, topic.Name, size, count))
		}
		a, b := median(mine), median(theirs)
		t.Logf("%d B: this driver %.0f messages/s %.0f, kafka-producer-perf-test %.0f %.0f, ratio %.2f", size, a, mine, b, theirs, a/b)
		if a/b < 0.85 {
			t.Errorf("%d B: this driver is more than 15 %% slower", size)
		}
		require.NoError(t, s.DeleteTopic(t.Context(), topic.Name))
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// ours publishes through the driver as fast as it takes messages, and returns messages a second.
func ours(t *testing.T, s *system, topic string, size, count int) float64 {
	t.Helper()
	p, err := s.Producer(t.Context(), driver.ProducerOptions{Topic: topic, Retry: true})
	require.NoError(t, err)
	payload := make([]byte, size)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(payload)
	var failed atomic.Int64
	m := driver.Message{Partition: driver.AnyPartition, Payload: payload, Done: func(_ *driver.Message, a driver.Ack) {
		if a.Err != nil {
			failed.Add(1)
		}
	}}
	begin := time.Now()
	for range count {
		p.Send(t.Context(), &m) // Done only counts, so one message does for all
	}
	require.NoError(t, p.Close(t.Context()))
	took := time.Since(begin)
	require.Zero(t, failed.Load())
	return float64(count) / took.Seconds()
}

var perfRate = regexp.MustCompile(`(\d+) records sent, ([0-9.]+) records/sec`)

// perfTest runs Apache's own load generator with this driver's settings.
func perfTest(t *testing.T, s *system, topic string, size, count int) float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// Without a file of payloads the tool makes up each byte as it sends, and measures that. batch.size: franz-go fills batches up
	// to 1 MB; buffer.memory: its bound in bytes.
	payloads := filepath.Join(t.TempDir(), "payloads")
	require.NoError(t, os.WriteFile(payloads, []byte(strings.Repeat(strings.Repeat("x", size)+"\n", 4)), 0o600))
	cmd := exec.CommandContext(ctx, "java", "-Xmx512m", "-Xms512m", "-XX:+UseG1GC", "-cp", filepath.Join(jars(t), "*"),
		"org.apache.kafka.tools.ProducerPerformance", "--topic", topic, "--payload-file", payloads,
		"--num-records", strconv.Itoa(count), "--throughput", "-1", "--producer-props", "bootstrap.servers="+strings.Join(s.addrs, ","),
		"acks=all", "enable.idempotence=true", fmt.Sprintf("linger.ms=%d", linger.Milliseconds()), "batch.size=1000012",
		fmt.Sprintf("buffer.memory=%d", bufferBytes), "compression.type=none")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	found := perfRate.FindAllSubmatch(out, -1)
	require.NotEmpty(t, found, "%s", out)
	last := found[len(found)-1]
	require.Equal(t, strconv.Itoa(count), string(last[1]), "%s", out)
	rate, err := strconv.ParseFloat(string(last[2]), 64)
	require.NoError(t, err)
	return rate
}
