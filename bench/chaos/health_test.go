package chaos

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/observe"
	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// aged is a health whose run began some time ago, and the load that it judges.
func aged(t *testing.T, ago time.Duration) (*health, *load) {
	t.Helper()
	o := Options{Partitions: 2, Slack: 1, Producers: 1, Subscriptions: 1, Brokers: 3}
	h := newHealth(&o, time.Now().Add(-ago))
	return h, newLoad(&o, h)
}

// broken returns what the result of a whole run says of a checker.
func broken(h *health, checker string) string {
	r := &Result{}
	r.check(h.findings(), true)
	var said []string
	for _, v := range r.Violations {
		if strings.HasPrefix(v, checker+": ") {
			said = append(said, v)
		}
	}
	return strings.Join(said, "\n")
}

func answer(l *load, part int32, asked time.Time) {
	l.answered(uint32(part), 0, part, asked, l.realTime.Began(part), client.Receipt{Partition: protocol.Partition(part)}, nil)
}

func TestSystemThatStandsStillIsFound(t *testing.T) {
	kill := Event{Row: "leader", Fault: "kill", Victims: []int{2}}
	all := Event{Row: "sigkill-all", Fault: "kill", Victims: []int{1, 2, 3}}
	cut := Event{Row: "clients-cut", Fault: "clients-cut", Victims: []int{1}}
	for name, c := range map[string]struct {
		events func(h *health)
		found  bool
	}{
		"nothing was injected":              {func(h *health) { h.whole() }, true},
		"one of three is away":              {func(h *health) { h.harmed(); h.injected(kill) }, true},
		"all are away":                      {func(h *health) { h.harmed(); h.injected(all) }, false},
		"all are away, and come back":       {func(h *health) { h.harmed(); h.injected(all); h.harmed(); h.recovering(all) }, false},
		"all were away, and are whole":      {func(h *health) { h.harmed(); h.injected(all); h.harmed(); h.recovering(all); h.whole() }, true},
		"clients hear nothing":              {func(h *health) { h.harmed(); h.injected(cut) }, false},
		"clients heard nothing and do now":  {func(h *health) { h.harmed(); h.injected(cut); h.harmed(); h.recovering(cut) }, true},
		"one more while the first is away":  {func(h *health) { h.injected(kill); h.harmed(); h.injected(Event{Row: "leader", Victims: []int{3}}) }, false},
		"the same again while it is away":   {func(h *health) { h.injected(kill); h.harmed(); h.injected(kill) }, true},
		"a fault that has only begun":       {func(h *health) { h.whole(); h.harmed() }, false},
		"a request waits in healthy times":  {func(h *health) { h.whole() }, true},
		"nobody says that it is whole ever": {func(*health) {}, false},
	} {
		t.Run(name, func(t *testing.T) {
			h, l := aged(t, 0)
			h.begun = h.begun.Add(-time.Hour) // the events are of an hour after the beginning
			l.begun = h.begun
			c.events(h)
			h.begun = h.begun.Add(-20 * time.Second) // and 20 s later
			l.begun = h.begun
			asked := time.Now().Add(-time.Millisecond)
			if name == "a request waits in healthy times" {
				asked = time.Now().Add(-10 * time.Second)
			}
			answer(l, 0, asked)
			h.end()
			if said := broken(h, "liveness"); c.found {
				require.Contains(t, said, "partition")
			} else {
				require.Empty(t, said)
			}
		})
	}
}

func TestBrokersThatKeepMoreThanBeforeAreFound(t *testing.T) {
	of := func(rss, files, goroutines int64) []observe.Vitals {
		v := observe.Vitals{RSS: rss << 20, Files: files, Goroutines: goroutines}
		return []observe.Vitals{v, v, v}
	}
	for name, c := range map[string]struct {
		after [][]observe.Vitals
		says  string
	}{
		"the same":             {[][]observe.Vitals{of(100, 50, 100)}, ""},
		"more, but not always": {[][]observe.Vitals{of(400, 300, 900), of(110, 55, 110)}, ""},
		"memory":               {[][]observe.Vitals{of(600, 50, 100)}, "bytes of memory"},
		"descriptors":          {[][]observe.Vitals{of(100, 300, 100), of(100, 310, 100)}, "descriptors"},
		"goroutines":           {[][]observe.Vitals{of(100, 50, 900)}, "goroutines"},
		"nobody looked":        {nil, "nothing was judged"},
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := aged(t, 0)
			h.baseline(of(100, 40, 90))
			h.baseline(of(90, 50, 100))
			h.after(c.after)
			if c.says == "" {
				require.Empty(t, broken(h, "hygiene"))
			} else {
				require.Contains(t, broken(h, "hygiene"), c.says)
			}
		})
	}
}

func TestBrokerThatEndedByItselfIsFound(t *testing.T) {
	h, _ := aged(t, 0)
	gone := h.exits([]cluster.Broker{{ID: 1, PID: 7}, {ID: 2}}, func(cluster.Broker) string { return "see its log" })
	require.Equal(t, []int{2}, gone)
	require.Contains(t, broken(h, "hygiene"), "broker 2 ended by itself: see its log")
}

func TestReplicaThatGoesBackIsFound(t *testing.T) {
	states := func(epoch protocol.Epoch, applied uint64, next protocol.Offset, err error) *client.TopicDescription {
		p := client.PartitionDescription{States: []client.ReplicaState{{Broker: 1, Epoch: epoch, Applied: applied, Next: next, Err: err}}}
		return &client.TopicDescription{Partitions: []client.PartitionDescription{p}}
	}
	one, other, none := []cluster.Broker{{ID: 1, PID: 7}}, []cluster.Broker{{ID: 1, PID: 8}}, []cluster.Broker{{ID: 1}}
	for name, c := range map[string]struct {
		then          *client.TopicDescription
		before, after []cluster.Broker
		says          string
	}{
		"it goes on":                  {states(3, 11, 12, nil), one, one, ""},
		"its epoch goes back":         {states(2, 11, 12, nil), one, one, "leader epoch went back"},
		"its index goes back":         {states(3, 9, 12, nil), one, one, "applied index went back"},
		"its end goes back":           {states(3, 11, 2, nil), one, one, "next offset went back"},
		"another process replays":     {states(2, 5, 6, nil), other, other, ""},
		"it ended while it was asked": {states(2, 5, 6, nil), one, none, ""},
		"it says nothing":             {states(0, 0, 0, errors.New("no")), one, one, ""},
		"a new leader lacks records":  {states(4, 30, 6, nil), other, other, "in epoch 4 it holds offsets below 6"},
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := aged(t, 0)
			h.states(states(3, 10, 10, nil), one, one)
			h.states(states(3, 10, 10, nil), one, one)
			h.states(c.then, c.before, c.after)
			if c.says == "" {
				require.Empty(t, broken(h, "progress"))
			} else {
				require.Contains(t, broken(h, "progress"), c.says)
			}
		})
	}
}
