package observe

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxAnswer bounds the metrics of a broker, bytes; those asked for take a few KiB.
const maxAnswer = 1 << 20

// Counter is something that brokers count.
type Counter struct {
	Name   string // in totals; with a label, NAME_VALUE as well, as "refused_not_leader" beside "refused"
	Metric string
	Label  string
	Doc    string
}

// Counters are those of Totals. What the metrics mean is in docs/OPERATIONS.md.
var Counters = []Counter{
	{"leader_losses", "trunkline_raft_leader_losses_total", "", "times that a replica lost its leader"},
	{"leader_changes", "trunkline_raft_leader_changes_total", "", "times that a replica learned of a leader"},
	{"campaigns", "trunkline_raft_campaigns_total", "", "elections asked for because a leader was gone"},
	{"epochs", "trunkline_partition_claims_total", "", "leader epochs begun"},
	{"takeovers", "trunkline_liveness_takeovers_total", "cause", "leaderships taken over, by cause"},
	{"snapshots_sent", "trunkline_fsm_snapshots_sent_total", "", "partitions streamed to a replica that lagged"},
	{"snapshots_installed", "trunkline_fsm_snapshots_installed_total", "", "partitions replaced by a received snapshot"},
	{"duplicate_batches", "trunkline_session_duplicate_batches_total", "", "batches that were in the log already"},
	{"refused", "trunkline_session_errors_total", "code", "batches, streams and requests refused, by code"},
	{"requeued", "trunkline_partition_operations_requeued_total", "", "operations proposed again under a new epoch"},
	{"unknown", "trunkline_partition_operations_unknown_total", "", "operations answered as unknown"},
	{"activations", "trunkline_feed_activations_total", "", "turns of consumers that began"},
	{"stale_acks", "trunkline_feed_stale_acks_total", "", "acknowledgements of a turn that was over"},
	{"gaps", "trunkline_feed_gaps_total", "", "deliveries that began after removed records"},
	{"own_pauses", "trunkline_liveness_own_pauses_total", "", "times that a broker noticed that it had not run"},
	{"clients_silent", "trunkline_session_heartbeats_lost_total", "", "connections ended because their client was silent"},
	{"planned", "trunkline_planner_actions_total", "action", "changes of placement asked for, by kind"},
	{"moves", "trunkline_mover_steps_total", "step", "steps of moves of replicas, by step"},
	{"session_panics", "trunkline_session_panics_total", "", "defects that ended a connection"},
}

// Gauges that are read beside the counters.
const (
	startMetric     = "process_start_time_seconds"
	rssMetric       = "process_resident_memory_bytes"
	filesMetric     = "process_open_fds"
	goroutineMetric = "go_goroutines"
	leadsMetric     = "trunkline_partition_leading"
)

// asked is the query for what is wanted: the whole answer costs a broker several times as much.
var asked = func() string {
	q := url.Values{"name[]": {startMetric, rssMetric, filesMetric, goroutineMetric, leadsMetric}}
	for _, c := range Counters {
		q.Add("name[]", c.Metric)
	}
	return q.Encode()
}()

// reading is one answer of one broker.
type reading struct {
	started float64 // of the process, seconds since 1970
	vitals  Vitals
	leads   int
	counts  map[string]int64 // by the names of Counters
}

func read(ctx context.Context, c *http.Client, admin string) (reading, error) {
	r := reading{counts: map[string]int64{}}
	if err := ask(ctx, c, admin, asked, r.take); err != nil {
		return reading{}, err
	}
	if r.started == 0 { // nothing could be summed up
		return reading{}, fmt.Errorf("metrics of %s: there is no %s", admin, startMetric)
	}
	return r, nil
}

// scrapeLimit is how long Scrape waits for an answer.
const scrapeLimit = 2 * time.Second

// Scrape reads metrics of a broker by name, each summed over its labels; of a histogram, how many observations it has. One that the
// broker does not have is not in the answer.
func Scrape(ctx context.Context, admin string, names ...string) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, scrapeLimit)
	defer cancel()
	values := map[string]float64{}
	take := func(name, _ string, value float64) {
		if name = strings.TrimSuffix(name, "_count"); slices.Contains(names, name) {
			values[name] += value
		}
	}
	if err := ask(ctx, &once, admin, url.Values{"name[]": names}.Encode(), take); err != nil {
		return nil, err
	}
	return values, nil
}

// Series reads one metric of a broker whose labels contain having, like `peer="4"`, and returns its values by another label, summed over
// the rest.
func Series(ctx context.Context, admin, metric, having, by string) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, scrapeLimit)
	defer cancel()
	values := map[string]float64{}
	take := func(name, labels string, value float64) {
		_, rest, ok := strings.Cut(labels, by+`="`)
		if key, _, closed := strings.Cut(rest, `"`); ok && closed && name == metric && strings.Contains(labels, having) {
			values[key] += value
		}
	}
	if err := ask(ctx, &once, admin, url.Values{"name[]": {metric}}.Encode(), take); err != nil {
		return nil, err
	}
	return values, nil
}

// once keeps no connection.
var once = http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// ask reads what a broker answers to a query.
func ask(ctx context.Context, c *http.Client, admin, query string, take func(name, labels string, value float64)) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/metrics?"+query, nil)
	if err != nil {
		return fmt.Errorf("metrics of %s: %w", admin, err)
	}
	resp, err := c.Do(req)
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("metrics of %s: %s", admin, resp.Status)
	}
	if err := parse(io.LimitReader(resp.Body, maxAnswer), take); err != nil {
		return fmt.Errorf("metrics of %s: %w", admin, err)
	}
	return nil
}

// parse reads the text format of Prometheus as far as it is needed here: NAME{LABEL="VALUE",...} NUMBER.
func parse(in io.Reader, take func(name, labels string, value float64)) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		space := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(line[space+1:], 64)
		if space < 0 || err != nil {
			return fmt.Errorf("%q is no metric", line)
		}
		name, labels, _ := strings.Cut(line[:space], "{")
		take(name, labels, value)
	}
	return lines.Err()
}

func (r *reading) take(name, labels string, value float64) {
	switch name {
	case startMetric:
		r.started = value
	case rssMetric:
		r.vitals.RSS = int64(value)
	case filesMetric:
		r.vitals.Files = int64(value)
	case goroutineMetric:
		r.vitals.Goroutines = int64(value)
	case leadsMetric:
		r.leads = int(value)
	}
	for _, c := range Counters {
		if c.Metric != name {
			continue
		}
		r.counts[c.Name] += int64(value)
		if _, rest, ok := strings.Cut(labels, c.Label+`="`); ok && c.Label != "" {
			of, _, _ := strings.Cut(rest, `"`)
			r.counts[c.Name+"_"+of] += int64(value)
		}
	}
}
