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

// gear is what the faults of a run share: one rack of disks, one network.
type gear struct {
	rack    *rack
	network *network
}

// makers make the faults by name.
var makers = map[string]func(*Options, gear) Fault{
	"kill":        func(*Options, gear) Fault { return kill{} },
	"stop":        func(*Options, gear) Fault { return &stop{} },
	"powercut":    func(_ *Options, g gear) Fault { return &powerCut{rack: g.rack} },
	"diskfull":    func(_ *Options, g gear) Fault { return &diskFull{rack: g.rack} },
	"diskfreeze":  func(_ *Options, g gear) Fault { return &diskFreeze{rack: g.rack} },
	"journalflip": func(*Options, gear) Fault { return &journalFlip{} },
	"none":        func(*Options, gear) Fault { return none{} },

	"partition":      cutMaker(partition),
	"deaf":           cutMaker(deaf),
	"mute":           cutMaker(mute),
	"half-deaf":      cutMaker(halfDeaf),
	"bridge":         cutMaker(bridge),
	"ring":           cutMaker(ring),
	"clients-cut":    cutMaker(clientLoss(100)),
	"client-loss-1":  cutMaker(clientLoss(1)),
	"client-loss-5":  cutMaker(clientLoss(5)),
	"client-loss-20": cutMaker(clientLoss(20)),
	"partkill": func(o *Options, g gear) Fault {
		return &partKill{network: g.network, power: &powerCut{rack: g.rack}, partitions: o.Partitions}
	},
}

func cutMaker(t topology) func(*Options, gear) Fault {
	return func(_ *Options, g gear) Fault { return &cut{network: g.network, ways: t} }
}

// leaderLimit is what a killed leader may cost, silentLimit one that says nothing any more.
var (
	leaderLimit = Limit{P50: 150 * time.Millisecond, P99: 400 * time.Millisecond, Max: 700 * time.Millisecond}
	silentLimit = Limit{P99: time.Second, Max: 1500 * time.Millisecond}
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
		Name: "partition-leader", Matrix: "10", Fault: "partition", Target: Leader, Steady: true, Hold: Span{4 * time.Second, 8 * time.Second},
		Limit: silentLimit, Must: []Evidence{{"packets_lost", 1, -1}, {"epochs_begun", 1, -1}},
		Doc: "the leader of a partition is cut off from all other brokers, not from clients",
	},
	{
		Name: "deaf-leader", Matrix: "11", Fault: "deaf", Target: Leader, Steady: true, Hold: Span{4 * time.Second, 8 * time.Second},
		Limit: silentLimit, Must: []Evidence{{"packets_lost", 1, -1}, {"epochs_begun", 1, -1}},
		Doc: "the leader of a partition sends to other brokers and receives nothing from them",
	},
	{
		Name: "mute-leader", Matrix: "11", Fault: "mute", Target: Leader, Steady: true, Hold: Span{4 * time.Second, 8 * time.Second},
		Limit: silentLimit, Must: []Evidence{{"packets_lost", 1, -1}, {"epochs_begun", 1, -1}},
		Doc: "the leader of a partition receives from other brokers and sends nothing to them",
	},
	{
		Name: "half-deaf", Matrix: "11", Fault: "half-deaf", Target: Anyone, Steady: true, Hold: Span{4 * time.Second, 8 * time.Second},
		Limit: Limit{Max: 500 * time.Millisecond}, Must: []Evidence{{"packets_lost", 1, -1}, {"epochs_begun", 0, 0}},
		Doc: "a broker does not hear one other broker, which a majority hears: no leader changes",
	},
	{
		Name: "bridge", Matrix: "12", Fault: "bridge", Target: Anyone, Brokers: 5, Steady: true, Hold: Span{4 * time.Second, 8 * time.Second},
		Limit: silentLimit, Must: []Evidence{{"packets_lost", 1, -1}},
		Doc: "two halves that hear only one common broker: each hears a majority",
	},
	{
		Name: "ring", Matrix: "12", Fault: "ring", Target: Everyone, Brokers: 5, Steady: true, Hold: Span{4 * time.Second, 8 * time.Second},
		Limit: silentLimit, Must: []Evidence{{"packets_lost", 1, -1}},
		Doc: "each broker hears its two neighbours only: no two hear the same majority",
	},
	{
		Name: "client-loss-1", Matrix: "14", Fault: "client-loss-1", Target: Everyone, Steady: true, Hold: Span{3 * time.Second, 6 * time.Second},
		Limit: Limit{Max: 500 * time.Millisecond}, Must: []Evidence{{"packets_lost", 1, -1}, {"epochs_begun", 0, 0}},
		Doc: "1 % of the packets between clients and brokers are lost",
	},
	{
		Name: "client-loss-5", Matrix: "14", Fault: "client-loss-5", Target: Everyone, Steady: true, Hold: Span{3 * time.Second, 6 * time.Second},
		Limit: Limit{Max: time.Second}, Must: []Evidence{{"packets_lost", 1, -1}, {"epochs_begun", 0, 0}},
		Doc: "5 % of the packets between clients and brokers are lost",
	},
	{
		Name: "client-loss-20", Matrix: "14", Fault: "client-loss-20", Target: Everyone, Steady: true, Hold: Span{3 * time.Second, 6 * time.Second},
		Must: []Evidence{{"packets_lost", 1, -1}, {"epochs_begun", 0, 0}},
		Doc:  "20 % of the packets between clients and brokers are lost",
	},
	{
		Name: "clients-cut", Matrix: "15", Fault: "clients-cut", Target: Leader, Steady: true, Hold: Span{4 * time.Second, 8 * time.Second},
		Must: []Evidence{{"packets_lost", 1, -1}, {"epochs_begun", 0, 0}},
		Doc:  "clients and the leader of a partition do not hear each other; brokers do",
	},
	{
		Name: "partkill", Matrix: "7", Fault: "partkill", Target: Anyone, Steady: true,
		Must: []Evidence{{"packets_lost", 1, -1}, {"majorities_formed", 1, -1}},
		Doc:  "Jepsen's: a power cut in the overlap of two majorities, and the second one goes on without who has everything",
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
