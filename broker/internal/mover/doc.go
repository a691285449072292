// Package mover makes the moves that the metadata wants: it takes the shards that this broker leads from the membership that Raft
// has to the one that the metadata names, one Raft change at a time (docs/adr/0012-membership.md).
//
// It owns no state that matters. Each look reads the move from the image and the membership from Raft and does the one step that next
// gives for them; a step that was done already, by this broker or by the leader before it, is found done. Steps for a move, in order:
//
//	add      the log's beginning is dropped, so that the new replica is sent a snapshot; it becomes a learner. A leader that is about to hand
//	         its leaderships over waits for that first, at most partingTime: its successor would send a second snapshot
//	         ... it catches up; see rounds
//	promote  it becomes a voter
//	yield    the replica to be removed leads: it hands over, and the next leader goes on
//	remove   the old replica is out
//	finish   the metadata names the new replicas
//
// A move to be undone goes back as long as it has not happened, that is, the old replica votes or the new one does not:
//
//	remove   the new replica, if it votes
//	bar      the move's fence is removed: a replica ID, the new one's if it is to go, that Raft takes for ever as a sign
//	undone   the metadata forgets the move
//
// Of the metadata shard every broker has a learner, so what is added there is one already, stays one when the move is undone, and
// cannot become one again once it votes: from then on the move goes on.
//
// Invariants:
//
//	Inv1  a Raft change is proposed only by the shard's leader and carries the ID of the membership it was decided on: if another
//	      change came between, Raft refuses it and the next look decides anew.
//	Inv2  a replica is promoted only after a round (see rounds) and when it has shown that it applied what the leader had then
//	      (Shards.Shows: to Raft a snapshot is there when it was received), and removed only if, without it, a majority of the voters is
//	      alive and the replica in its place has done a round too, unless that one is to be undone and cannot be.
//	Inv3  undone is asked only when the fence is in the membership, and who sees it there does nothing for the move but
//	      undo it; finish is asked only when the move has happened, and nothing takes that back. So whatever old image another leader
//	      has, and however late its words reach the metadata, what Raft has and what the metadata says come out the same.
//
// On the leader of the metadata shard it also gives each registered broker a learner there, and takes those of retired brokers away. A
// leaving broker whose replica of the metadata was removed gets none again.
//
// Bounds: one job per shard, maxJobs at a time; each ends by stepTimeout. Looks come every Config.Every; a shard whose job failed rests for
// failPause. A membership that changed meanwhile, and a leadership that was lost or has just begun, are no failures. One note for
// each move that is made here says how far it is (Progress), until it ends or another broker leads.
package mover
