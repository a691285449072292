package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
)

const (
	// canary is written to a victim's disk just before the cut, and must be gone after it.
	canary    = ".chaos-canary"
	stopLimit = 5 * time.Second // until every thread of a stopped process stands
)

// powerCut takes the power from brokers: each keeps its data on a disk of its own, which loses what was not synced.
//
// What happens to a broker is said at rack.cutPower.
type powerCut struct {
	harmless
	*rack
}

func (p *powerCut) Name() string { return "powercut" }

func (p *powerCut) Available() error { return p.available(p.Name()) }

func (p *powerCut) Setup(ctx context.Context, dir string, n int) error { return p.setup(ctx, dir, n) }

func (p *powerCut) Inject(ctx context.Context, c *cluster.Cluster, victims []int) error {
	return p.cutPower(ctx, c, victims)
}

func (p *powerCut) Prove(ctx context.Context, _ *cluster.Cluster, victims []int) error {
	return p.proveCut(ctx, victims)
}

func (p *powerCut) Recover(_ context.Context, c *cluster.Cluster, victims []int) error {
	return spawn(c, victims)
}

// cutPower takes the power from processes and their disks, and proveCut gives the disks back:
//
//	running --SIGSTOP--> stopped --canary, EXT4_IOC_SHUTDOWN--> without disk --SIGKILL, unmount--> off --mount--> disk back --> started
//
// A process is stopped first so that it does not see, and cannot answer for, its disk's end.
func (r *rack) cutPower(ctx context.Context, c processes, victims []int) error {
	if err := each(victims, func(id int) error { return freeze(ctx, c, id) }); err != nil {
		return err
	}
	err := each(victims, func(id int) error {
		d := r.disks[id]
		return errors.Join(write(filepath.Join(d.dir, canary), []byte("not synced"), false), d.cut())
	})
	return errors.Join(err, each(victims, func(id int) error {
		return errors.Join(c.Kill(ctx, id), r.disks[id].unmount())
	}))
}

// freeze stops a broker and waits until none of its threads runs.
func freeze(ctx context.Context, c processes, id int) error {
	b, err := c.Broker(id)
	if err != nil {
		return err
	}
	if err := c.Pause(id); err != nil {
		return err
	}
	for end := time.Now().Add(stopLimit); ; {
		switch ok, err := stopped(b.PID); {
		case err != nil:
			return fmt.Errorf("broker %d: %w", id, err)
		case ok:
			return nil
		case time.Now().After(end):
			return fmt.Errorf("broker %d (pid %d) still runs %v after SIGSTOP", id, b.PID, stopLimit)
		}
		if err := sleep(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

// proveCut mounts the disks again and shows that what was not synced is gone.
func (r *rack) proveCut(ctx context.Context, victims []int) error {
	return each(victims, func(id int) error {
		d := r.disks[id]
		if err := d.mount(ctx); err != nil {
			return err
		}
		left, err := survived(filepath.Join(d.dir, canary))
		if err != nil {
			return fmt.Errorf("broker %d: %w", id, err)
		}
		if left {
			return fmt.Errorf("broker %d: what was not synced survived the power cut", id)
		}
		return nil
	})
}

// each does something with all victims at the same time and waits for all.
func each(victims []int, do func(id int) error) error {
	errs := make([]error, len(victims))
	var all sync.WaitGroup
	for i, id := range victims {
		all.Go(func() { errs[i] = do(id) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// threadState returns the state in a stat file of /proc. The field before it is a name in parentheses that may hold anything.
func threadState(stat []byte) byte {
	_, rest, _ := bytes.Cut(stat[max(0, bytes.LastIndexByte(stat, ')')):], []byte(" "))
	if len(rest) == 0 {
		return 0
	}
	return rest[0]
}
