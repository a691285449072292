package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/protocol"
)

// Times of a new cluster's level.
const (
	foundedWithin = time.Minute // afterwards it is left to `trunkline cluster finalize`
	foundedLook   = 100 * time.Millisecond
)

// raiseLevel raises the cluster's level if every broker runs now and has said that it understands it, and returns the level that the
// cluster has. A level that the cluster has, or is past, succeeds.
//
// Between the look and the command a broker may be started anew with an older release. It stops when it gets the command, and is
// refused from then on, as it would be a moment later.
func (b *Broker) raiseLevel(ctx context.Context, level protocol.Level) (protocol.Level, error) {
	if err := b.meta.Sync(ctx); err != nil {
		return 0, err
	}
	im := b.meta.Image()
	if level <= im.Level {
		return im.Level, nil
	}
	words, silent := b.words(im)
	if len(silent) > 0 {
		return im.Level, protocol.Errorf(protocol.CodeInvalidRequest, "the cluster stays at level %d: %s: start what is down, or "+
			"decommission it, and ask again", im.Level, strings.Join(silent, "; "))
	}
	if !b.levels.Has(level) {
		return im.Level, protocol.Errorf(protocol.CodeInvalidRequest, "the cluster stays at level %d: broker %d understands %s, and was "+
			"asked for level %d", im.Level, b.cfg.Broker, b.levels, level)
	}
	got, err := b.meta.RaiseLevel(ctx, level, words)
	if err != nil {
		return im.Level, err
	}
	b.log.Info("the cluster was finalised: releases that do not understand the level are refused from now on", "level", got)
	return got, nil
}

// words returns what the brokers of an image say that they understand, and sentences on those that are not heard.
func (b *Broker) words(im *meta.Image) (words []meta.Word, silent []string) {
	for _, m := range im.Brokers() {
		levels, met := b.levels, true
		if m.ID != b.cfg.Broker {
			levels, met = b.net.Levels(m.ID)
			met = met && b.detector.Alive(m.ID)
		}
		if !met {
			silent = append(silent, fmt.Sprintf("broker %d is not heard by broker %d, so what it understands is not known", m.ID, b.cfg.Broker))
			continue
		}
		words = append(words, meta.Word{Broker: m.ID, Levels: levels})
	}
	return words, silent
}

// finaliseFounded raises a cluster that is being founded to the level that its founders share: there is no release to go back to. It
// is tried once, when all of them are registered, by the leader of the metadata; what holds it back then holds it back until an operator
// asks. Only the first run of a founder takes part, and foundedWithin bounds it.
func (b *Broker) finaliseFounded() {
	ctx, cancel := context.WithTimeout(b.ctx, foundedWithin)
	defer cancel()
	for ; ctx.Err() == nil; pause(ctx, foundedLook) {
		im := b.meta.Image()
		switch {
		case im.Level > meta.LevelFirst:
			return
		case b.meta.Leader() != b.cfg.Broker || !registered(im, b.dir.id.Founders):
			continue
		}
		words, silent := b.words(im)
		if len(silent) > 0 { // a detector takes a moment
			continue
		}
		_, err := b.raiseLevel(ctx, shared(words))
		var refused *protocol.Error
		if err == nil || errors.As(err, &refused) && !refused.Code.Retryable() {
			return
		}
		b.log.Info("a new cluster's level is not raised yet", "error", err)
	}
}

func registered(im *meta.Image, founders []protocol.BrokerID) bool {
	return !slices.ContainsFunc(founders, func(id protocol.BrokerID) bool {
		_, known := im.Broker(id)
		return !known
	})
}

// shared is the highest level that all understand.
func shared(words []meta.Word) protocol.Level {
	lowest := slices.MinFunc(words, func(x, y meta.Word) int {
		return int(x.Levels.Stated().Highest) - int(y.Levels.Stated().Highest)
	})
	return lowest.Levels.Stated().Highest
}
