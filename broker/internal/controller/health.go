package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/protocol"
)

const (
	// markEvery is how often each leader notes how long its log is: who has what the leader had then is not behind, whatever the load.
	markEvery = time.Second
	// silentFor is how long a follower may give no answer; heartbeats ask it each second.
	silentFor = 3 * time.Second
	// maxAiling bounds the partitions that Health names; the others are counted.
	maxAiling = 100
	// syncParallel bounds the replicas that CaughtUp asks for at one time.
	syncParallel = 16
)

// Ailing is a partition in trouble, meta.Metadata for the metadata shard.
type Ailing struct {
	TP      protocol.TopicPartition
	Brokers []protocol.BrokerID // of the voters that lack something
}

// Health is what this broker knows of the partitions that it has a replica of. Lists are in the order of partitions and hold at most
// maxAiling; totals count all.
type Health struct {
	Missing int // replicas placed here that do not run
	// Behind are led here, and some voters lack what this leader had a second ago or are silent. LastStraw counts those of them that
	// stop when one more voter is lost.
	Behind                 []Ailing
	BehindTotal, LastStraw int
	// Leaderless have had no leader for silentFor, as the replica here knows: one that starts hears of it with the next heartbeat.
	Leaderless      []Ailing
	LeaderlessTotal int
}

// Health looks at every replica that runs here.
func (c *Controller) Health() Health {
	h := Health{Missing: int(c.missing.Load())}
	now := time.Now()
	for _, r := range c.running() {
		s := r.spec()
		l, _ := c.host.leader(s.shard)
		switch {
		case l.Self:
			h.behind(s.tp, c.lacking(s.shard, s.replicas[:s.voters], r.mark.Load(), now), s.voters)
		case l.Leader == 0 && r.lostFor(now) >= silentFor && slices.Contains(s.brokers(), c.cfg.Self):
			h.LeaderlessTotal++
			h.Leaderless = append(h.Leaderless, Ailing{TP: s.tp})
		}
	}
	if l, _ := c.host.leader(raftnode.MetaShard); l.Self {
		voters := make([]raftnode.Replica, 0, protocol.MaxReplicas)
		for _, b := range c.metaVoters() {
			voters = append(voters, raftnode.Replica{Broker: b, ReplicaID: uint64(b)})
		}
		h.behind(protocol.TopicPartition{}, c.lacking(raftnode.MetaShard, voters, c.metaMark.Load(), now), len(voters))
	}
	h.Behind, h.Leaderless = first(h.Behind), first(h.Leaderless)
	return h
}

// behind notes a partition whose voters on some brokers lack something.
func (h *Health) behind(tp protocol.TopicPartition, lacking []protocol.BrokerID, voters int) {
	if len(lacking) == 0 {
		return
	}
	h.BehindTotal++
	if voters-len(lacking)-1 <= voters/2 {
		h.LastStraw++
	}
	h.Behind = append(h.Behind, Ailing{TP: tp, Brokers: lacking})
}

// first sorts what is in trouble and keeps the first of it.
func first(all []Ailing) []Ailing {
	slices.SortFunc(all, func(a, b Ailing) int {
		return cmp.Or(cmp.Compare(a.TP.Topic, b.TP.Topic), cmp.Compare(a.TP.Partition, b.TP.Partition))
	})
	return all[:min(len(all), maxAiling)]
}

// lacking returns the brokers of the voters of a shard led here that do not have its log up to mark, or are silent.
func (c *Controller) lacking(shard uint64, voters []raftnode.Replica, mark uint64, now time.Time) []protocol.BrokerID {
	var out []protocol.BrokerID
	for _, v := range voters {
		if v.Broker == c.cfg.Self {
			continue
		}
		match, at, ok := c.host.progress(shard, v.ReplicaID)
		if !ok || match < mark || now.Sub(at) > silentFor {
			out = append(out, v.Broker)
		}
	}
	return out
}

// follow marks, each markEvery until ctx ends, how long the logs of the leaders here are and which replicas have no leader.
func (c *Controller) follow(ctx context.Context) {
	tick := time.NewTicker(markEvery)
	defer tick.Stop()
	for {
		for _, r := range c.running() {
			shard := r.spec().shard
			l, _ := c.host.leader(shard)
			r.mark.Store(c.lengthIf(l.Self, shard))
			if l.Leader != 0 {
				r.lost.Store(0)
			} else {
				r.lost.CompareAndSwap(0, time.Now().UnixNano())
			}
		}
		l, _ := c.host.leader(raftnode.MetaShard)
		c.metaMark.Store(c.lengthIf(l.Self, raftnode.MetaShard))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// lostFor returns for how long a replica has been found without a leader.
func (r *replica) lostFor(now time.Time) time.Duration {
	since := r.lost.Load()
	if since == 0 {
		return 0
	}
	return now.Sub(time.Unix(0, since))
}

// lengthIf returns the last index of a shard's log if this broker leads it. A new leader owes nobody anything.
func (c *Controller) lengthIf(leads bool, shard uint64) uint64 {
	if !leads {
		return 0
	}
	last, _ := c.host.last(shard)
	return last
}

// CaughtUp returns nil if every replica here, learners and the metadata too, got everything that was committed before the call. It asks
// each shard's leader, syncParallel at a time, until ctx ends; the error names the first partition that did not succeed and counts them.
func (c *Controller) CaughtUp(ctx context.Context) error {
	if !c.Ready() {
		return errors.New("replicas of this broker are starting")
	}
	if err := c.cfg.Meta.Sync(ctx); err != nil {
		return fmt.Errorf("the metadata is not current: %w", err)
	}
	running := c.running()
	errs := make([]error, len(running))
	g := errgroup.Group{}
	g.SetLimit(syncParallel)
	for i, r := range running {
		g.Go(func() error {
			if err := c.host.sync(ctx, r.spec().shard); err != nil {
				errs[i] = fmt.Errorf("topic %q partition %d: %w", r.spec().topic, r.spec().tp.Partition, err)
			}
			return nil
		})
	}
	_ = g.Wait() // the functions return nil
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d replicas lack something or have no leader, for instance %w", len(errs), len(running), errs[0])
}
