// Package results is what a measurement leaves: the values of the results file, documented key by key in bench/README.md, and the
// comparison of runs. It is pure apart from reading and writing files.
//
// A file holds the runs of one command on one machine. Figures of different files were taken at different times; comparing them
// (trunkbench report A B) says so. Ratios count within one file, round by round.
package results

import (
	"time"

	"github.com/trunkline/trunkline/bench/driver"
)

// Schema is the version of the file's form. It grows when a reader of the old form would be wrong about the new one.
const Schema = 1

// File is a results file.
type File struct {
	Schema      int         `json:"schema"`
	Created     time.Time   `json:"created"`
	Command     string      `json:"command"` // as typed, without paths of this machine
	Environment Environment `json:"environment"`
	Runs        []Run       `json:"runs"` // in the order in which they were made
	// NotMeasured says which systems were asked for and could not be measured, and why.
	NotMeasured []NotMeasured `json:"not_measured,omitempty"`
}

// NotMeasured is a system without figures.
type NotMeasured struct {
	System string `json:"system"` // "driver:profile"
	Why    string `json:"why"`
}

// Environment is the machine and the programs.
type Environment struct {
	Trunkbench string  `json:"trunkbench"` // version
	Go         string  `json:"go"`
	OS         string  `json:"os"` // with kernel version
	CPU        string  `json:"cpu"`
	Cores      int     `json:"cores"`
	MemoryMiB  int     `json:"memory_mib"`
	Filesystem string  `json:"filesystem"`   // of the nodes' data
	FsyncP50us float64 `json:"fsync_p50_us"` // of 4 KiB appended and fdatasynced, before the first run
	FsyncP99us float64 `json:"fsync_p99_us"`
	// LoadBefore is the load average of the last minute before the first run: other programs at work.
	LoadBefore float64 `json:"load_before"`
}

// Verdict says what a run is worth.
type Verdict string

// The verdicts.
const (
	OK           Verdict = "ok"
	Inconclusive Verdict = "inconclusive" // the loader missed its schedule or the offered rate was not reached: no figure of it counts
	Failed       Verdict = "failed"       // a promise was broken or the work did not end
)

// Run is one workload on one system, once.
type Run struct {
	System   string       `json:"system"`   // "driver:profile"
	Workload string       `json:"workload"` // name
	Round    int          `json:"round"`    // from 1
	About    driver.About `json:"about"`
	Spec     any          `json:"spec"` // the workload as it was run
	Start    time.Time    `json:"start"`
	Seconds  float64      `json:"seconds"` // of the measured part

	Verdict Verdict  `json:"verdict"`
	Reasons []string `json:"reasons,omitempty"` // why it is not ok

	Offered     float64 `json:"offered_per_second"`              // 0 in a closed loop
	Maximum     float64 `json:"maximum_per_second,omitempty"`    // found by the search
	PublishRate float64 `json:"publish_per_second"`              // acknowledged
	PublishMBps float64 `json:"publish_mb_per_second"`           // 10^6 bytes of payload
	ConsumeRate float64 `json:"consume_per_second"`              // over all subscriptions
	Failures    int64   `json:"failures"`                        // publishes answered with an error
	FirstError  string  `json:"first_error,omitempty"`           //
	DrainRate   float64 `json:"drain_per_second,omitempty"`      // of a backlog, over all subscriptions
	DrainMBps   float64 `json:"drain_mb_per_second,omitempty"`   //
	BacklogPeak int64   `json:"backlog_peak_messages,omitempty"` // acknowledged and not delivered, the worst second

	Publish  Latency `json:"publish_us"`      // acknowledged minus intended send time: the headline
	Sent     Latency `json:"publish_sent_us"` // acknowledged minus actual send time
	EndToEnd Latency `json:"end_to_end_us"`   // delivered minus intended send time
	Delivery Latency `json:"delivery_us"`     // delivered minus actual send time

	Timeline []Point `json:"timeline"` // one a second
	Faults   []Fault `json:"faults,omitempty"`
	Cost     []Cost  `json:"cost"` // one a node
	Loader   Loader  `json:"loader"`
	Machine  Machine `json:"machine"`
	Checked  Checked `json:"checked"`
}

// Latency is a distribution in microseconds. Nothing is clipped or left out.
type Latency struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean"`
	Min   int64   `json:"min"`
	P50   int64   `json:"p50"`
	P75   int64   `json:"p75"`
	P95   int64   `json:"p95"`
	P99   int64   `json:"p99"`
	P999  int64   `json:"p99_9"`
	P9999 int64   `json:"p99_99"`
	Max   int64   `json:"max"`
	// Curve are points of the cumulative distribution for plots, from the median's side up: each {percentile, microseconds}.
	Curve [][2]float64 `json:"curve,omitempty"`
}

// Point is a second of the timeline.
type Point struct {
	At         float64 `json:"at"` // seconds since the measured part began; the end of the interval
	Published  float64 `json:"published_per_second"`
	Consumed   float64 `json:"consumed_per_second"`
	Failed     float64 `json:"failed_per_second"`
	Backlog    int64   `json:"backlog"` // acknowledged and not delivered, messages
	Waiting    int64   `json:"waiting"` // sent and not answered, messages
	PublishP50 int64   `json:"publish_p50_us"`
	PublishP99 int64   `json:"publish_p99_us"`
	EndP99     int64   `json:"end_to_end_p99_us"`
}

// Fault is one fault as it was made.
type Fault struct {
	Kind string  `json:"kind"`
	Node int     `json:"node"`
	At   float64 `json:"at"` // seconds since the measured part began
	Back float64 `json:"back"`
	Led  int     `json:"led"` // partitions that the node led
	// PublishPause is the longest time without an acknowledgement, while messages waited, on a partition that the node led;
	// DeliveryPause the same without a delivery. Milliseconds.
	PublishPause  float64 `json:"publish_pause_ms"`
	DeliveryPause float64 `json:"delivery_pause_ms"`
	// ReturnPause is the longest publish pause on any partition from the node's return to the next fault.
	ReturnPause float64 `json:"return_pause_ms"`
}

// Cost is what one node used during the measured part.
type Cost struct {
	Node         int     `json:"node"`
	CPUSeconds   float64 `json:"cpu_seconds"`
	RSSMaxMiB    float64 `json:"rss_max_mib"`
	BytesWritten int64   `json:"bytes_written"` // handed to the block layer, /proc/PID/io write_bytes
}

// Loader is the bench's own part.
type Loader struct {
	CPUSeconds float64 `json:"cpu_seconds"`
	// Lag is the time from when a message could have been sent (its intended time, or the return of the Send before it) until
	// it was: the loader's own delay, in microseconds. Back-pressure of the system is not in it.
	LagP99 int64 `json:"lag_p99_us"`
	LagMax int64 `json:"lag_max_us"`
}

// Machine is how busy all processors of the machine were during the measured part. A saturated machine makes everybody late, the
// loader too; time that the host of a virtual machine takes away does so whoever waits.
type Machine struct {
	Busy   float64 `json:"busy"`   // 0 to 1: share of the processor time spent on anything, stolen time included
	Stolen float64 `json:"stolen"` // 0 to 1: share that the host spent on something else although there was work
}

// Checked is what became of the messages.
type Checked struct {
	Done        bool     `json:"done"` // false: the workload did not ask for it
	Sent        int64    `json:"sent"`
	Acked       int64    `json:"acked"`
	Delivered   int64    `json:"delivered"`   // over all subscriptions
	Lost        int64    `json:"lost"`        // acknowledged and never delivered
	Duplicated  int64    `json:"duplicated"`  // stored twice
	Redelivered int64    `json:"redelivered"` // delivered again from the same place, or marked so by the system
	Reordered   int64    `json:"reordered"`   // delivered after a later one of the same producer and partition
	Phantom     int64    `json:"phantom"`     // never sent, damaged, or answered "definitely not appended"
	Unanswered  int64    `json:"unanswered"`  // neither acknowledged nor refused when the run ended
	Examples    []string `json:"examples,omitempty"`
}
