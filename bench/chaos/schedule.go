package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Row is a line of the fault matrix: which fault, and whom it hits.
type Row struct {
	Name  string
	Fault string
	All   bool // all brokers at once; otherwise one of them
	Doc   string
}

// Rows are those that can be run.
var Rows = []Row{
	{"sigkill", "kill", false, "SIGKILL a broker"},
	{"sigkill-all", "kill", true, "SIGKILL all brokers at once"},
	{"powercut", "powercut", false, "take the power from a broker and its disk"},
	{"powercut-all", "powercut", true, "take the power from all brokers and disks at once"},
}

func rowNames() []string {
	var names []string
	for _, r := range Rows {
		names = append(names, r.Name)
	}
	return names
}

// Event is one fault of a schedule.
type Event struct {
	Row     string        `json:"row"`
	Fault   string        `json:"fault"`
	Victims []int         `json:"victims"`
	Again   bool          `json:"again"` // the same brokers as before, while they come back
	Wait    time.Duration `json:"wait"`  // healthy time before it; with Again, time since their start
	Hold    time.Duration `json:"hold"`  // how long the victims stay away
}

// Times of a schedule.
const (
	minWait, maxWait   = 300 * time.Millisecond, 1500 * time.Millisecond
	minAgain, maxAgain = 5 * time.Millisecond, 700 * time.Millisecond
	maxHold            = 800 * time.Millisecond
	againOneIn         = 4
)

// Plan draws a schedule. It depends on nothing but its arguments.
func Plan(rows []string, count, brokers int, seed uint64) []Event {
	random := rand.New(rand.NewPCG(seed, uint64(count)))
	between := func(low, high time.Duration) time.Duration {
		return (low + time.Duration(random.Int64N(int64(high-low)))).Round(time.Millisecond)
	}
	var events []Event
	for i := range count {
		if i > 0 && random.IntN(againOneIn) == 0 {
			e := events[i-1]
			e.Again, e.Wait, e.Hold = true, between(minAgain, maxAgain), between(0, maxHold)
			events = append(events, e)
			continue
		}
		name := rows[random.IntN(len(rows))]
		row := Rows[slices.IndexFunc(Rows, func(r Row) bool { return r.Name == name })]
		e := Event{Row: row.Name, Fault: row.Fault, Victims: []int{1 + random.IntN(brokers)}}
		if row.All {
			e.Victims = everyone(brokers)
		}
		e.Wait, e.Hold = between(minWait, maxWait), between(0, maxHold)
		events = append(events, e)
	}
	return events
}

func everyone(n int) []int {
	ids := make([]int, n)
	for i := range ids {
		ids[i] = i + 1
	}
	return ids
}

// String is a line for people.
func (e Event) String() string {
	when := "healthy for"
	if e.Again {
		when = "again, started for"
	}
	return fmt.Sprintf("%s of %s, %s %v, away for %v", e.Row, brokerList(e.Victims), when, e.Wait, e.Hold)
}

func brokerList(ids []int) string {
	return "broker " + strings.Trim(strings.Join(strings.Fields(fmt.Sprint(ids)), "+"), "[]")
}
