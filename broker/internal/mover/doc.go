// Package mover makes the moves that the metadata wants: it takes the shards that this broker leads from the membership that Raft
// has to the one that the metadata names, one Raft change at a time (docs/adr/0012-membership.md).
//
// It owns no state that matters. Each look reads the move from the image and the membership from Raft and does the one step that next
// gives for them; a step that was done already, by this broker or by the leader before it, is found done. Steps for a move, in order:
//
//	add      the new replica becomes a learner
//	         ... it catches up; see rounds
//	promote  it becomes a voter
//	yield    the replica to be removed leads: it hands over, and the next leader goes on
//	remove   the old replica is out
//	finish   the metadata names the new replicas
//
// A move to be undone goes back as long as the old replica is still in: remove the new one, then undone. After that it is finished.
//
// Invariants:
//
//	Inv1  a Raft change is proposed only by the shard's leader and carries the ID of the membership it was decided on: if another
//	      change came between, Raft refuses it and the next look decides anew.
//	Inv2  a replica is promoted only after a round (see rounds) and removed only if, without it, a majority of the voters is
//	      alive and the replica in its place has done a round too.
//	Inv3  finish is asked only when the membership has the new replica as a voter and has not the old one, undone only when it has
//	      not the new one: then nobody can go on with the other outcome, whatever image they have.
//
// On the leader of the metadata shard it also gives each registered broker a learner there, and takes those of retired brokers away.
//
// Bounds: one job per shard, maxJobs at a time; each ends by stepTimeout and is tried again at the next look, every Config.Every.
package mover
