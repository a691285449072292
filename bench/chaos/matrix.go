package chaos

import "time"

// leaderLimit is what a killed leader may cost, silentLimit one that says nothing any more, starvedLimit one that goes on slower and
// slower, gracefulLimit one that hands over, farLimit one that is killed where a round trip takes 200 ms: ten of those. restartLimit is
// what all brokers may take together: they start, hear each other, and ask a heartbeat later whether anybody leads.
var (
	gracefulLimit = Limit{P99: 200 * time.Millisecond, Max: 500 * time.Millisecond}
	farLimit      = Limit{Max: 2 * time.Second}
	restartLimit  = Limit{Max: 3500 * time.Millisecond}
	starvedLimit  = Limit{P99: 1500 * time.Millisecond, Max: 3 * time.Second}

	leaderLimit = Limit{P50: 150 * time.Millisecond, P99: 400 * time.Millisecond, Max: 700 * time.Millisecond}
	silentLimit = Limit{P99: time.Second, Max: 1500 * time.Millisecond}
)

// some is at least once a fault, never not at all.
func some(counter string) Evidence  { return Evidence{Counter: counter, PerFault: 1, Most: -1} }
func never(counter string) Evidence { return Evidence{Counter: counter} }

// seconds is how long what a cluster must live with lasts.
var seconds = Span{3 * time.Second, 6 * time.Second}

// cutFor is how long hosts do not hear each other.
var cutFor = Span{4 * time.Second, 8 * time.Second}

// fivePace leaves five brokers on two processors some time: going flat out they do not run for half a second now and then, and what is
// seen then is that, whatever happens to the network.
const fivePace = 3000

// memberPatience is enough for two joins and two leaves, lostPatience for stored records and their repair.
const (
	memberPatience = 6 * time.Minute
	lostPatience   = 15 * time.Minute
)

// calmPace leaves most of the machine to what is measured.
const calmPace = 50

// Rows are those that can be run.
var Rows = []Row{
	{
		Name: "none", Matrix: "0", Fault: "none", Target: Nobody, Steady: true, Hold: Span{time.Second, 3 * time.Second},
		Must: []Evidence{never("takeovers")}, Doc: "nothing happens",
	},
	{
		Name: "leader", Matrix: "1", Fault: "kill", Target: Leader, Steady: true, Limit: leaderLimit,
		Must: []Evidence{some("takeovers")}, Doc: "SIGKILL the leader of a partition",
	},
	{Name: "sigkill", Matrix: "1", Fault: "kill", Target: Anyone, Doc: "SIGKILL a broker"},
	{Name: "sigkill-rush", Matrix: "2", Fault: "kill", Target: Anyone, Rush: true, Doc: "SIGKILL brokers without waiting for those before"},
	{Name: "sigkill-all", Matrix: "3", Fault: "kill", Target: Everyone, Limit: restartLimit, Doc: "SIGKILL all brokers at once"},
	{Name: "powercut", Matrix: "5", Fault: "powercut", Target: Anyone, Doc: "take the power from a broker and its disk"},
	{Name: "powercut-all", Matrix: "6", Fault: "powercut", Target: Everyone, Doc: "take the power from all brokers and disks at once"},
	{
		Name: "stop-leader", Matrix: "8", Fault: "stop", Target: Leader, Steady: true, Hold: Span{2 * time.Second, 6 * time.Second},
		Limit: silentLimit, Must: []Evidence{some("stopped")},
		Doc: "SIGSTOP the leader of a partition for seconds, then SIGCONT",
	},
	{
		Name: "stop-short", Matrix: "9", Fault: "stop", Target: Anyone, Steady: true,
		Wait: Span{100 * time.Millisecond, 400 * time.Millisecond}, Hold: Span{100 * time.Millisecond, 400 * time.Millisecond},
		Limit: silentLimit, Must: []Evidence{some("stopped")},
		Doc: "SIGSTOP a broker for 0.1 to 0.4 s, as a virtual machine that is denied the processor",
	},
	{
		Name: "silent", Matrix: "10", Fault: "silent", Target: Leader, Steady: true, Hold: seconds,
		Limit: silentLimit, Must: []Evidence{some("silent_udp_to_target_blackholed"), some("takeovers")},
		Doc: "nothing from or to a leader arrives, neither to clients nor to brokers, and no connection ends",
	},
	{Name: "raft-delay", Matrix: "13", Fault: "raft-delay", Target: Nobody, Steady: true, Hold: seconds, Limit: Limit{Max: time.Second}, Must: []Evidence{never("raft_delay_claims")}, Doc: "200 ms more, with 50 ms of jitter, between all brokers"},
	{
		Name: "far-leader", Matrix: "13", Fault: "far-kill", Target: Leader, Steady: true, Hold: Span{2 * time.Second, 3 * time.Second}, Limit: farLimit,
		Must: []Evidence{some("takeovers_death")}, Doc: "SIGKILL the leader of a partition while a round trip between brokers takes 200 ms",
	},
	{Name: "raft-rate", Matrix: "13", Fault: "raft-rate", Target: Nobody, Steady: true, Hold: seconds, Must: []Evidence{never("raft_rate_claims")}, Doc: "10 Mbit/s between all brokers"},
	{Name: "raft-cut", Matrix: "D2", Fault: "raft-cut", Target: Anyone, Steady: true, Must: []Evidence{never("raft_cut_claims")}, Doc: "the connections between two brokers are cut, and can be made again: nobody may lead anew"},
	{Name: "raft-link-delay", Matrix: "D2", Fault: "raft-link-delay", Target: Anyone, Steady: true, Hold: seconds, Must: []Evidence{never("raft_link_delay_claims")}, Doc: "100 ms more between two brokers: nobody may lead anew"},
	{Name: "raft-link-stall", Matrix: "D2", Fault: "raft-link-stall", Target: Anyone, Steady: true, Hold: seconds, Must: []Evidence{never("raft_link_stall_claims")}, Doc: "one direction between two brokers stands still: nobody may lead anew"},
	{Name: "client-loss-1", Matrix: "14", Fault: "client-loss-1", Target: Nobody, Steady: true, Hold: seconds, Must: []Evidence{never("client_loss_1_claims")}, Doc: "1 % of the datagrams of clients lost, 5 % twice, 10 % late, 1 % damaged"},
	{Name: "client-loss-5", Matrix: "14", Fault: "client-loss-5", Target: Nobody, Steady: true, Hold: seconds, Must: []Evidence{never("client_loss_5_claims")}, Doc: "the same with 5 % lost"},
	{Name: "client-loss-20", Matrix: "14", Fault: "client-loss-20", Target: Nobody, Steady: true, Hold: seconds, Must: []Evidence{never("client_loss_20_claims")}, Doc: "the same with 20 % lost"},
	{Name: "nat-port", Matrix: "16", Fault: "nat-port", Target: Nobody, Steady: true, Limit: Limit{Max: time.Second}, Must: []Evidence{never("nat_port_claims")}, Doc: "clients come from another port, as a NAT does it"},
	{Name: "nat-address", Matrix: "16", Fault: "nat-address", Target: Nobody, Steady: true, Limit: Limit{Max: time.Second}, Must: []Evidence{never("nat_address_claims")}, Doc: "clients come from another address"},
	{
		Name: "diskfull-follower", Matrix: "17", Fault: "diskfull", Target: Follower, Steady: true, Hold: Span{4 * time.Second, 6 * time.Second},
		Limit: silentLimit, Must: []Evidence{some("short_of_disk")},
		Doc: "a follower's disk is full up to its reserve",
	},
	{
		Name: "diskfull-leader", Matrix: "17", Fault: "diskfull", Target: Leader, Steady: true, Hold: Span{4 * time.Second, 6 * time.Second},
		Limit: silentLimit, Must: []Evidence{some("short_of_disk")},
		Doc: "a leader's disk is full up to its reserve: it hands its leaderships over",
	},
	{
		Name: "diskfull-stop", Matrix: "17", Fault: "diskfloor", Target: Anyone, Steady: true, Hold: Span{3 * time.Second, 5 * time.Second},
		Limit: silentLimit, Must: []Evidence{some("disk_full_stops")},
		Doc: "a broker's disk is full but for a few MiB: it stops before a write fails, says why, and comes back when there is room",
	},
	{
		Name: "failed-fsync", Matrix: "18", Fault: "failed-fsync", Target: Leader, Steady: true, Must: []Evidence{some("failed-fsync")},
		Doc: "one fsync fails, of the Raft log and of a segment in turns: the process ends and acknowledges nothing more",
	},
	{
		Name: "short-write", Matrix: "19", Fault: "short-write", Target: Anyone, Steady: true, Must: []Evidence{some("short-write")},
		Doc: "a write to a segment fails after half of its bytes",
	},
	{
		Name: "diskfreeze", Matrix: "20", Fault: "diskfreeze", Target: Leader, Steady: true, Hold: Span{4 * time.Second, 8 * time.Second},
		Limit: Limit{Max: 3 * time.Second}, Must: []Evidence{some("frozen_writes")},
		Doc: "fsfreeze of the leader's disk: writes hang",
	},
	{
		Name: "slow-fsync", Matrix: "21", Fault: "slow-fsync", Target: Leader, Steady: true, Hold: seconds,
		Must: []Evidence{some("slow-fsync"), never("takeovers")},
		Doc:  "each fsync of a broker takes 50 ms more: nobody may lead anew",
	},
	{
		Name: "segmentflip-follower", Matrix: "22", Fault: "segmentflip", Target: Follower, Steady: true, Wait: seconds,
		Must: []Evidence{some("segments_put_right"), never("takeovers")},
		Doc:  "a bit in sealed segments of a follower changes while it runs: it must find and repair it from the others",
	},
	{
		Name: "segmentflip-leader", Matrix: "22", Fault: "segmentflip", Target: Leader, Steady: true, Wait: seconds,
		Must: []Evidence{some("segments_put_right"), never("takeovers")},
		Doc:  "the same of a leader, which goes on leading",
	},
	{
		Name: "journalflip", Matrix: "24", Fault: "journalflip", Target: Anyone, Steady: true, Hold: usualHold,
		Must: []Evidence{some("refused_starts")},
		Doc:  "a byte in the middle of a broker's Raft log changes while it is down: it must refuse to start and say where",
	},
	{
		Name: "lag", Matrix: "26", Fault: "kill", Target: Follower, Hold: Span{5 * time.Second, 8 * time.Second},
		Must: []Evidence{{"snapshots_installed", 0.5, -1}}, // one in four comes before the snapshot is there
		Doc:  "a follower is away until the Raft log that it needs is compacted: it must be sent a snapshot, and is killed again meanwhile",
	},
	{Name: "panic-leader", Matrix: "30", Fault: "panic-leader", Target: Leader, Steady: true, Must: []Evidence{some("panic-leader")}, Doc: "a leader panics at a point of a record's road, another one each time"},
	{Name: "panic-follower", Matrix: "30", Fault: "panic-follower", Target: Follower, Steady: true, Must: []Evidence{some("panic-follower")}, Doc: "a follower does"},
	{
		Name: "clock", Matrix: "36", Fault: "clock", Target: Leader, Steady: true, Hold: seconds, Must: []Evidence{some("clock"), never("takeovers")},
		Doc: "a broker's wall clock jumps by an hour, forward and back in turns",
	},
	{
		Name: "partition-leader", Matrix: "10", Fault: "partition", Target: Leader, Steady: true, Hold: cutFor,
		Limit: silentLimit, Must: []Evidence{some("packets_lost"), some("epochs_begun")},
		Doc: "the leader of a partition is cut off from all other brokers, not from clients",
	},
	{
		Name: "deaf-leader", Matrix: "11", Fault: "deaf", Target: Leader, Steady: true, Hold: cutFor,
		Limit: silentLimit, Must: []Evidence{some("packets_lost"), some("epochs_begun")},
		Doc: "the leader of a partition sends to other brokers and receives nothing from them",
	},
	{
		Name: "mute-leader", Matrix: "11", Fault: "mute", Target: Leader, Steady: true, Hold: cutFor,
		Limit: silentLimit, Must: []Evidence{some("packets_lost"), some("epochs_begun")},
		Doc: "the leader of a partition receives from other brokers and sends nothing to them",
	},
	{
		Name: "half-deaf", Matrix: "11", Fault: "half-deaf", Target: Anyone, Steady: true, Hold: cutFor,
		Must: []Evidence{some("packets_lost"), never("epochs_begun")},
		Doc:  "a broker does not hear one other broker, which a majority hears: no leader changes",
	},
	{
		Name: "bridge", Matrix: "12", Fault: "bridge", Target: Anyone, Brokers: 5, Steady: true, Hold: cutFor, Pace: fivePace,
		Limit: silentLimit, Must: []Evidence{some("packets_lost")},
		Doc: "two halves that hear only one common broker: each hears a majority",
	},
	{
		Name: "ring", Matrix: "12", Fault: "ring", Target: Everyone, Brokers: 5, Steady: true, Hold: cutFor, Pace: fivePace,
		Limit: silentLimit, Must: []Evidence{some("packets_lost")},
		Doc: "each broker hears its two neighbours only: no two hear the same majority",
	},
	{
		Name: "clients-cut", Matrix: "15", Fault: "clients-cut", Target: Leader, Steady: true, Hold: cutFor, Stalls: true,
		Must: []Evidence{some("packets_lost"), never("epochs_begun")},
		Doc:  "clients and the leader of a partition do not hear each other; brokers do",
	},
	{
		Name: "partkill", Matrix: "7", Fault: "partkill", Target: Anyone, Steady: true, Stalls: true,
		Must: []Evidence{some("packets_lost"), some("majorities_formed")},
		Doc:  "Jepsen's: a power cut in the overlap of two majorities, and the second one goes on without who has everything",
	},
	{
		Name: "throttle", Matrix: "37", Fault: "throttle", Target: Leader, Steady: true, Hold: Span{55 * time.Second, 60 * time.Second},
		Limit: starvedLimit, Must: []Evidence{{"throttled_periods", 100, -1}, {"throttled_flaps", 0, 3}},
		Doc: "the leader of a partition gets a tenth of a processor for a minute",
	},
	{
		Name: "oom", Matrix: "37", Fault: "oom", Target: Leader, Limit: starvedLimit, Must: []Evidence{some("oom_kills")},
		Doc: "the kernel kills the leader of a partition for want of memory",
	},
	{
		Name: "roll", Matrix: "4", Fault: "roll", Target: Nobody, Steady: true, Limit: gracefulLimit,
		Must: []Evidence{{"roll_restarts", 3, -1}, never("roll_broken"), never("takeovers")},
		Doc:  "all brokers are restarted in order, one after the other: drained, SIGTERM, start, caught up, active",
	},
	{
		Name: "grow-shrink", Matrix: "27", Fault: "grow-shrink", Target: Nobody, Steady: true, Limit: silentLimit,
		Must: []Evidence{some("grow_shrink_joined"), some("grow_shrink_left"), {"grow_shrink_moves", 4, -1}, {"moves_finish", 4, -1}, {"planned_begin", 4, -1}, {"grow_shrink_newcomers", 4, -1}, never("grow_shrink_broken")},
		Doc:  "a broker joins and gets its share of the replicas, then one is decommissioned, a founder or one that joined",
	},
	{
		Name: "grow-shrink-kill", Matrix: "27", Fault: "grow-shrink-kill", Target: Nobody, Steady: true, Limit: starvedLimit,
		Must: []Evidence{some("grow_shrink_kill_joined"), some("grow_shrink_kill_left"), {"grow_shrink_kill_moves", 4, -1}, {"moves_finish", 4, -1}, {"planned_begin", 4, -1}, some("grow_shrink_kill_kills"), never("grow_shrink_kill_broken")},
		Doc:  "the same, and meanwhile the leader of a partition is killed every few seconds",
	},
	{
		Name: "two-more", Matrix: "27", Fault: "two-more", Target: Nobody, Steady: true, Patience: memberPatience, Limit: silentLimit,
		Must: []Evidence{{"two_more_joined", 2, -1}, {"two_more_left", 2, -1}, {"two_more_moves", 8, -1}, {"two_more_newcomers", 8, -1}, never("two_more_broken")},
		Doc:  "two brokers join and get their share of the replicas, then two are decommissioned, one after the other",
	},
	{
		Name: "two-more-kill", Matrix: "27", Fault: "two-more-kill", Target: Nobody, Steady: true, Patience: memberPatience, Limit: starvedLimit,
		Must: []Evidence{{"two_more_kill_joined", 2, -1}, {"two_more_kill_left", 2, -1}, {"two_more_kill_moves", 8, -1}, some("two_more_kill_kills"), never("two_more_kill_broken")},
		Doc:  "the same, and meanwhile the leader of a partition is killed every ten seconds",
	},
	{
		Name: lostRow, Matrix: "25", Fault: "lost-broker", Target: Nobody, Steady: true, Patience: lostPatience, Limit: silentLimit,
		Must: []Evidence{some("lost_broker_lost"), {"lost_broker_repaired", 8, -1}, never("lost_broker_broken")},
		Doc:  "a broker is killed for good: the others make its replicas anew by themselves, with stored records in them",
	},
	{
		Name: "replace", Matrix: "25", Fault: "replace", Target: Nobody, Steady: true, Limit: leaderLimit,
		Must: []Evidence{some("replace_wiped"), {"replace_refused", 2, -1}, some("replace_replaced"), {"replace_newcomers", 4, -1}, never("replace_broken")},
		Doc:  "the disk of a broker is lost: it is refused under its ID, another one joins and takes its place",
	},
	{
		Name: "transfers", Matrix: "28", Fault: "transfers", Target: Nobody, Steady: true, Pace: calmPace, Hold: Span{12 * time.Second, 14 * time.Second},
		Must: []Evidence{{"transfers_rounds", 8, -1}, {"transfers_leaders_moved", 20, -1}, never("transfers_broken"), never("transfers_turns_lost"), never("takeovers_death")},
		Doc:  "every second another broker leads everything: the others are drained",
	},
	{
		Name: "group-storm", Matrix: "32", Fault: "group", Target: Nobody, Steady: true, Hold: Span{20 * time.Second, 30 * time.Second},
		Must: []Evidence{some("group_kills"), some("group_mid_batch"), some("group_handovers")},
		Doc:  "consumers are killed in the middle of a batch, join and leave, every few seconds",
	},
	{
		Name: "churn", Matrix: "38", Fault: "churn", Target: Anyone, Steady: true, Hold: Span{3 * time.Second, 6 * time.Second},
		Must: []Evidence{some("churn_topic_create"), some("churn_topic_delete"), some("churn_records_reads"), some("churn_records_answered_ok")},
		Doc:  "topics are made, published to, read, deleted and made again under the same names, and a broker is killed meanwhile",
	},
	{
		Name: "named-producer", Matrix: "33", Fault: "named", Target: Nobody, Steady: true, Hold: Span{20 * time.Second, 30 * time.Second},
		Must: []Evidence{some("named_kills"), some("named_zombie_fenced"), some("named_impostor_fenced")},
		Doc:  "a named producer is killed and goes on in another process, beside zombies that send with the epoch that is over",
	},
	{
		Name: "never-read", Matrix: "31", Fault: "never-read", Target: Nobody, Steady: true, Pace: calmPace, Hold: Span{24 * time.Second, 26 * time.Second},
		Must: []Evidence{some("never_read_came"), some("never_read_paused"), some("never_read_ended"), some("never_read_woken"), never("never_read_broken")},
		Doc:  "100 subscribers that never read, 10 of them not even their streams, beside one fast, compared with the same clients connected only",
	},
	{
		Name: "overload", Matrix: "34", Fault: "overload", Target: Nobody, Steady: true, Pace: calmPace, Hold: Span{10 * time.Second, 12 * time.Second},
		Must: []Evidence{some("overload_shed"), some("overload_waits"), never("overload_raft_refusals"), never("overload_broken")},
		Doc:  "three times as much is offered as the cluster carries, and then little",
	},
	{
		Name: "handshakes", Matrix: "35", Fault: "handshakes", Target: Nobody, Steady: true, Pace: calmPace, Hold: Span{12 * time.Second, 14 * time.Second},
		Must: []Evidence{some("handshakes_done"), some("handshakes_half"), some("handshakes_frames"), never("handshakes_broken")},
		Doc:  "a storm of handshakes, half-open streams and malformed frames, of attackers that leave the processors to others, beside steady traffic",
	},
}
