package report

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/results"
)

// sample makes a file of synthetic runs, varied so that every plot has something to tell systems apart by.
func sample(systems, workloads []string, rounds int) *results.File {
	f := &results.File{
		Schema: results.Schema, Created: time.Date(2026, 11, 22, 23, 10, 0, 0, time.UTC),
		Command: "trunkbench compare --drivers trunkline,jetstream,kafka,rabbitmq --rounds 3",
		Environment: results.Environment{
			Trunkbench: "v0.9.0", Go: "go1.26.0", OS: "linux 6.1.0", CPU: "Synthetic CPU @ 2.4 GHz", Cores: 2, MemoryMiB: 8192,
			Filesystem: "ext4", FsyncP50us: 812, FsyncP99us: 4100, LoadBefore: 0.31,
		},
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for w, workload := range workloads {
		for round := 1; round <= rounds; round++ {
			for s, system := range systems {
				f.Runs = append(f.Runs, syntheticRun(rng, system, workload, round, 1+float64(s)*0.7, 1+float64(w)*0.3))
			}
		}
	}
	return f
}

func syntheticRun(rng *rand.Rand, system, workload string, round int, slow, heavy float64) results.Run {
	noise := func() float64 { return 0.9 + 0.2*rng.Float64() }
	r := results.Run{
		System: system, Workload: workload, Round: round, Verdict: results.OK, Seconds: 60,
		About: driver.About{
			System: system, Profile: "default", Version: "1.2.3", Client: "client v0.1", Durable: slow < 2,
			Ack:    "A majority of the three replicas has written the message to its log and called fdatasync.",
			Config: []driver.Setting{{Key: "sync", Value: "always", Why: "an ack means disk"}},
		},
		Spec: map[string]any{"Doc": "1 KiB messages, 4 producers, as many as the system takes"},
	}
	r.PublishRate = 250_000 / slow / heavy * noise()
	r.Maximum, r.Offered = r.PublishRate/0.95, r.PublishRate
	r.PublishMBps, r.ConsumeRate = r.PublishRate*1024/1e6, r.PublishRate
	r.Publish = distribution(1500*slow*heavy*noise(), 0.7+0.1*slow)
	r.Sent = distribution(1300*slow*heavy*noise(), 0.6)
	r.EndToEnd = distribution(2200*slow*heavy*noise(), 0.8+0.1*slow)
	for n := 1; n <= 3; n++ {
		r.Cost = append(r.Cost, results.Cost{
			Node: n, CPUSeconds: 20 * slow * noise(), RSSMaxMiB: 150 * slow * slow * noise(), BytesWritten: int64(r.PublishMBps * 60e6 * (1 + slow/4)),
		})
	}
	r.Loader = results.Loader{CPUSeconds: 30, LagP99: 120, LagMax: 900}
	r.Checked = results.Checked{Done: true, Sent: 1000, Acked: 1000, Delivered: 1000}
	if workload == "failover" {
		for k := range 10 {
			at := 3 + 5.5*float64(k) + slow/2
			r.Faults = append(r.Faults, results.Fault{
				Kind: "kill", Node: 1 + k%3, At: at, Back: at + 2, Led: 3, PublishPause: 90 * slow * slow * math.Exp(rng.NormFloat64()*0.4),
				DeliveryPause: 130 * slow * slow * math.Exp(rng.NormFloat64()*0.4), ReturnPause: 20,
			})
		}
	}
	for t := 1; t <= 60; t++ {
		pub := r.PublishRate * noise()
		for _, f := range r.Faults {
			if float64(t) > f.At && float64(t) <= f.At+1 {
				pub *= 0.35
			}
		}
		r.Timeline = append(r.Timeline, results.Point{At: float64(t), Published: pub, Consumed: pub * noise()})
	}
	return r
}

// distribution is log-normal: a median in microseconds and a spread.
func distribution(median, sigma float64) results.Latency {
	at := func(percentile float64) float64 {
		return median * math.Exp(sigma*math.Sqrt2*math.Erfinv(2*min(percentile, 99.9999)/100-1))
	}
	l := results.Latency{
		Count: 1_000_000, Mean: median, Min: int64(at(0.001)), P50: int64(at(50)), P75: int64(at(75)), P95: int64(at(95)), P99: int64(at(99)),
		P999: int64(at(99.9)), P9999: int64(at(99.99)), Max: int64(at(99.9999)),
	}
	for x := 0.02; x < 6; x += 0.02 {
		p := 100 * (1 - math.Pow(10, -x))
		l.Curve = append(l.Curve, [2]float64{p, math.Trunc(at(p))})
	}
	l.Curve = append(l.Curve, [2]float64{100, float64(l.Max)})
	return l
}

func many(prefix string, n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("%s-%d", prefix, i+1))
	}
	return all
}
