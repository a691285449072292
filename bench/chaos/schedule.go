package chaos

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Event is one fault of a schedule.
type Event struct {
	Row       string        `json:"row"`
	Fault     string        `json:"fault"`
	Target    Target        `json:"target"`
	Victims   []int         `json:"victims"`          // known once it was made; before, see Target
	Beside    string        `json:"beside,omitempty"` // a row whose fault is in force from before it until after it
	Partition int           `json:"partition"`        // whose leader or follower
	Again     bool          `json:"again"`            // the same brokers as before, while they come back
	Rush      bool          `json:"rush"`             // those of the fault before may not be back yet
	Wait      time.Duration `json:"wait"`             // healthy time before it; with Again and Rush, time since the fault before ended
	Hold      time.Duration `json:"hold"`             // how long it lasts
}

// A fault that is followed by itself comes so soon after it.
const (
	minAgain, maxAgain = 5 * time.Millisecond, 700 * time.Millisecond
	againOneIn         = 4
	besideOneIn        = 3 // of those that can be, with pairs
)

// Plan draws a schedule. It depends on nothing but its arguments. With pairs a third of the faults that hit brokers come while one of
// the network is in force.
func Plan(rows []string, count, brokers, partitions int, pairs bool, seed uint64) []Event {
	var around []string
	if pairs {
		around = besides(rows)
	}
	random := rand.New(rand.NewPCG(seed, uint64(count)))
	between := func(s, usual Span) time.Duration {
		if s == (Span{}) {
			s = usual
		}
		return s.draw(random)
	}
	var events []Event
	for i := range count {
		if i > 0 && random.IntN(againOneIn) == 0 && !rowOf(events[i-1].Row).Steady {
			e := events[i-1]
			e.Again, e.Rush, e.Beside = true, false, ""
			e.Wait, e.Hold = between(Span{minAgain, maxAgain}, Span{}), between(Span{}, usualHold)
			events = append(events, e)
			continue
		}
		row := rowOf(rows[random.IntN(len(rows))])
		e := Event{Row: row.Name, Fault: row.Fault, Target: row.Target, Partition: random.IntN(partitions), Rush: row.Rush && i > 0}
		switch one := 1 + random.IntN(brokers); row.Target {
		case Anyone:
			e.Victims = []int{one}
		case Everyone:
			e.Victims = everyone(brokers)
		}
		e.Wait, e.Hold = between(row.Wait, usualWait), between(row.Hold, usualHold)
		if len(around) > 0 && besideOne(row) && random.IntN(besideOneIn) == 0 {
			e.Beside = around[random.IntN(len(around))]
		}
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
	switch {
	case e.Again:
		when = "again, started for"
	case e.Rush:
		when = "after"
	}
	return fmt.Sprintf("%s of %s, %s %v, lasts %v", e.name(), e.whom(), when, e.Wait, e.Hold)
}

// name is the row, and the one beside which it comes.
func (e Event) name() string {
	if e.Beside != "" {
		return e.Row + " beside " + e.Beside
	}
	return e.Row
}

// whom names the victims, or who they will be.
func (e Event) whom() string {
	switch {
	case len(e.Victims) > 0:
		return brokerList(e.Victims)
	case e.Target == Nobody:
		return "no broker"
	}
	return fmt.Sprintf("partition %d's %s", e.Partition, e.Target)
}

func brokerList(ids []int) string {
	return "broker " + strings.Trim(strings.Join(strings.Fields(fmt.Sprint(ids)), "+"), "[]")
}
