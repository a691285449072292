package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline/trunkline/broker/internal/storefs"
)

const (
	diskCheck   = time.Second
	relieveTime = 2 * time.Second // bound of one round of handing leaderships over
	// maxFloor bounds the floor, bytes.
	maxFloor = 128 << 20
)

// DiskFullError says that so little disk is free that a broker does not run. What leaders elsewhere commit is written here too,
// whatever this broker refuses; a write that finds no room would end the process in the middle of it, and leave none to start again.
// So the broker stops, or does not start, while there is still some, and the others go on without it.
type DiskFullError struct {
	Dir         string
	Free, Floor uint64 // bytes
}

func (e *DiskFullError) Error() string {
	return fmt.Sprintf("disk full: %s has %v free, a broker does not run with less than %v: free or add disk and start it again; nothing is lost",
		e.Dir, Bytes(e.Free), Bytes(e.Floor))
}

// roomToRun returns a *DiskFullError below the floor: a quarter of limits.disk_reserve, at most maxFloor.
func (b *Broker) roomToRun(free uint64) error {
	if floor := min(uint64(b.cfg.Limits.DiskReserve)/4, maxFloor); free < floor {
		return &DiskFullError{Dir: b.cfg.DataDir, Free: free, Floor: floor}
	}
	return nil
}

// checkDisk refuses to start on a full disk.
func (b *Broker) checkDisk(context.Context) error {
	free, err := storefs.FreeBytes(b.cfg.DataDir)
	if err != nil {
		return fmt.Errorf("free disk of %s: %w", b.cfg.DataDir, err)
	}
	return b.roomToRun(free)
}

// watchDisk refuses publishes while less than the reserve is free: a full disk would stop every partition. Leaderships go to brokers
// with room, where there is one. It takes publishes again when an eighth more than the reserve is free, so that it does not flap.
// Below the floor the broker stops.
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
		if err := b.roomToRun(free); err != nil {
			b.relieve("the disk is nearly full")
			b.fail(err)
			return
		}
		if now := free < reserve || (low && free < reserve+reserve/8); now != low {
			low = now
			b.log.Warn("disk reserve", "refusing_publishes", low, "free_bytes", free, "reserve_bytes", reserve)
		}
		b.short.Store(low)
		b.controller.SetDiskReserve(low)
		if low {
			b.relieve("the disk is nearly full")
		}
	}
}

// relieve hands leaderships to brokers that are active and have room on their disks, once around.
func (b *Broker) relieve(why string) {
	ctx, cancel := context.WithTimeout(b.ctx, relieveTime)
	defer cancel()
	if err := b.controller.Relieve(ctx); err != nil && b.ctx.Err() == nil {
		b.log.Warn("leaderships stay here, trying again", "why", why, "error", err)
	}
}
