package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/trunkline/trunkline/broker/internal/liveness"
	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/protocol"
)

// Periods of background work.
const (
	registerTry   = 10 * time.Second // bound of one try to register
	registerPause = 200 * time.Millisecond
	asideEvery    = 500 * time.Millisecond
	// steadyAfter is how long a broker must have been alive to get back the leaderships that it is preferred for.
	steadyAfter = 5 * time.Second
)

// background starts what goes on beside serving; all of it ends with b.ctx.
func (b *Broker) background() {
	b.wg.Go(b.register)
	b.wg.Go(b.followBrokers)
	if b.founds {
		b.wg.Go(b.finaliseFounded)
	}
	b.wg.Go(b.standAside)
	b.wg.Go(func() { b.mover.Run(b.ctx) })
	b.wg.Go(func() { b.planner.Run(b.ctx) })
	b.wg.Go(b.watchDisk)
	b.wg.Go(b.watchProcessors)
}

// register puts this broker into the metadata, for as long as it takes.
func (b *Broker) register() {
	self := meta.Broker{
		ID: b.cfg.Broker, Listen: b.self.Listen, Admin: b.self.Admin, RaftAddr: b.self.Raft,
		DirID: meta.DirID(b.dir.id.DirID), Zone: b.cfg.Zone, Levels: b.levels, Founder: len(b.dir.id.Founders) > 0,
	}
	for b.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(b.ctx, registerTry)
		err := b.meta.RegisterBroker(ctx, self)
		cancel()
		var refused *protocol.Error
		switch {
		case err == nil:
			b.formed.Store(true)
			return
		case errors.As(err, &refused) && !refused.Code.Retryable():
			b.fail(fmt.Errorf("the cluster refuses this broker: %w", err))
			return
		}
		b.log.Info("not registered yet", "error", err)
		pause(b.ctx, registerPause)
	}
}

// followBrokers tells the network, the detector and the disk which brokers there are, as the metadata has it, and the network where they say they
// are. After a restart the metadata may be older than what is on disk; it says nothing then, or this broker would hang up on those
// who bring it the rest.
func (b *Broker) followBrokers() {
	moved := false
	for {
		changed := b.meta.Changed()
		im := b.meta.Image()
		if im.Retired(b.cfg.Broker) {
			b.fail(fmt.Errorf("broker %d %w: its data_dir %s can be deleted", b.cfg.Broker, ErrDecommissioned, b.cfg.DataDir))
			return
		}
		news, err := b.known.learn(im.Version, im.Level, bookOf(im))
		if err != nil {
			b.fail(err)
			return
		}
		if news || moved {
			peers := b.peers()
			b.detector.SetPeers(slices.Collect(maps.Keys(peers))) // first: what the network tells of strangers is not taken in
			if err := b.net.SetPeers(peers); err != nil {
				b.log.Error("the addresses of the brokers are not usable, the ones before them stay", "error", err)
			}
		}
		select {
		case <-b.ctx.Done():
			return
		case <-changed:
			moved = false
		case <-b.known.moved:
			moved = true
		}
	}
}

// standAside hands leaderships to active brokers while this one is not active, as often as elections or moves bring new ones.
func (b *Broker) standAside() {
	for ; b.ctx.Err() == nil; pause(b.ctx, asideEvery) {
		if self, known := b.meta.Image().Broker(b.cfg.Broker); known && self.State != meta.Active {
			b.relieve("the broker is " + self.State.String())
		}
	}
}

// roomy reports whether a broker would take publishes and may have leaderships.
func (b *Broker) roomy(id protocol.BrokerID) bool {
	m, known := b.meta.Image().Broker(id)
	return known && m.State == meta.Active && b.detector.Roomy(id)
}

// steady reports whether a broker is roomy and has been alive for steadyAfter.
func (b *Broker) steady(id protocol.BrokerID) bool {
	v, known := b.detector.View(id)
	return known && v.State == liveness.Alive && time.Since(v.Since) >= steadyAfter && b.roomy(id)
}

// deadFor returns how long a broker has been heard neither here nor by a majority, 0 for one that is alive. One that is only not heard here
// is not alive, and has been dead for no time: what is done about a broker that is gone for long is not done about it.
func (b *Broker) deadFor(id protocol.BrokerID) time.Duration {
	if id == b.cfg.Broker {
		return 0
	}
	v, known := b.detector.View(id)
	switch {
	case !known: // it was registered a moment ago
		return time.Nanosecond
	case v.State == liveness.Alive:
		return 0
	case v.Missed.IsZero(): // the way from it to this broker is cut, and others hear it
		return time.Nanosecond
	}
	return max(min(time.Since(v.Since), time.Since(v.Missed)), time.Nanosecond)
}

// pause waits for d. It reports false when ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return ctx.Err() == nil
	}
}
