package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/failpoints"
	"github.com/trunkline/trunkline/client"
)

// blow is one rule that acts once, and what it is to end.
type blow struct {
	point, rule string
	lives       bool // a client's connection ends, not the process
	poke        bool // nothing of the load passes it: the fault itself opens streams
}

// strike makes its victims pass a point that acts once; blows take turns.
//
//	running --PUT the rule--> the point is passed --> process: gone, by itself, with a code; it is started again
//	                                              \-> connection: gone, the process goes on
type strike struct {
	tagged
	name  string
	blows []blow

	turn   int
	now    blow
	before map[int]int64  // acts of the victims until now
	deaths map[int]*death // of the victims that the blow is to end
	counts map[string]int64
}

func newStrike(o *Options, name string, blows []blow) Fault {
	return &strike{tagged: tagged{binary: taggedBinary(o.Binary)}, name: name, blows: blows, counts: map[string]int64{}}
}

// newFailedFsync makes one fsync fail, of the Raft log and of a segment in turns.
func newFailedFsync(o *Options) Fault {
	return newStrike(o, "failed-fsync", []blow{
		{point: "fs.datasync", rule: "error:EIO,count=1,match=/wal-"},
		{point: "fs.sync", rule: "error:EIO,count=1,match=.log"},
	})
}

// newShortWrite makes a write to a segment fail after half of its bytes, with EIO and ENOSPC in turns.
func newShortWrite(o *Options) Fault {
	return newStrike(o, "short-write", []blow{
		{point: "fs.write", rule: "error:EIO,count=1,match=.log"},
		{point: "fs.write", rule: "error:ENOSPC,count=1,match=.log"},
	})
}

// replicaPoints are passed by every replica.
var replicaPoints = []string{
	"beforeJournalSync", "beforeApply", "afterApplyBeforeAck", "beforeSegWrite", "beforeSegSync", "beforeRoll", "afterRenameBeforeDirSync",
}

// newPanicFollower panics at each point that a follower passes, in turns.
func newPanicFollower(o *Options) Fault {
	return newStrike(o, "panic-follower", panics(replicaPoints...))
}

// newPanicLeader panics at each point that a leader passes, in turns.
func newPanicLeader(o *Options) Fault {
	blows := []blow{{point: "afterAcceptStream", rule: "panic,count=1", lives: true, poke: true}}
	for _, p := range []string{"beforeDecode", "beforeDispatch", "beforeAckWrite", "beforeDeliver"} {
		blows = append(blows, blow{point: p, rule: "panic,count=1", lives: true})
	}
	blows = append(blows, panics("beforePropose", "afterProposeBeforeCommit")...)
	return newStrike(o, "panic-leader", append(blows, panics(replicaPoints...)...))
}

func panics(points ...string) []blow {
	var blows []blow
	for _, p := range points {
		blows = append(blows, blow{point: p, rule: "panic,count=1"})
	}
	return blows
}

func (f *strike) Name() string { return f.name }

func (f *strike) Inject(ctx context.Context, c *cluster.Cluster, victims []int) error {
	f.now = f.blows[f.turn%len(f.blows)]
	f.turn++
	f.before, f.deaths = map[int]int64{}, map[int]*death{}
	for _, id := range victims {
		n, err := acted(ctx, c, id, f.now.point)
		if err != nil {
			return fmt.Errorf("broker %d: %w", id, err)
		}
		f.before[id] = n
		if !f.now.lives {
			if f.deaths[id], err = expectDeath(c, id); err != nil {
				return err
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, hitLimit)
	defer cancel()
	set := each(victims, func(id int) error {
		b, err := c.Broker(id)
		if err != nil || b.PID == 0 {
			return err
		}
		return failpoints.Set(ctx, b.Admin, f.now.point+"="+f.now.rule)
	})
	poked := make(chan error, 1)
	poking, stop := context.WithCancel(ctx)
	go func() { poked <- f.poke(poking, c) }()
	err := each(victims, func(id int) error { return f.await(ctx, c, id) })
	stop()
	if perr := <-poked; err != nil { // a broker that ended at once could not answer: set counts only without the effect
		return errors.Join(err, set, perr)
	}
	return nil
}

// await waits until a victim was hit.
func (f *strike) await(ctx context.Context, c *cluster.Cluster, id int) error {
	if d := f.deaths[id]; d != nil {
		return d.await(ctx, f.now.point)
	}
	for {
		n, err := acted(ctx, c, id, f.now.point)
		if err != nil {
			return fmt.Errorf("broker %d: %w", id, err)
		}
		if n > f.before[id] {
			return nil
		}
		if sleep(ctx, hitPoll) != nil {
			return fmt.Errorf("broker %d did not pass %s within %v", id, f.now.point, hitLimit)
		}
	}
}

// poke opens streams to all replicas until ctx ends, for a point that the load does not pass.
func (f *strike) poke(ctx context.Context, c *cluster.Cluster) error {
	if !f.now.poke {
		return nil
	}
	cf, err := client.LoadContext(c.Context())
	if err != nil {
		return err
	}
	opts, err := cf.Options()
	if err != nil {
		return err
	}
	cl, err := client.Connect(ctx, cf.Brokers, append(opts, client.WithName("trunkline-chaos-poke"))...)
	if err != nil {
		return err
	}
	for sleep(ctx, hitPoll) == nil {
		_, _ = cl.Admin().DescribeTopic(ctx, topic) // it is what the blow ends
	}
	return cl.Close(context.WithoutCancel(ctx))
}

func (f *strike) Prove(ctx context.Context, c *cluster.Cluster, victims []int) error {
	for _, id := range victims {
		var err error
		if d := f.deaths[id]; d != nil {
			err = d.prove(ctx, "failpoint "+f.now.point)
		} else if b, berr := c.Broker(id); berr == nil && b.PID == 0 {
			err = fmt.Errorf("broker %d ended of a panic at %s, which was to end a connection: see %s", id, f.now.point, c.Log(id))
		}
		if err != nil {
			return err
		}
		f.counts[f.name]++
		f.counts[f.name+" "+strings.TrimSpace(f.now.point)]++
	}
	return nil
}

func (f *strike) Recover(ctx context.Context, c *cluster.Cluster, victims []int) error {
	if f.now.lives {
		return setPlan(ctx, c, victims, "")
	}
	return spawn(c, victims)
}

// Counts tells how many victims were hit, in all and by point.
func (f *strike) Counts() map[string]int64 { return f.counts }
