// Package liveness knows which brokers are alive, and lets local replicas campaign for the shards of leaders that
// are not.
//
// It owns beliefs about brokers and the pings they rest on. It knows no Raft and no sockets: pings travel over a
// Port, campaigns are asked through Shards. One detector per broker watches every other broker; its cost does
// not depend on the number of partitions.
//
// A leader loses its shards (is deposed) for one of five causes:
//
//	death    its process is gone: connections closed and a redial refused, or a new incarnation was met
//	silence  a majority of the shard's replicas, this broker included, have not heard it for SilentAfter
//	stall    it says itself that its disk hangs
//	deafness it says itself that it does not hear a majority of the shard's replicas
//	starvation  it says itself that it gets too little of the processors, and this broker gets enough
//
// A shard may be without a leader though none was deposed: it is new, or it was lost, to a candidate that did not win or because all
// brokers were down.
//
// Invariants:
//
//	Inv1  one broker's view alone never deposes by silence: a one-way cut moves no leader.
//	Inv2  a death is delivered once per incarnation, even if the next incarnation is met before anybody asked.
//	Inv3  a death that another broker plainly contradicts (it heard the same incarnation later) deposes nobody.
//	Inv4  a broker that was itself paused starts its silence clocks anew: it never takes its own pause for theirs.
//	Inv5  only a broker that hears a majority of a shard and whose disk works campaigns for it.
//	Inv6  the pinging goroutine does nothing but ping: logs, hooks and campaigns have goroutines of their own,
//	      so a stalled disk under the log stops no ping.
//	Inv7  candidates go round: whoever stood in vain first leaves each other candidate the time of an election, so that
//	      one whose log is too short to win cannot keep the others from it.
//	Inv8  an election that was begun is followed by others until somebody leads, though the old leader is heard again.
//	Inv9  connections that break and are made again move no leader: what broke says that somebody lives there to make it
//	      anew, and gets SilentAfter for the handshake before silence counts. At most once for each time that it was heard,
//	      so that 2 SilentAfter bound the time until a silence is found.
//
//	Inv10 a campaign for what was lost begins only after a majority said that it knows no leader: a broker that was cut off or
//	      has just started does not know yet who leads.
//
//	Inv11 a broker that joins while this one runs is not silent before 2 SilentAfter; of one that is no longer watched
//	      nothing is believed, and nothing that was believed of it deposes anybody.
//
// Who is watched changes with SetPeers. Replicas may name brokers that are not watched, here or at the one who reports:
// they are not heard there, never more than that.
//
// The judgement (core, planner) is pure: values and a now parameter in, values out. Detector and Takeover are
// shells around it; all their methods may be called from any goroutine. Bounds: MaxPeers brokers, MaxPayload
// bytes per broadcast, maxEvents changes waiting for the log (more are counted and dropped).
package liveness
