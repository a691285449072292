package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/protocol"
)

// Periods of background work.
const (
	registerTry   = 10 * time.Second // bound of one try to register
	registerPause = 200 * time.Millisecond
)

// background starts what goes on beside serving; all of it ends with b.ctx.
func (b *Broker) background() {
	b.wg.Go(b.register)
	b.wg.Go(b.rememberPeers)
	b.wg.Go(b.watchDisk)
}

// register puts this broker into the metadata, for as long as it takes.
func (b *Broker) register() {
	self := meta.Broker{
		ID: b.cfg.Broker, Listen: b.self.Listen, Admin: b.self.Admin, RaftAddr: b.self.Raft,
		DirID: meta.DirID(b.dir.id.DirID), Founder: true,
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

// rememberPeers keeps the other brokers' data directories on disk.
func (b *Broker) rememberPeers() {
	for {
		changed := b.meta.Changed()
		if err := b.known.learn(b.meta.Image()); err != nil {
			b.fail(err)
			return
		}
		select {
		case <-b.ctx.Done():
			return
		case <-changed:
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
