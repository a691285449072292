package chaos

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/trunkline/trunkline/bench/cluster"
)

// Options say what to do. Zero fields take the defaults of WithDefaults.
type Options struct {
	Binary string        // path of trunklined
	Rows   []string      // names of Rows, mixed by the seed, or one of Words
	Pairs  bool          // some faults come while another one is in force
	Load   float64       // the load goes at this part of the rate that it is found to reach, see PartLoad; 0: as fast as answers come
	Rate   float64       // with Load: so many messages a second at most; 0: no bound
	Count  int           // faults, at most
	Time   time.Duration // no fault begins later; 0: Count alone decides
	Every  time.Duration // from the beginning of one fault to that of the next, unless that is not over yet; 0: the schedule's
	Slack  float64       // pauses may be so many times what rows allow
	Seed   uint64        // the schedule follows from it

	Brokers       int
	Replicas      int // of each partition; fewer than Brokers only with rows that hit no broker
	Partitions    int
	Producers     int
	Subscriptions int
	InFlight      int // messages of each producer that wait for an answer of one partition, at most
	CargoMB       int // MiB of stored records, a replica each, that rows with cargo lay in before the fault

	Dir     string            // where the run's directory is made; "": the system's temporary directory
	Images  string            // where the disks' images are made; "": Dir
	ImageMB int               // size of an image, MiB; it takes the space that is used
	Config  map[string]string // more keys of the brokers' configuration
	Keep    bool              // keep everything, also after a run without violation

	Progress io.Writer // lines for people
}

// Bounds of the options.
const (
	maxCount      = 10_000
	maxPartitions = 256
	maxProducers  = 64
	maxInFlight   = 1024
	minImageMB    = 256
	maxCargoMB    = 64 << 10
)

// diskReserve is what the brokers' limits.disk_reserve is set to, bytes.
const diskReserve = 256 << 20

// WithDefaults fills in what is zero.
func (o Options) WithDefaults() Options {
	setDefault(&o.Count, 20)
	setDefault(&o.Seed, 1)
	setDefault(&o.Slack, 1)
	setDefault(&o.Partitions, 8)
	setDefault(&o.Producers, 4)
	setDefault(&o.Subscriptions, 2)
	setDefault(&o.InFlight, 64)
	setDefault(&o.CargoMB, 256)
	setDefault(&o.Dir, os.TempDir())
	setDefault(&o.Images, o.Dir)
	setDefault(&o.ImageMB, 2048)
	if len(o.Rows) == 0 {
		o.Rows = []string{"sigkill"}
	}
	var pairs bool
	o.Rows, pairs = expand(o.Rows)
	o.Pairs = o.Pairs || pairs
	setDefault(&o.Brokers, neededBrokers(o.Rows))
	setDefault(&o.Replicas, o.Brokers)
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	return o
}

// neededBrokers returns how many brokers the rows need.
func neededBrokers(rows []string) int {
	n := 3
	for _, r := range Rows {
		if slices.Contains(rows, r.Name) {
			n = max(n, r.Brokers)
		}
	}
	return n
}

// Each returns the options of a run of its own for each of the rows.
func Each(o Options) []Options {
	var all []Options
	for _, name := range o.WithDefaults().Rows {
		one := o
		one.Rows, one.Brokers = []string{name}, max(o.Brokers, neededBrokers([]string{name}))
		all = append(all, one)
	}
	return all
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (o *Options) validate() error {
	for _, name := range o.Rows {
		if !slices.ContainsFunc(Rows, func(r Row) bool { return r.Name == name }) {
			return fmt.Errorf("there is no row %q: choose of %s", name, strings.Join(rowNames(), ", "))
		}
	}
	if err := conflict(o.Rows); err != nil {
		return err
	}
	if o.Load < 0 || o.Load > 1 {
		return fmt.Errorf("--load %g is outside 0 to 1", o.Load)
	}
	if o.Rate < 0 || o.Rate > 0 && o.Load == 0 {
		return fmt.Errorf("--load-rate %g bounds what --load says: it needs one, and is not negative", o.Rate)
	}
	if o.Replicas < o.Brokers && !hitNobody(o.Rows) {
		return fmt.Errorf("--replicas %d of %d brokers: rows that hit brokers need a replica on each", o.Replicas, o.Brokers)
	}
	if o.Load > 0 && paceOf(o.Rows) != rate.Inf {
		return fmt.Errorf("rows %s have a pace of their own: leave --load out", strings.Join(o.Rows, ", "))
	}
	for _, err := range []error{
		within("count", o.Count, 1, maxCount),
		within("brokers", o.Brokers, neededBrokers(o.Rows), cluster.MaxBrokers),
		within("replicas", o.Replicas, 3, o.Brokers),
		within("partitions", o.Partitions, 1, maxPartitions),
		within("producers", o.Producers, 1, maxProducers),
		within("subscriptions", o.Subscriptions, 1, 16),
		within("in-flight", o.InFlight, 1, maxInFlight),
		within("image-mb", o.ImageMB, minImageMB, 1<<20),
		within("cargo-mb", o.CargoMB, 1, maxCargoMB),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

func within(flag string, value, low, high int) error {
	if value < low || value > high {
		return fmt.Errorf("--%s %d is outside %d to %d", flag, value, low, high)
	}
	return nil
}

// hitNobody reports whether all rows leave the brokers alone.
func hitNobody(rows []string) bool {
	return !slices.ContainsFunc(rows, func(name string) bool { return rowOf(name).Target != Nobody || changesMembers(rowOf(name).Fault) })
}

// flipsSegments reports whether stored records are damaged on purpose.
func (o *Options) flipsSegments() bool {
	return slices.ContainsFunc(o.Rows, func(name string) bool { return rowOf(name).Fault == "segmentflip" })
}

// changesMembers reports whether brokers join and leave.
func (o *Options) changesMembers() bool {
	return slices.ContainsFunc(o.Rows, func(name string) bool { return changesMembers(rowOf(name).Fault) })
}

// brokerConfig makes everything happen often: segments are small, the Raft log is compacted and records are removed every few
// seconds, so that faults meet all of it.
func (o *Options) brokerConfig() map[string]string {
	conf := map[string]string{
		"topics.segment_bytes": fmt.Sprint(segmentBytes),
		"topics.retain_every":  "2s",
		"raft.compact_bytes":   "8MiB",
		"limits.disk_reserve":  fmt.Sprint(diskReserve),
	}
	if o.flipsSegments() {
		conf["topics.scrub_every"], conf["topics.scrub_rate"] = scrubEvery, scrubRate
	}
	if o.changesMembers() {
		conf["moves.calm_after"] = "1s"
	}
	if slices.Contains(o.Rows, lostRow) {
		conf["moves.repair_after"] = repairAfter.String()
	}
	for key, value := range o.Config {
		conf[key] = value
	}
	return conf
}

// Replay returns the command that runs the same schedule again.
func (o *Options) Replay() string {
	words := []string{
		"trunkbench chaos", "--row", strings.Join(o.Rows, ","), "--count", fmt.Sprint(o.Count), "--seed", fmt.Sprint(o.Seed),
		"--time", o.Time.String(), "--every", o.Every.String(), "--slack", fmt.Sprint(o.Slack),
		"--brokers", fmt.Sprint(o.Brokers), "--replicas", fmt.Sprint(o.Replicas), "--partitions", fmt.Sprint(o.Partitions), "--producers", fmt.Sprint(o.Producers),
		"--subscriptions", fmt.Sprint(o.Subscriptions), "--in-flight", fmt.Sprint(o.InFlight), "--cargo-mb", fmt.Sprint(o.CargoMB), "--images", o.Images, "--image-mb", fmt.Sprint(o.ImageMB),
	}
	if o.Pairs {
		words = append(words, "--pairs")
	}
	if o.Load > 0 {
		words = append(words, "--load", fmt.Sprint(o.Load), "--load-rate", fmt.Sprint(o.Rate))
	}
	for key, value := range o.Config {
		words = append(words, "--set", key+"="+value)
	}
	return strings.Join(words, " ")
}
