// Package chaos harms the brokers of a local cluster under full load and proves from outside that every promise held.
//
// A run follows a schedule that depends on nothing but its seed, and is printed before anything happens:
//
//	claim, self-test, disks -> warm-up -> faults -> calm -> drain -> check -> clean-up
//	                           |          |         |       |        |
//	                   baseline of what   |    the load     |        ledger: lost, repeated, reordered, phantom
//	                   brokers hold       |    goes on,     |        trail: what each broker serves of its own replica
//	     each: healthy time, Inject,      |    brokers hold |        files: all replicas byte for byte, brokers stopped
//	     away, Prove, Recover, ready,     |    as much as   every publish is answered,
//	     caught up, all acknowledge       |    before       all delivered
//
// Of rows that are not steady, one fault in four is followed by another one while the same brokers still start. With rush, nobody
// waits for them before the next fault at all. With pairs, one in three of the faults that hit brokers comes and goes while a fault of
// the network is in force.
//
// # Promises that are checked
//
//	an acknowledged message is delivered once to each subscription, in the order of its producer, at its acknowledged place
//	nothing else is delivered; what was delivered from a place never changes
//	every publish is answered in the end; the clients live through all faults and are never told of an error
//	a consumer's turn begins where the one before was committed, and passes nothing over; what is committed never goes back
//	each replica holds exactly what was delivered, from the start that retention has given it to the end
//	brokers end only by the fault, say that they are ready after it, catch up, and every partition acknowledges again
//	no replica goes back, and who leads later has what who led before had shown
//	while at most f of 2f+1 brokers are harmed, and settleTime after a fault began or ended, every partition acknowledges something
//	in each livelyWindow, and no publish waits for longer than longestWait; not asked of rows that say that they stall
//	after the calm the brokers hold no more memory, goroutines and descriptors than hygieneBounds say, and in runs in which memory was
//	seen for levelSpan behind the first fifth of the time, it does not grow: see levelOf
//	no log speaks of a panic or of damage that the fault does not explain
//
// A checker that has judged nothing in a whole run is a violation too, since it shows nothing.
//
// In a run of several rows each is judged by what was counted from the beginning of each of its faults to that of the next fault. What a
// row says must never happen is judged where it is alone, as it may be an after-effect of another row's fault; so is what only some
// of its faults show. Pauses of faults that came
// beside another one are reported and have no limit.
//
// Retention removes records while the run lasts. It bounds the disk and not the checks: everything is checked as it is
// delivered, and what is left on the replicas is compared with what was delivered. Producers wait before consumers come near
// the records that are removed.
//
// # Power cuts
//
// Each broker has a disk of its own: an ext4 image, mounted with a long commit interval. A cut is SIGSTOP, EXT4_IOC_SHUTDOWN
// without a log flush, SIGKILL, unmount; then the image is mounted again and the broker started. What was not synced and what
// the kernel had not begun to write back is lost, which a self-test shows before each run and a canary file at each cut. Not
// lost is what was written to the device and not flushed: an image has no write cache of its own. A broker that forgot to sync
// is found, a file system that forgot to flush is not.
//
// # Brokers that join and leave
//
// Some faults are no harm but what an operator does (operation): the cluster changes while the load goes on, and no broker is a
// victim, so that all must go on all the while.
//
//	grow-shrink  join -> even -> decommission -> retired -> its process ends by itself -> removed -> even; two-more: with two
//	lost-broker  join -> even -> cargo -> SIGKILL -> the others make its replicas anew -> cargo read back -> it leaves -> removed -> even
//	replace      SIGKILL, wiped -> refused -> another one joins -> the lost one leaves -> retired -> refused for ever -> removed -> even
//	roll         each: drained -> leads nothing -> SIGTERM -> start -> caught up -> active
//	transfers    each second: the next one is made active, the one before is drained
//
// Even means that no replica moves and brokers have the same number of them, but for one. What takes longer than its bound is a
// violation: moveLimit for one replica, changeLimit for a join or a leave, remakeLimit for a repair, drainLimit, exitLimit. A replica that is new in the metadata
// must hold what its partition held arrivalLag before (arrivals); one that comes back to a broker is another replica, and may begin
// lower (health). Which brokers there are is asked of the cluster wherever it matters; brokers that left are there by their logs.
//
// # Part load
//
// With Options.Load the load goes flat out first, to learn its rate, and then at that part of it: each message is due at a fixed time, and
// how long it takes counts from then. PartLoad compares publishes during faults with those before the first one, and with those of a
// rest in which as many brokers are there and nothing changes: on one machine more brokers alone make publishes slower. It is reported and
// has no limit here; package members puts it beside what is asked.
//
// # Faults of clients
//
// Clients that are killed are processes (package worker) with a topic of their own, beside the load; what they say they did and
// were told is judged by books of the fault's own, and what those find is a violation like any other.
//
// # Other systems
//
// RunSystem runs the rows of SystemRows on any system that a driver knows (package driver), Trunkline or a peer, so that they stand
// beside each other: the same schedule, kill and cutPower as in Run, verify.Ledger and pause.Meter. What it needs of a system is
// driver.System, and of the driver that it puts a node's data where driver.Options.Data says.
//
//	open, create -> warm-up at a fixed rate, open loop -> faults -> every publish answered -> read all from the first on -> judge
//	                                                      each: healthy time, leader as the system tells it, hit, away, prove,
//	                                                            start until healthy, until every partition acknowledges
//
// Nothing is consumed before the end: a message that was delivered before the power went would say nothing about what the system
// still holds. Acknowledged and not read back is lost, read twice without the system's saying so is repeated. A pause is ended by an
// acknowledgement, not by an error. A system is judged by what its driver's About promises, and everything is reported. Run demands
// more of Trunkline than this: its own replicas read back, their files compared, consumers that live through all of it.
//
// A node that does not become healthy within startLimit, or a partition that acknowledges nothing recoverLimit later, ends the faults
// and is in SystemResult.Broken; what is there is read back all the same. Messages under way: producers x systemInFlight.
//
// # Slowness
//
// Some faults harm nobody and must only not slow others down (measured). Each has steady traffic of its own: message k is due at a
// fixed time, and how long it took counts from then, whoever was late (gauge). It goes without the harm, beside it, and in one row
// without it again, and the two are compared; of both the p99 is the median of the 99th percentiles of each second. The run's load goes slowly meanwhile, and attackers
// are processes that yield the processors (backseat): beside somebody who takes all of the machine everything is slow, whatever brokers do.
//
// # Failure, interruption and bounds
//
//	a promise is broken            the run ends after the fault; Result.Violations; schedule, result, logs and data stay, the newest
//	                               operations before the first violation (history.jsonl, topics.jsonl: package verify/history), the
//	                               violation among its neighbours (first_violation.txt) and the command for the same (replay.sh)
//	a broker does not come back    the same
//	something cannot be carried out Run fails with an error, everything stays; *UnavailableError where the machine lacks the means
//	the context ends, a panic here brokers are killed, everything is unmounted; data stay
//	this process is killed         its brokers die with it; the next run unmounts what it left, which it knows by the directory's name
//	                               and a lock that nobody holds, and touches no other mount
//
// Every wait has a limit (recoverLimit, settleLimit, drainPatient, readLimit, injectLimit). Memory: what verify.Ledger and
// verify.Trail say, about 10 bytes a message, and keptOps operations. Disk: about 16 MiB of records a partition and broker, the Raft logs, and at most
// Options.ImageMB for each image. A run belongs to one goroutine; load, progress, what is asked of the brokers meanwhile
// and the victims of one fault have their own.
package chaos
