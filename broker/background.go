package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
)

// Periods of background work.
const (
	registerTry   = 10 * time.Second // bound of one try to register
	registerPause = 200 * time.Millisecond
	diskCheck     = time.Second
	relieveTime   = 5 * time.Second // bound of one round of handing leaderships over
)

// background starts what goes on beside serving; all of it ends with b.ctx.
func (b *Broker) background() {
	b.wg.Go(b.register)
	b.wg.Go(b.rememberPeers)
	b.wg.Go(b.watchDisk)
}

// register puts this broker into the metadata, for as long as it takes.
func (b *Broker) register() {
	self := meta.Broker{ID: b.cfg.Broker, Listen: b.self.Listen, Admin: b.self.Admin, RaftAddr: b.self.Raft, DirID: meta.DirID(b.dir.id.DirID)}
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

// watchDisk refuses publishes while less than the reserve is free: a full disk would stop every partition. Leaderships go to brokers
// with room, where there is one. It takes publishes again when an eighth more than the reserve is free, so that it does not flap.
func (b *Broker) watchDisk() {
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "trunkline_disk_free_bytes", Help: "Free bytes of the data directory's file system."})
	b.reg.MustRegister(gauge)
	low := false
	reserve := uint64(b.cfg.Limits.DiskReserve)
	for ; b.ctx.Err() == nil; pause(b.ctx, diskCheck) {
		free, err := storefs.FreeBytes(b.cfg.DataDir)
		if err != nil {
			b.log.Warn("free disk is not known", "error", err)
			continue
		}
		gauge.Set(float64(free))
		if now := free < reserve || (low && free < reserve+reserve/8); now != low {
			low = now
			b.log.Warn("disk reserve", "refusing_publishes", low, "free_bytes", free, "reserve_bytes", reserve)
		}
		b.short.Store(low)
		b.controller.SetDiskReserve(low)
		if low {
			b.relieve()
		}
	}
}

// relieve hands leaderships to brokers that have room on their disks, once around.
func (b *Broker) relieve() {
	ctx, cancel := context.WithTimeout(b.ctx, relieveTime)
	defer cancel()
	if err := b.controller.Relieve(ctx); err != nil && b.ctx.Err() == nil {
		b.log.Warn("leaderships stay on a broker short of disk space, trying again", "error", err)
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
