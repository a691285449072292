package jetstream_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/driver/jetstream"
)

const (
	agreeBatch   = 4096 // messages that are sent before the sender waits for all acks, as `nats bench` does
	agreeSize    = 256  // bytes
	agreeSeconds = 5    // of each measurement, about
	agreeWarm    = 2    // seconds
	agreeRounds  = 3
	agreeWithin  = 0.15
)

// TestAgreesWithNatsBench measures the driver's producer and `nats bench` in turn, on the same cluster and the same stream, both
// connected to the leader of the stream:
//
//	nats bench -s LEADER js pub async agree.0 --stream agree-0 --batch 4096 --size 256 --msgs N --no-progress
//	nats bench -s LEADER js pub sync  agree.0 --stream agree-0 --size 256 --msgs N --no-progress
//
// `nats bench` sends a batch, waits for all its acks, and goes on with the next; so does the sender here. What the driver does when it
// may slide its window, as in every workload, is logged. It takes 3 minutes, so it runs only if TRUNKBENCH_AGREE is set. `nats` is
// looked for beside nats-server.
func TestAgreesWithNatsBench(t *testing.T) {
	if os.Getenv("TRUNKBENCH_AGREE") == "" {
		t.Skip("set TRUNKBENCH_AGREE=1 to compare with nats bench, for 3 minutes")
	}
	for _, profile := range (jetstream.Driver{}).Profiles() {
		for _, batch := range []int{agreeBatch, 1} {
			t.Run(profile.Name+"/"+strconv.Itoa(batch)+" in flight", func(t *testing.T) { agree(t, profile.Name, batch) })
		}
	}
}

func agree(t *testing.T, profile string, batch int) {
	sys := open(t, profile)
	topic := driver.Topic{Name: "agree", Partitions: 1, Replicas: 3, Payload: agreeSize}
	require.NoError(t, sys.CreateTopic(within(t, 20*time.Second), topic))
	count := int(agreeSeconds * warm(t, sys, batch))
	var ours, theirs []float64
	for range agreeRounds {
		ours = append(ours, inBatches(t, sys, batch, count))
		theirs = append(theirs, natsBench(t, sys, batch, count))
	}
	t.Logf("%d messages each time; a second: driver %.0f, nats bench %.0f", count, ours, theirs)
	if batch > 1 {
		t.Logf("the driver with a sliding window: %.0f", sliding(t, sys, batch, count))
	}
	require.InEpsilon(t, median(theirs), median(ours), agreeWithin)
}

func median(rates []float64) float64 {
	slices.Sort(rates)
	return rates[len(rates)/2]
}

// publisher is one producer of the driver and what it sends.
type publisher struct {
	driver.Producer
	payload []byte
	answers sync.WaitGroup
	failed  atomic.Int64
}

func newPublisher(t *testing.T, sys driver.System, bound int) *publisher {
	t.Helper()
	p, err := sys.Producer(within(t, 10*time.Second), driver.ProducerOptions{Topic: "agree", MaxInFlight: bound})
	require.NoError(t, err)
	return &publisher{Producer: p, payload: make([]byte, agreeSize)}
}

func (p *publisher) batch(t *testing.T, n int) {
	p.answers.Add(n)
	for range n {
		p.Send(t.Context(), &driver.Message{Payload: p.payload, Done: p.done})
	}
	p.answers.Wait()
}

func (p *publisher) done(_ *driver.Message, a driver.Ack) {
	if a.Err != nil {
		p.failed.Add(1)
	}
	p.answers.Done()
}

func (p *publisher) end(t *testing.T) {
	t.Helper()
	require.NoError(t, p.Close(within(t, 10*time.Second)))
	require.Zero(t, p.failed.Load())
}

// warm publishes for a while and returns the rate.
func warm(t *testing.T, sys driver.System, batch int) float64 {
	t.Helper()
	p := newPublisher(t, sys, batch)
	defer p.end(t)
	begin, sent := time.Now(), 0
	for ; time.Since(begin) < agreeWarm*time.Second; sent += batch {
		p.batch(t, batch)
	}
	return float64(sent) / time.Since(begin).Seconds()
}

// inBatches publishes as `nats bench` does and returns messages a second.
func inBatches(t *testing.T, sys driver.System, batch, count int) float64 {
	t.Helper()
	p := newPublisher(t, sys, batch)
	defer p.end(t)
	begin := time.Now()
	for left := count; left > 0; left -= batch {
		p.batch(t, min(batch, left))
	}
	return float64(count) / time.Since(begin).Seconds()
}

// sliding publishes with as many in flight, always.
func sliding(t *testing.T, sys driver.System, bound, count int) float64 {
	t.Helper()
	p := newPublisher(t, sys, bound)
	defer p.end(t)
	begin := time.Now()
	p.batch(t, count)
	return float64(count) / time.Since(begin).Seconds()
}

var benchRate = regexp.MustCompile(`stats: ([0-9,]+) msgs/sec`)

// natsBench runs `nats bench` and returns the messages a second that it reports.
func natsBench(t *testing.T, sys driver.System, batch, count int) float64 {
	t.Helper()
	leaders, err := sys.Leaders(t.Context(), "agree")
	require.NoError(t, err)
	args := []string{"bench", "-s", sys.Nodes()[leaders[0]-1].Addr, "js", "pub"}
	if batch > 1 {
		args = append(args, "async", "--batch", strconv.Itoa(batch))
	} else {
		args = append(args, "sync")
	}
	args = append(args, "agree.0", "--stream", "agree-0", "--size", strconv.Itoa(agreeSize), "--msgs", strconv.Itoa(count), "--no-progress")
	out, err := exec.CommandContext(within(t, time.Minute), filepath.Join(driver.PeersDir(), "nats"), args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	found := benchRate.FindSubmatch(out)
	require.NotNil(t, found, "%s", out)
	rate, err := strconv.ParseFloat(strings.ReplaceAll(string(found[1]), ",", ""), 64)
	require.NoError(t, err)
	return rate
}
