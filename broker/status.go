package broker

import (
	"context"
	"time"

	"github.com/trunkline/trunkline/broker/internal/controller"
	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol/wire"
)

// maxDamages bounds the damaged places that a status names; the others are counted.
const maxDamages = 100

// CaughtUp returns nil if the broker is Ready and every replica on it has, by the word of its partition's leader, everything that was
// committed before the call: another broker may be restarted now as far as this one is concerned. It takes a round to the leaders, at the
// latest until ctx ends.
//
// Ready does not ask for that. It steers clients and supervisors: a broker that lags on a few partitions serves all others, and to take
// it out would make the lag worse.
func (b *Broker) CaughtUp(ctx context.Context) error {
	if err := b.Ready(); err != nil {
		return err
	}
	return b.controller.CaughtUp(ctx)
}

// status answers what this broker knows of itself and its partitions, and believes about the others.
func (b *Broker) status() wire.ClusterStatus {
	replicas, leading := b.controller.Counts()
	im := b.meta.Image()
	s := wire.ClusterStatus{
		Broker: b.cfg.Broker, Cluster: b.cfg.Cluster, Version: Version, UptimeMillis: millis(time.Since(b.started)),
		MetadataVersion: im.Version, MetadataLeader: b.meta.Leader(), MetadataVoters: im.Meta.Brokers(),
		Replicas: uint32(replicas), Leading: uint32(leading), Draining: b.draining.Load(),
		Level: im.Level, Lowest: b.levels.Lowest, Highest: b.levels.Highest,
		DiskReserve: uint64(b.cfg.Limits.DiskReserve), RepairAfterMillis: millis(b.cfg.Moves.RepairAfter),
	}
	if err := b.Ready(); err != nil {
		s.NotReady = err.Error()
	}
	b.fillDisk(&s)
	fillHealth(&s, b.controller.Health())
	damage := b.controller.Damage()
	s.DamagedTotal = uint32(len(damage))
	for _, err := range damage[:min(len(damage), maxDamages)] {
		s.Damaged = append(s.Damaged, err.Error())
	}
	for _, v := range b.detector.Views() {
		p := wire.PeerView{Broker: v.Broker, State: v.State.String(), SinceMillis: millis(time.Since(v.Since)), StalledDisk: v.StalledDisk, Starved: v.Starved}
		if !v.Heard.IsZero() {
			p.SilentMillis = millis(time.Since(v.Heard))
		}
		s.Peers = append(s.Peers, p)
	}
	return s
}

// fillDisk leaves the figures zero if they are not known.
func (b *Broker) fillDisk(s *wire.ClusterStatus) {
	free, err := storefs.FreeBytes(b.cfg.DataDir)
	if err != nil {
		return // watchDisk says so in the log
	}
	if total, err := storefs.TotalBytes(b.cfg.DataDir); err == nil {
		s.DiskFree, s.DiskTotal = free, total
	}
}

func fillHealth(s *wire.ClusterStatus, h controller.Health) {
	s.Missing = uint32(h.Missing)
	s.Behind, s.BehindTotal, s.LastStraw = ailing(h.Behind), uint32(h.BehindTotal), uint32(h.LastStraw)
	s.Leaderless, s.LeaderlessTotal = ailing(h.Leaderless), uint32(h.LeaderlessTotal)
}

func ailing(all []controller.Ailing) []wire.AilingPartition {
	out := make([]wire.AilingPartition, 0, len(all))
	for _, a := range all {
		out = append(out, wire.AilingPartition{Topic: a.TP.Topic, Partition: a.TP.Partition, Brokers: a.Brokers})
	}
	return out
}

// plan answers what this broker knows of moves under way, and what would be planned next. One answer is made at a time: it costs as much as
// a plan.
func (b *Broker) plan() wire.ClusterPlan {
	b.planMu.Lock()
	defer b.planMu.Unlock()
	im := b.meta.Image()
	next := b.planner.Preview()
	out := wire.ClusterPlan{
		Broker: b.cfg.Broker, MetadataVersion: im.Version, MetadataLeader: b.meta.Leader(),
		LeftOut: uint32(next.LeftOut), Notes: next.Notes,
	}
	for _, mv := range im.Moves() {
		out.Moves = append(out.Moves, b.progress(mv))
	}
	for _, a := range next.Actions {
		out.Next = append(out.Next, wire.PlannedStep{
			Action: a.Kind.String(), Topic: a.Topic, Partition: a.TP.Partition,
			Add: a.Add, Remove: a.Remove, Broker: a.Broker, Reason: a.Reason,
		})
	}
	return out
}

// progress tells what is known here of a move.
func (b *Broker) progress(mv meta.Moving) wire.MoveProgress {
	out := wire.MoveProgress{Move: wire.Move{
		Topic: mv.TP.Topic, Partition: mv.TP.Partition, Shard: mv.Shard,
		ID: mv.ID, Add: mv.Add.Broker, Remove: mv.Remove.Broker, Undo: mv.Undo,
	}}
	if p, led := b.mover.Progress(mv); led {
		out.Leads, out.Step, out.SinceMillis, out.Last, out.Match = true, p.Step, millis(p.Since), p.Last, p.Match
	}
	if local, ok := b.controller.Get(mv.TP); ok {
		out.Bytes = uint64(max(0, local.FSM().LogBytes()))
	}
	return out
}
