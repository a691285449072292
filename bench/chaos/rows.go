package chaos

import (
	"time"
)

// Target says whom a fault hits.
type Target string

// The targets. Leader and Follower are those of a partition that the schedule names, and are found out when the fault is made.
const (
	Anyone   Target = "anyone"
	Leader   Target = "leader"
	Follower Target = "follower"
	Everyone Target = "everyone"
	Nobody   Target = "nobody" // the fault harms clients or the way to them
)

// Row is a line of the fault matrix: which fault, whom it hits, when, and what must be seen of it.
type Row struct {
	Name    string
	Matrix  string // its number in the matrix of docs/adr/0010-fault-harness.md
	Fault   string // a key of makers
	Target  Target
	Brokers int   // at least so many; 0: 3
	Wait    Span  // healthy time before it; zero: usualWait
	Hold    Span  // time that it lasts; zero: usualHold
	Steady  bool  // never again on the same brokers while they come back
	Rush    bool  // nobody waits until the brokers of the fault before are back
	Limit   Limit // of publish pauses
	Must    []Evidence
	Doc     string
}

// Span is a range of times, low <= t < high.
type Span struct{ Low, High time.Duration }

// Limit bounds the publish pauses of a row's faults; 0 is no bound. P50 and P99 count from 20 and 100 faults on.
type Limit struct{ P50, P99, Max time.Duration }

// Evidence says what must have happened, or must not: for each fault at least PerFault of a counter on average, and at most Most in
// all; Most < 0 is no bound. Counters are those of the faults' Counts and of the observer.
type Evidence struct {
	Counter  string
	PerFault float64
	Most     int64
}

var (
	usualWait = Span{300 * time.Millisecond, 1500 * time.Millisecond}
	usualHold = Span{0, 800 * time.Millisecond}
)

// makers make the faults by name. Faults that need disks share one rack.
var makers = map[string]func(o *Options, r *rack) Fault{
	"kill":        func(*Options, *rack) Fault { return kill{} },
	"stop":        func(*Options, *rack) Fault { return &stop{} },
	"powercut":    func(_ *Options, r *rack) Fault { return &powerCut{rack: r} },
	"diskfull":    func(_ *Options, r *rack) Fault { return &diskFull{rack: r} },
	"diskfreeze":  func(_ *Options, r *rack) Fault { return &diskFreeze{rack: r} },
	"journalflip": func(*Options, *rack) Fault { return &journalFlip{} },
	"throttle":    func(*Options, *rack) Fault { return newThrottle() },
	"oom":         func(*Options, *rack) Fault { return newOOM() },
	"group":       func(o *Options, _ *rack) Fault { return newGroup(o.Seed) },
	"named":       func(o *Options, _ *rack) Fault { return newNamed(o.Seed) },
	"none":        func(*Options, *rack) Fault { return none{} },
}

// leaderLimit is what a killed leader may cost, silentLimit one that says nothing any more, starvedLimit one that goes on slower and
// slower.
var (
	leaderLimit  = Limit{P50: 150 * time.Millisecond, P99: 400 * time.Millisecond, Max: 700 * time.Millisecond}
	silentLimit  = Limit{P99: time.Second, Max: 1500 * time.Millisecond}
	starvedLimit = Limit{P99: 1500 * time.Millisecond, Max: 3 * time.Second}
)

// Rows are those that can be run.
var Rows = []Row{
	{
		Name: "none", Matrix: "0", Fault: "none", Target: Nobody, Steady: true, Hold: Span{time.Second, 3 * time.Second},
		Limit: Limit{Max: 500 * time.Millisecond},
		Doc:   "nothing happens",
	},
	{
		Name: "leader", Matrix: "1", Fault: "kill", Target: Leader, Steady: true, Limit: leaderLimit,
		Doc: "SIGKILL the leader of a partition",
	},
	{Name: "sigkill", Matrix: "1", Fault: "kill", Target: Anyone, Doc: "SIGKILL a broker"},
	{Name: "sigkill-rush", Matrix: "2", Fault: "kill", Target: Anyone, Rush: true, Doc: "SIGKILL brokers without waiting for those before"},
	{Name: "sigkill-all", Matrix: "3", Fault: "kill", Target: Everyone, Doc: "SIGKILL all brokers at once"},
	{Name: "powercut", Matrix: "5", Fault: "powercut", Target: Anyone, Doc: "take the power from a broker and its disk"},
	{Name: "powercut-all", Matrix: "6", Fault: "powercut", Target: Everyone, Doc: "take the power from all brokers and disks at once"},
	{
		Name: "stop-leader", Matrix: "8", Fault: "stop", Target: Leader, Steady: true, Hold: Span{2 * time.Second, 6 * time.Second},
		Limit: silentLimit, Must: []Evidence{{"stopped", 1, -1}},
		Doc: "SIGSTOP the leader of a partition for seconds, then SIGCONT",
	},
	{
		Name: "stop-short", Matrix: "9", Fault: "stop", Target: Anyone, Steady: true,
		Wait: Span{100 * time.Millisecond, 400 * time.Millisecond}, Hold: Span{100 * time.Millisecond, 400 * time.Millisecond},
		Limit: silentLimit, Must: []Evidence{{"stopped", 1, -1}},
		Doc: "SIGSTOP a broker for 0.1 to 0.4 s, as a virtual machine that is denied the processor",
	},
	{
		Name: "diskfull-follower", Matrix: "17", Fault: "diskfull", Target: Follower, Steady: true, Hold: Span{4 * time.Second, 6 * time.Second},
		Limit: silentLimit, Must: []Evidence{{"short_of_disk", 1, -1}},
		Doc: "a follower's disk is full up to its reserve",
	},
	{
		Name: "diskfull-leader", Matrix: "17", Fault: "diskfull", Target: Leader, Steady: true, Hold: Span{4 * time.Second, 6 * time.Second},
		Limit: silentLimit, Must: []Evidence{{"short_of_disk", 1, -1}},
		Doc: "a leader's disk is full up to its reserve: it hands its leaderships over",
	},
	{
		Name: "diskfreeze", Matrix: "20", Fault: "diskfreeze", Target: Leader, Steady: true, Hold: Span{4 * time.Second, 8 * time.Second},
		Limit: Limit{Max: 3 * time.Second}, Must: []Evidence{{"frozen_writes", 1, -1}},
		Doc: "fsfreeze of the leader's disk: writes hang",
	},
	{
		Name: "journalflip", Matrix: "24", Fault: "journalflip", Target: Anyone, Steady: true, Hold: usualHold,
		Must: []Evidence{{"refused_starts", 1, -1}},
		Doc:  "a byte in the middle of a broker's Raft log changes while it is down: it must refuse to start and say where",
	},
	{
		Name: "lag", Matrix: "26", Fault: "kill", Target: Follower, Hold: Span{5 * time.Second, 8 * time.Second},
		Doc: "a follower is away until the Raft log that it needs is compacted: it must be sent a snapshot, and is killed again meanwhile",
	},
	{
		Name: "throttle", Matrix: "37", Fault: "throttle", Target: Leader, Steady: true, Hold: Span{55 * time.Second, 60 * time.Second},
		Limit: starvedLimit, Must: []Evidence{{"throttled_periods", 100, -1}, {"throttled_flaps", 0, 3}},
		Doc: "the leader of a partition gets a tenth of a processor for a minute",
	},
	{
		Name: "oom", Matrix: "37", Fault: "oom", Target: Leader, Limit: starvedLimit, Must: []Evidence{{"oom_kills", 1, -1}},
		Doc: "the kernel kills the leader of a partition for want of memory",
	},
	{
		Name: "group-storm", Matrix: "32", Fault: "group", Target: Nobody, Steady: true, Hold: Span{20 * time.Second, 30 * time.Second},
		Must: []Evidence{{"group_kills", 1, -1}, {"group_mid_batch", 1, -1}, {"group_handovers", 1, -1}},
		Doc:  "consumers are killed in the middle of a batch, join and leave, every few seconds",
	},
	{
		Name: "named-producer", Matrix: "33", Fault: "named", Target: Nobody, Steady: true, Hold: Span{20 * time.Second, 30 * time.Second},
		Must: []Evidence{{"named_kills", 1, -1}, {"named_zombie_fenced", 1, -1}, {"named_impostor_fenced", 1, -1}},
		Doc:  "a named producer is killed and goes on in another process, beside zombies that send with the epoch that is over",
	},
}

// rowOf returns a row by name; the name is known to exist.
func rowOf(name string) *Row {
	for i := range Rows {
		if Rows[i].Name == name {
			return &Rows[i]
		}
	}
	panic("chaos: no row " + name)
}

func rowNames() []string {
	var names []string
	for _, r := range Rows {
		names = append(names, r.Name)
	}
	return names
}

// none is the fault that is none: the figures of a run without harm.
type none struct{ harmless }
