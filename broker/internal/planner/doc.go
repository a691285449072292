// Package planner decides which replica moves the cluster needs and asks the metadata for them, a few at a time. It runs on every broker and
// acts only on the leader of the metadata shard; the moves themselves are made by package mover
// (docs/adr/0012-membership.md).
//
// Plan is pure: the same image and the same Facts give the same actions. It wants, in this order, because what comes first is about
// safety and what comes last about comfort:
//
//	undo     a move whose new replica's broker died, leaves or was drained goes back, if it can, and so does one that only removes a
//	         replica without which, since another is lost, no majority would be alive
//	repair   a replica whose broker has been dead for Limits.RepairAfter is replaced
//	leave    a broker that leaves gives its replicas away, and is retired when it has none
//	resize   a partition gets as many replicas as its topic wants
//	spread   a replica moves to another zone if its partition then spans one more
//	balance  the numbers of replicas of any two active brokers come to differ by at most one, of a topic's as well if that costs no more
//	prefer   the numbers of preferred leaders come to differ by at most one
//
// spread, balance and prefer rest while a broker is dead or has just come back: what a restart unbalances, its end balances. A broker whose
// replicas were all made anew is given up: balance goes on without it. spread and balance also rest while a broker that leaves can give a
// replica away, since each of those changes what is even; prefer rests during all moves. A replica of the metadata shard is only replaced when its
// broker leaves, and after everything else there: one that was taken away could never come back (package meta), and a broker without one learns
// of no move of what it leads.
//
// Invariants:
//
//	Inv1  at most Limits.Concurrent moves are under way, and at most Limits.PerBroker of them into and as many out of one broker;
//	      moves that replace what is lost, or silent and leaving, may be twice as many, so that comfort never delays safety.
//	Inv2  no two actions of one plan are about the same partition.
//	Inv3  every move of spread and balance lowers (zones lacking, sum of squares of counts) in lexical order, so they end.
//	Inv4  a partition is moved only if a majority of its voters is alive: otherwise nothing could be changed, and nothing is begun.
//
// Preview tells people what is going to happen and what waits; it decides nothing.
//
// Bounds: a plan looks at each partition once per kind of action; it keeps counts per broker and per topic and broker; a
// preview makes two plans of at most 1 200 moves more and lists 300 actions.
package planner
