package liveness

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/trunkline/trunkline/protocol"
)

// keepGone is how many dead incarnations of each broker are remembered, so that their late pings are known as such.
const keepGone = 8

// core is the judgement of the detector: no clock, no goroutine, no I/O. Its methods take the time and return
// what changed.
type core struct {
	self     protocol.BrokerID
	boot     [16]byte
	interval time.Duration
	silent   time.Duration

	ids   []protocol.BrokerID // sorted, without self; replaced as a whole
	peers map[protocol.BrokerID]*peer

	seq      uint64
	lastTick time.Time // zero before start
	// clocks is when the silence clocks were started: at start, and again after this process was paused.
	clocks time.Time
	condition
}

// condition is what a broker says of itself.
type condition struct {
	stalled bool // its disk hangs
	short   bool // of disk space
	starved bool // of processors
}

// peer is what is known of one other broker.
type peer struct {
	id     protocol.BrokerID
	state  State
	since  time.Time
	missed time.Time // since when a majority misses it, see View.Missed
	clock  time.Time // when its silence began to count, if that is later than core.clocks
	heard  time.Time
	cut    time.Time // when the first connection broke since it was heard
	boot   [16]byte
	gone   [][16]byte // earlier incarnations, at most keepGone
	downAt time.Time  // when it became Dead
	seq    uint64
	report report
	condition
}

// report is how a broker saw the others when it sent its last ping.
type report struct {
	at     time.Time // zero: none that counts
	sights map[protocol.BrokerID]sight
}

// event is one change of belief.
type event struct {
	view   View
	was    State
	reason string
	died   bool          // an incarnation is gone
	boot   [16]byte      // which one
	pause  time.Duration // if not 0, nothing else is set: this process did not run for so long
	call   func()        // if not nil, nothing else is set: a line for the log from another goroutine
}

func newCore(cfg *Config, now time.Time) *core {
	c := &core{
		self: cfg.Self, boot: cfg.BootID, interval: cfg.PingInterval, silent: cfg.SilentAfter, clocks: now,
		peers: make(map[protocol.BrokerID]*peer),
	}
	c.setPeers(now, cfg.Peers)
	return c
}

// setPeers keeps what is known of those that stay, forgets those that do not, and returns them. One that joins while
// this broker runs gets silent for the first handshake before its silence counts: nobody could have heard it yet.
func (c *core) setPeers(now time.Time, ids []protocol.BrokerID) (gone []protocol.BrokerID) {
	next := make(map[protocol.BrokerID]*peer, len(ids))
	for _, id := range ids {
		switch {
		case id == c.self || len(next) == MaxPeers:
		case c.peers[id] != nil:
			next[id] = c.peers[id]
		default:
			next[id] = &peer{id: id, since: now}
			if !c.lastTick.IsZero() {
				next[id].clock = now.Add(c.silent)
			}
		}
	}
	for _, id := range c.ids {
		if next[id] == nil {
			gone = append(gone, id)
		}
	}
	c.peers, c.ids = next, slices.Sorted(maps.Keys(next))
	return gone
}

// start starts the clocks; ticks are expected from now on.
func (c *core) start(now time.Time) { c.clocks, c.lastTick = now, now }

// tick must be called each interval.
func (c *core) tick(now time.Time, is condition) []event {
	evs := c.noticePause(now)
	c.lastTick = now
	c.condition = is
	for _, id := range c.ids {
		p := c.peers[id]
		if p.state == Alive && c.silence(now, p) >= c.silent {
			evs = append(evs, c.set(now, p, Suspect, fmt.Sprintf("not heard for %v", now.Sub(p.heard).Round(time.Millisecond))))
		}
		switch misses := c.majorityMisses(now, p); {
		case !misses:
			p.missed = time.Time{}
		case p.missed.IsZero():
			p.missed = now
		}
	}
	return evs
}

// majorityMisses reports whether more than half of the brokers that tell, this one included, do not hear p.
func (c *core) majorityMisses(now time.Time, p *peer) bool {
	tell, miss := 1, 0
	if p.state == Dead || c.silence(now, p) >= c.silent {
		miss++
	}
	for _, q := range c.peers {
		if s, ok := c.sees(now, q, p.id); ok && q != p {
			tell++
			if s.missing(c.silent) {
				miss++
			}
		}
	}
	return miss > tell/2
}

// noticePause restarts the clocks if this process did not run for a while. Reports are dropped too: those that
// waited in a buffer meanwhile tell of the past.
func (c *core) noticePause(now time.Time) []event {
	if !c.overslept(now) {
		return nil
	}
	late := now.Sub(c.lastTick) - c.interval
	c.lastTick, c.clocks = now, now
	for _, p := range c.peers {
		p.report = report{}
	}
	return []event{{pause: late}}
}

// overslept reports whether the last tick is so long ago that this process cannot have run.
func (c *core) overslept(now time.Time) bool {
	return !c.lastTick.IsZero() && now.Sub(c.lastTick)-c.interval > c.silent/2
}

// silence is how long p was not heard, while this broker was able to hear. A broken connection starts it anew and later, once for
// each time that p was heard (Inv9).
func (c *core) silence(now time.Time, p *peer) time.Duration {
	since := c.clocks
	if p.clock.After(since) {
		since = p.clock
	}
	if p.heard.After(since) {
		since = p.heard
	}
	if again := p.cut.Add(c.silent); c.reconnects(now, p) && again.After(since) {
		since = again
	}
	return max(now.Sub(since), 0)
}

// reconnects reports whether p, whose connection broke since it was heard, still has time to make it anew.
func (c *core) reconnects(now time.Time, p *peer) bool {
	return p.cut.After(p.heard) && now.Sub(p.cut) < 2*c.silent
}

// lost takes in that a connection with the incarnation boot of b broke.
func (c *core) lost(now time.Time, b protocol.BrokerID, boot [16]byte) {
	p := c.peers[b]
	if p != nil && p.boot == boot && p.state == Alive && !p.cut.After(p.heard) && now.Sub(p.heard) < c.silent {
		p.cut = now
	}
}

func (c *core) set(now time.Time, p *peer, to State, reason string) event {
	was := p.state
	if was != to {
		p.state, p.since = to, now
	}
	return event{view: p.view(), was: was, reason: reason}
}

func (p *peer) view() View {
	return View{
		Broker: p.id, State: p.state, Since: p.since, Heard: p.heard, Missed: p.missed,
		StalledDisk: p.stalled, ShortDisk: p.short, Starved: p.starved, BootID: p.boot,
	}
}

// news says in words what is different in now.
func (c condition) news(now condition) (all []string) {
	for _, x := range []struct {
		was, is     bool
		begun, over string
	}{
		{c.stalled, now.stalled, "it says that its disk stalls", "its disk works again"},
		{c.short, now.short, "it says that its disk is nearly full", "it has room on its disk again"},
		{c.starved, now.starved, "it says that it gets too little of the processors", "it gets processors again"},
	} {
		switch {
		case x.is && !x.was:
			all = append(all, x.begun)
		case x.was && !x.is:
			all = append(all, x.over)
		}
	}
	return all
}

// ping takes in a ping of from.
func (c *core) ping(now time.Time, from protocol.BrokerID, m ping) []event {
	p := c.peers[from]
	if p == nil || slices.Contains(p.gone, m.boot) {
		return nil
	}
	evs := c.noticePause(now)
	if p.boot != m.boot {
		evs = append(evs, c.incarnation(now, p, m.boot, "a ping of a new incarnation")...)
	} else if m.seq <= p.seq {
		return evs // an older connection's leftover
	}
	if p.state == Dead && now.Sub(p.downAt) < 2*c.interval {
		return evs // sent before it died, read after
	}
	p.seq = m.seq
	p.heard = now
	p.report = report{at: now, sights: make(map[protocol.BrokerID]sight, len(m.sights))}
	for _, s := range m.sights {
		p.report.sights[s.broker] = s
	}
	was := p.condition
	p.condition = m.condition
	for _, reason := range was.news(m.condition) {
		evs = append(evs, c.set(now, p, p.state, reason))
	}
	if p.state != Alive {
		evs = append(evs, c.set(now, p, Alive, "heard"))
	}
	return evs
}

// incarnation takes note that p runs as boot now, and of the death of what ran before.
func (c *core) incarnation(now time.Time, p *peer, boot [16]byte, cause string) []event {
	var evs []event
	if p.boot == ([16]byte{}) {
		cause = "first met"
	} else {
		if p.state != Dead {
			evs = append(evs, c.die(now, p, cause))
		}
		p.gone = append(p.gone, p.boot)
		if len(p.gone) > keepGone {
			p.gone = slices.Delete(p.gone, 0, 1)
		}
	}
	p.boot, p.seq, p.report, p.condition = boot, 0, report{}, condition{}
	p.heard = now
	return append(evs, c.set(now, p, Alive, cause))
}

func (c *core) die(now time.Time, p *peer, cause string) event {
	p.downAt = now
	p.report = report{}
	ev := c.set(now, p, Dead, cause)
	ev.died, ev.boot = true, p.boot
	return ev
}

// down takes in that the incarnation boot of b is gone; a zero boot is one that nobody met.
func (c *core) down(now time.Time, b protocol.BrokerID, boot [16]byte, cause string) []event {
	p := c.peers[b]
	if p == nil || p.state == Dead {
		return nil
	}
	if p.boot == ([16]byte{}) {
		p.boot = boot
	}
	if p.boot != boot {
		return nil // about an earlier incarnation, whose death was delivered when this one was met
	}
	return []event{c.die(now, p, cause)}
}

// up takes in that b was met as boot.
func (c *core) up(now time.Time, b protocol.BrokerID, boot [16]byte) []event {
	p := c.peers[b]
	if p == nil || slices.Contains(p.gone, boot) {
		return nil
	}
	if p.boot != boot {
		return c.incarnation(now, p, boot, "handshake of a new incarnation")
	}
	p.heard = now
	if p.state == Alive {
		return nil
	}
	return []event{c.set(now, p, Alive, "handshake of the same incarnation")}
}

// next builds the ping to send now.
func (c *core) next(now time.Time) ping {
	c.seq++
	m := ping{seq: c.seq, boot: c.boot, condition: c.condition, sights: make([]sight, 0, len(c.ids))}
	for _, id := range c.ids {
		p := c.peers[id]
		m.sights = append(m.sights, sight{
			broker: id, silent: c.silence(now, p), age: now.Sub(p.heard), boot: bootHead(p.boot),
			heard: !p.heard.IsZero(), dead: p.state == Dead,
		})
	}
	return m
}

// Causes for which a leader is deposed, for logs and metrics.
const (
	causeDeath    = "death"
	causeSilence  = "silence"
	causeStall    = "stall"
	causeStarved  = "starvation"
	causeDeafness = "deafness"
	causeNew      = "new"  // nobody was deposed: it never had a leader
	causeLost     = "lost" // nobody was deposed: see planner.scanLeaderless
)

// deposed reports whether leadership may be taken from leader, and why.
func (c *core) deposed(now time.Time, leader protocol.BrokerID, replicas []protocol.BrokerID) (cause string, ok bool) {
	p := c.peers[leader]
	switch {
	case p == nil, c.overslept(now):
		return "", false
	case p.state == Dead:
		return causeDeath, !c.contradicted(now, p)
	case p.stalled && c.fresh(now, p):
		return causeStall, true
	case p.starved && !c.starved && c.fresh(now, p):
		return causeStarved, true
	case c.silence(now, p) >= c.silent:
		return causeSilence, c.silenceAgreed(now, leader, replicas)
	case c.deaf(now, p, replicas):
		return causeDeafness, true
	}
	return "", false
}

// contradicted reports whether another broker heard p's incarnation plainly after its supposed death: then only the
// way between p and us is cut.
func (c *core) contradicted(now time.Time, p *peer) bool {
	for _, q := range c.peers {
		s, ok := c.sees(now, q, p.id)
		if ok && s.heard && !s.dead && s.boot == bootHead(p.boot) &&
			q.report.at.Add(-s.age).Sub(p.downAt) > 2*c.interval {
			return true
		}
	}
	return false
}

// sees returns how q saw b, if q's last report is fresh.
func (c *core) sees(now time.Time, q *peer, b protocol.BrokerID) (sight, bool) {
	if !c.fresh(now, q) {
		return sight{}, false
	}
	s, ok := q.report.sights[b]
	return s, ok
}

// fresh reports whether what p said of itself and others last still counts.
func (c *core) fresh(now time.Time, p *peer) bool {
	return p.state == Alive && !p.report.at.IsZero() && now.Sub(p.report.at) < c.silent
}

// silenceAgreed counts the replicas that did not hear leader; the caller has found that this broker did not. What a
// replica said is not extrapolated: it may have heard the leader since.
func (c *core) silenceAgreed(now time.Time, leader protocol.BrokerID, replicas []protocol.BrokerID) bool {
	n := 0
	for _, r := range replicas {
		if r == c.self {
			n++
			continue
		}
		if q := c.peers[r]; q != nil && r != leader {
			if s, ok := c.sees(now, q, leader); ok && s.missing(c.silent) {
				n++
			}
		}
	}
	return n > len(replicas)/2
}

// deaf reports whether p says that it does not hear a majority of replicas: it cannot commit anything. A replica that p
// does not know, it does not hear, though this broker may; one that only p knows counts as p says.
func (c *core) deaf(now time.Time, p *peer, replicas []protocol.BrokerID) bool {
	if !c.fresh(now, p) {
		return false // it said nothing, or not lately
	}
	hears := 0
	for _, r := range replicas {
		if r == p.id {
			hears++
			continue
		}
		s, ok := p.report.sights[r]
		if ok && !s.missing(c.silent) { // who has just started has not heard anybody yet
			hears++
		}
	}
	return hears <= len(replicas)/2
}

func (c *core) alive(now time.Time, b protocol.BrokerID) bool {
	if b == c.self {
		return true
	}
	p := c.peers[b]
	return p != nil && p.state == Alive && (now.Sub(p.heard) < c.silent || c.reconnects(now, p))
}

func (c *core) hearsMajority(now time.Time, replicas []protocol.BrokerID) bool {
	n := 0
	for _, r := range replicas {
		if c.alive(now, r) {
			n++
		}
	}
	return n > len(replicas)/2
}

// candidate reports whether b can be expected to campaign.
func (c *core) candidate(now time.Time, b protocol.BrokerID) bool {
	if b == c.self {
		return !c.stalled
	}
	return c.alive(now, b) && !c.peers[b].stalled
}

// roomy reports whether b would take publishes if it led, and has the processors for it.
func (c *core) roomy(now time.Time, b protocol.BrokerID) bool {
	if b == c.self {
		return !c.stalled && !c.short && !c.starved
	}
	return c.candidate(now, b) && !c.peers[b].short && !c.peers[b].starved
}

// incarnationGone reports whether b does not run as boot any more.
func (c *core) incarnationGone(now time.Time, b protocol.BrokerID, boot [16]byte) bool {
	p := c.peers[b]
	if p == nil {
		return false
	}
	return p.boot != boot || p.state == Dead && !c.contradicted(now, p)
}

// troubled returns the brokers that may be deposed in some shard.
func (c *core) troubled(now time.Time) []protocol.BrokerID {
	var out []protocol.BrokerID
	for _, id := range c.ids {
		p := c.peers[id]
		bad := p.state == Dead || p.stalled || p.starved || c.silence(now, p) >= c.silent
		for b, s := range p.report.sights {
			known := b == c.self || c.peers[b] != nil
			bad = bad || known && s.missing(c.silent)
		}
		if bad {
			out = append(out, id)
		}
	}
	return out
}
