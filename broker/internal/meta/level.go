package meta

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/trunkline/trunkline/protocol"
)

// The levels that there are. Each says what brokers may write and send once the cluster has it, and not before, because brokers
// that understand the levels below only do not read it. Never renumber.
const (
	// LevelFirst is what brokers wrote before there were levels: snapshots of version 2, identity.json of version 2.
	LevelFirst = protocol.FirstLevel
	// LevelStated keeps the level and what each broker understands in the metadata: snapshots of version 3, identity.json of version 3.
	LevelStated protocol.Level = 2
)

// Understood is the range of levels that this software understands. Raising Lowest lets go of what only levels below it need, and
// makes this software refuse clusters that were not finalised before the upgrade.
func Understood() protocol.Levels { return protocol.Levels{Lowest: LevelFirst, Highest: LevelStated} }

// errNewerLevel stops the replica like a command of a newer version: what comes next may not be readable.
var errNewerLevel = errors.New("the cluster was finalised at a level that this release does not understand: install the release that " +
	"the other brokers run")

// checkLevel refuses a state whose level this software does not understand.
func (s *state) checkLevel() error {
	if level := s.image.Level; level > Understood().Highest {
		return fmt.Errorf("level %d, this release understands %s: %w", level, Understood(), errNewerLevel)
	}
	return nil
}

// Word is what a broker of the cluster said that it understands.
type Word struct {
	Broker protocol.BrokerID
	Levels protocol.Levels
}

// raiseLevel raises the level of the cluster. It carries what every broker understands, because a cluster at LevelFirst does not
// keep it: brokers of before there were levels could not.
type raiseLevel struct {
	level protocol.Level
	words []Word
}

// raiseLevel never lowers the level, and refuses one that some broker is not known to understand.
func (s *state) raiseLevel(r *raiseLevel) result {
	if r.level <= s.image.Level {
		return s.done(uint64(s.image.Level), 0)
	}
	if err := s.heldBack(r); err != nil {
		return refuse(err)
	}
	s.image = s.image.withLevel(r)
	return s.done(uint64(r.level), 0)
}

// heldBack names the brokers that keep the cluster from having a level.
func (s *state) heldBack(r *raiseLevel) *protocol.Error {
	said := make(map[protocol.BrokerID]protocol.Levels, len(r.words))
	for _, w := range r.words {
		said[w.Broker] = w.Levels
	}
	var why []string
	for _, b := range s.image.brokers {
		levels, known := said[b.ID]
		switch {
		case !known:
			why = append(why, fmt.Sprintf("broker %d did not say what it understands", b.ID))
		case !levels.Has(r.level):
			why = append(why, fmt.Sprintf("broker %d understands %s", b.ID, levels))
		}
	}
	if len(why) == 0 {
		return nil
	}
	return protocol.Errorf(protocol.CodeInvalidRequest, "the cluster stays at level %d, and cannot have level %d: %s",
		s.image.Level, r.level, strings.Join(why, "; "))
}

// withLevel returns a copy at another level, with what each broker said.
func (im *Image) withLevel(r *raiseLevel) *Image {
	c := im.next()
	c.Level = r.level
	c.brokers = make([]Broker, len(im.brokers))
	copy(c.brokers, im.brokers)
	for _, w := range r.words {
		if i, ok := c.findBroker(w.Broker); ok {
			c.brokers[i].Levels = w.Levels.Stated()
		}
	}
	return c
}

// checkLevels refuses a broker that does not understand the level of the cluster. At LevelFirst nothing is kept and nobody refused:
// brokers that know no levels apply the same command, and their state must be the same. There the handshake refuses.
func (s *state) checkLevels(b *Broker) *protocol.Error {
	if s.image.Level < LevelStated || b.Levels.Has(s.image.Level) {
		return nil
	}
	return protocol.Errorf(protocol.CodeInvalidConfig, "%s", Refusal(s.image.Level, b.ID, b.Levels))
}

// Refusal is the sentence for a broker that does not understand the level of the cluster.
func Refusal(level protocol.Level, id protocol.BrokerID, levels protocol.Levels) string {
	if levels.Stated().Highest < level {
		return fmt.Sprintf("the cluster was finalised at level %d, and broker %d runs a release that understands %s: there is no way "+
			"back to that release, install the one that the other brokers run", level, id, levels)
	}
	return fmt.Sprintf("the cluster is at level %d, and broker %d runs a release that understands %s: install a release that understands "+
		"both on all brokers first, and run `trunkline cluster finalize`", level, id, levels)
}

// RaiseLevel raises the cluster's level and returns what it is. words is what every broker said that it understands. It is refused
// (CodeInvalidRequest) if one is missing or does not understand the level; a level that the cluster has, or is past, succeeds.
func (s *Service) RaiseLevel(ctx context.Context, level protocol.Level, words []Word) (protocol.Level, error) {
	res, err := s.change(ctx, &command{raise: &raiseLevel{level: level, words: words}})
	return protocol.Level(res.a), err
}

// levelFields are level and words, [broker, lowest, highest, ...].
const levelFields = 2

func (e *encoder) raise(r *raiseLevel) {
	e.head(kindRaiseLevel, levelFields)
	e.uint(uint64(r.level))
	e.array(3 * len(r.words))
	for _, w := range r.words {
		e.uint(uint64(w.Broker))
		e.levels(w.Levels)
	}
}

func (e *encoder) levels(l protocol.Levels) {
	e.uint(uint64(l.Lowest))
	e.uint(uint64(l.Highest))
}

func (d *decoder) raise() *raiseLevel {
	r := &raiseLevel{level: d.level()}
	n := d.array(3 * MaxBrokers)
	if n%3 != 0 {
		d.fail("what brokers understand has %d fields: three for each are needed", n)
	}
	for range n / 3 {
		r.words = append(r.words, Word{Broker: protocol.BrokerID(d.uint()), Levels: d.levels()})
	}
	return r
}

func (d *decoder) level() protocol.Level { return protocol.Level(d.uintMax(1<<8 - 1)) }

func (d *decoder) levels() protocol.Levels {
	return protocol.Levels{Lowest: d.level(), Highest: d.level()}
}
