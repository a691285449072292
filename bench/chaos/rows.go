package chaos

import (
	"math/rand/v2"
	"time"

	"golang.org/x/time/rate"
)

// Target says whom a fault hits.
type Target string

// The targets. Whom they mean is found out when the fault is made: Leader and Follower are those of a partition that the schedule names,
// and for Anyone it names a place among the brokers that there are then, which is a broker's ID unless brokers join and leave.
const (
	Anyone   Target = "anyone"
	Leader   Target = "leader"
	Follower Target = "follower"
	Everyone Target = "everyone"
	Nobody   Target = "nobody" // the fault harms clients or the way to them
)

// Row is a line of the fault matrix: which fault, whom it hits, when, and what must be seen of it.
type Row struct {
	Name     string
	Matrix   string // its number in the fault matrix, README.md; Dn: point n of what failover must show
	Fault    string // a key of makers
	Target   Target
	Brokers  int           // at least so many; 0: 3
	Wait     Span          // healthy time before it; zero: usualWait
	Hold     Span          // time that it lasts; zero: usualHold
	Steady   bool          // never again on the same brokers while they come back
	Patience time.Duration // for all of one fault; 0: injectLimit
	Rush     bool          // nobody waits until the brokers of the fault before are back
	Stalls   bool          // publishing may stand still while it lasts, however few brokers it hits
	Limit    Limit         // of publish pauses
	Pace     int           // messages a second of the load, at most; 0: as fast as answers come
	Must     []Evidence
	Doc      string
}

// Span is a range of times, low <= t < high.
type Span struct{ Low, High time.Duration }

// draw returns a time of the span.
func (s Span) draw(random *rand.Rand) time.Duration {
	return (s.Low + time.Duration(random.Int64N(int64(s.High-s.Low)))).Round(time.Millisecond)
}

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

// gear is what faults of a run share: one rack of disks, one network, one set of fronts. All of it is made for the brokers that there are at
// first; a broker that joins has none.
type gear struct {
	rack    *rack
	network *network
	fronts  *fronts
}

func (*rack) prepares()    {}
func (*network) prepares() {}
func (*fronts) prepares()  {}
func (*fronts) proxied()   {}

// maker makes a fault.
type maker func(*Options, gear) Fault

// makers make the faults by name.
var makers = func() map[string]maker {
	all := map[string]maker{
		"none":     func(*Options, gear) Fault { return none{} },
		"kill":     func(*Options, gear) Fault { return kill{} },
		"stop":     func(*Options, gear) Fault { return &stop{} },
		"powercut": func(_ *Options, g gear) Fault { return &powerCut{rack: g.rack} },
		"diskfull": func(o *Options, g gear) Fault {
			return newDiskFull(o, g.rack, "diskfull", diskReserve*3/4)
		},
		"diskfloor": func(o *Options, g gear) Fault {
			return newDiskFull(o, g.rack, "diskfloor", diskReserve/5)
		},
		"diskfreeze":       func(_ *Options, g gear) Fault { return &diskFreeze{rack: g.rack} },
		"journalflip":      func(*Options, gear) Fault { return &journalFlip{} },
		"segmentflip":      func(*Options, gear) Fault { return &segmentFlip{} },
		"throttle":         func(*Options, gear) Fault { return newThrottle() },
		"oom":              func(*Options, gear) Fault { return newOOM() },
		"churn":            func(o *Options, _ gear) Fault { return newChurning(o.Seed) },
		"group":            func(o *Options, _ gear) Fault { return newGroup(o.Seed) },
		"never-read":       func(*Options, gear) Fault { return newNeverRead() },
		"overload":         func(*Options, gear) Fault { return newOverload() },
		"handshakes":       func(o *Options, _ gear) Fault { return newHandshakes(o.Seed) },
		"grow-shrink":      func(o *Options, _ gear) Fault { return newGrowShrink("grow_shrink", o.Seed, 1, Span{}) },
		"grow-shrink-kill": func(o *Options, _ gear) Fault { return newGrowShrink("grow_shrink_kill", o.Seed, 1, betweenKills) },
		"two-more":         func(o *Options, _ gear) Fault { return newGrowShrink("two_more", o.Seed, 2, Span{}) },
		"two-more-kill":    func(o *Options, _ gear) Fault { return newGrowShrink("two_more_kill", o.Seed, 2, everyTen) },
		"lost-broker":      func(o *Options, _ gear) Fault { return newLosing(o) },
		"replace":          func(o *Options, _ gear) Fault { return newReplacing(o.Seed) },
		"roll":             func(o *Options, _ gear) Fault { return newRolling(o.Seed) },
		"transfers":        func(*Options, gear) Fault { return newTransfers() },
		"named":            func(o *Options, _ gear) Fault { return newNamed(o.Seed) },
		"partkill": func(o *Options, g gear) Fault {
			return &partKill{network: g.network, power: &powerCut{rack: g.rack}, partitions: o.Partitions}
		},
	}
	for name, ways := range map[string]topology{
		"partition": partition, "deaf": deaf, "mute": mute, "half-deaf": halfDeaf, "bridge": bridge, "ring": ring, "clients-cut": clientsCut,
	} {
		all[name] = func(_ *Options, g gear) Fault { return &cut{network: g.network, ways: ways} }
	}
	for name, make := range map[string]func(*Options) Fault{
		"failed-fsync": newFailedFsync, "short-write": newShortWrite, "slow-fsync": newSlowFsync, "clock": newClock,
		"panic-leader": newPanicLeader, "panic-follower": newPanicFollower,
	} {
		all[name] = func(o *Options, _ gear) Fault { return make(o) }
	}
	all["far-kill"] = func(_ *Options, g gear) Fault { return newFarKill(g.fronts) }
	for name := range networkFaults(nil) {
		all[name] = func(_ *Options, g gear) Fault { return networkFaults(g.fronts)[name] }
	}
	return all
}()

// rowOf returns a row by name; the name is known to exist.
func rowOf(name string) *Row {
	for i := range Rows {
		if Rows[i].Name == name {
			return &Rows[i]
		}
	}
	panic("chaos: no row " + name)
}

// paceOf is the slowest pace that one of the rows asks for.
func paceOf(rows []string) rate.Limit {
	slowest := rate.Inf
	for _, name := range rows {
		if p := rowOf(name).Pace; p > 0 {
			slowest = min(slowest, rate.Limit(p))
		}
	}
	return slowest
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
