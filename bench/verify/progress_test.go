package verify

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// says is what broker b says in its first life.
func says(b int32, epoch, applied uint64, next int64) Observation {
	return Observation{Broker: b, Epoch: epoch, Applied: applied, Next: next}
}

func reborn(o Observation) Observation {
	o.Life++
	return o
}

func starting(o Observation, start int64) Observation {
	o.Start = start
	return o
}

func TestProgressFindsWhatIsPlanted(t *testing.T) {
	for name, c := range map[string]struct {
		seen    []Observation
		broken  int64
		because string
	}{
		"all go on":                             {[]Observation{says(1, 1, 5, 5), says(2, 1, 4, 4), says(1, 1, 9, 9), says(2, 2, 10, 9), says(1, 2, 11, 10)}, 0, ""},
		"the epoch goes back":                   {[]Observation{says(1, 2, 5, 5), says(1, 1, 6, 6)}, 1, "leader epoch went back from 2 to 1"},
		"the applied index goes back":           {[]Observation{says(1, 1, 5, 5), says(1, 1, 4, 5)}, 1, "applied index went back"},
		"the next offset goes back":             {[]Observation{says(1, 1, 5, 5), says(1, 1, 6, 4)}, 1, "next offset went back from 5 to 4"},
		"the start goes back":                   {[]Observation{starting(says(1, 1, 5, 5), 3), starting(says(1, 1, 6, 6), 2)}, 1, "start went back"},
		"the start is behind the end":           {[]Observation{starting(says(1, 1, 5, 5), 6)}, 1, "start 6 is above"},
		"a new life begins lower":               {[]Observation{says(1, 3, 50, 50), reborn(says(1, 1, 5, 5)), reborn(says(1, 3, 51, 51))}, 0, ""},
		"and must not go back either":           {[]Observation{says(1, 3, 50, 50), reborn(says(1, 1, 5, 5)), reborn(says(1, 1, 4, 5))}, 1, "applied"},
		"another replica lags":                  {[]Observation{says(1, 1, 50, 50), says(2, 1, 5, 5), says(1, 1, 60, 60), says(2, 1, 6, 6)}, 0, ""},
		"another partition":                     {[]Observation{says(1, 1, 50, 50), {Broker: 1, Partition: 1, Epoch: 1, Applied: 1}}, 0, ""},
		"a later leader lacks a record":         {[]Observation{says(1, 1, 50, 50), says(1, 1, 50, 50), says(2, 2, 51, 49)}, 1, "before that epoch others held them below 50"},
		"the same, heard of later":              {[]Observation{says(1, 1, 50, 50), says(2, 2, 51, 49), says(1, 1, 51, 50)}, 1, "in epoch 2 another holds them below 49"},
		"a follower of a later leader lacks it": {[]Observation{says(1, 1, 50, 50), says(1, 2, 52, 50), says(2, 3, 53, 50), says(3, 3, 53, 49)}, 1, "below 49"},
		"the offset may be of the next epoch":   {[]Observation{says(1, 1, 50, 50), says(2, 2, 51, 49), says(1, 2, 52, 51)}, 0, ""},
		"it comes back empty and leads":         {[]Observation{says(1, 1, 50, 50), says(1, 1, 50, 50), reborn(says(1, 2, 51, 0))}, 1, "below 0"},
	} {
		t.Run(name, func(t *testing.T) {
			p := NewProgress()
			for _, o := range c.seen {
				p.Observe(o)
			}
			f := p.Findings()
			require.Equal(t, c.broken, f.Broken, "%v", f.Examples)
			require.Equal(t, int64(len(c.seen)), f.Checked)
			if c.broken > 0 {
				require.Contains(t, f.Examples[0], c.because)
			}
		})
	}
}

func TestProgressRemembersWhatOldEpochsHeld(t *testing.T) {
	p := NewProgress()
	p.Observe(says(1, 1, 50, 50))
	p.Observe(says(1, 1, 50, 50))
	for epoch := uint64(2); epoch < 3*maxEpochs; epoch++ {
		p.Observe(says(2, epoch, 50+epoch, 50))
	}
	require.LessOrEqual(t, len(p.epochs[0].list), maxEpochs)
	require.Zero(t, p.Findings().Broken)
	p.Observe(says(3, 3*maxEpochs, 400, 49))
	require.Equal(t, int64(1), p.Findings().Broken)
	p.Observe(says(4, 1, 3, 3)) // of an epoch that is not told apart any more
	p.Observe(says(4, 1, 4, 4))
	require.Equal(t, int64(1), p.Findings().Broken)
}

// entry is one of a random log: the beginning of an epoch, or a record.
type entry struct{ begins bool }

// replica is how far one has applied the log.
type replica struct {
	life    uint64
	applied int
}

// say is what a replica says: its epoch first, its offset after it has perhaps applied more.
func say(log []entry, broker int32, r *replica, more int) Observation {
	o := Observation{Broker: broker, Life: r.life}
	for _, e := range log[:r.applied] {
		if e.begins {
			o.Epoch++
		}
	}
	r.applied = min(len(log), r.applied+more)
	for _, e := range log[:r.applied] {
		if !e.begins {
			o.Next++
		}
	}
	o.Applied = uint64(r.applied)
	return o
}

// TestProgressOfRandomLogs has replicas apply one log at their own pace, with restarts; then the log of one of them is without a
// record that others have.
func TestProgressOfRandomLogs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := []entry{{begins: true}}
		for range rapid.IntRange(1, 40).Draw(t, "entries") {
			log = append(log, entry{begins: rapid.IntRange(0, 4).Draw(t, "begins") == 0})
		}
		p, replicas := NewProgress(), make([]replica, 3)
		for range rapid.IntRange(1, 60).Draw(t, "observations") {
			b := rapid.IntRange(0, 2).Draw(t, "broker")
			r := &replicas[b]
			if rapid.IntRange(0, 9).Draw(t, "restarts") == 0 {
				*r = replica{life: r.life + 1, applied: rapid.IntRange(0, r.applied).Draw(t, "replays from")}
			}
			r.applied = min(len(log), r.applied+rapid.IntRange(0, 5).Draw(t, "applies"))
			p.Observe(say(log, int32(b), r, rapid.IntRange(0, 2).Draw(t, "meanwhile")))
		}
		f := p.Findings()
		require.Zero(t, f.Broken, "%v", f.Examples)

		// All go on to the end, then one epoch more begins, which a fourth replica has without one of the records.
		for b := range replicas {
			replicas[b].applied = len(log)
			p.Observe(say(log, int32(b), &replicas[b], 0))
			p.Observe(say(log, int32(b), &replicas[b], 0))
		}
		require.Zero(t, p.Findings().Broken)
		last := say(append(log, entry{begins: true}), 3, &replica{applied: len(log) + 1}, 0)
		if last.Next == 0 {
			return // a log without records
		}
		last.Next--
		p.Observe(last)
		require.Equal(t, int64(1), p.Findings().Broken)
	})
}
