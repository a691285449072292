// Package chaos harms the brokers of a local cluster under full load and proves from outside that every promise held.
//
// A run follows a schedule that depends on nothing but its seed, and is printed before anything happens:
//
//	claim, self-test, disks -> warm-up -> faults -> heal -> drain -> check -> clean-up
//	                                      |                 |        |
//	     each: healthy time, Inject,      |   every publish |        ledger: lost, repeated, reordered, phantom
//	     away, Prove, Recover, ready,     |   is answered,  |        trail: what each broker serves of its own replica
//	     caught up, all acknowledge       |   all delivered |        files: all replicas byte for byte, brokers stopped
//
// Of rows that are not steady, one fault in four is followed by another one while the same brokers still start. With rush, nobody
// waits for them before the next fault at all.
//
// # Promises that are checked
//
//	an acknowledged message is delivered once to each subscription, in the order of its producer, at its acknowledged place
//	nothing else is delivered; what was delivered from a place never changes
//	every publish is answered in the end; the clients live through all faults and are never told of an error
//	each replica holds exactly what was delivered, from the start that retention has given it to the end
//	brokers end only by the fault, say that they are ready after it, catch up, and every partition acknowledges again
//	no log speaks of a panic or of damage
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
// # Faults of clients
//
// Clients that are killed are processes (package worker) with a topic of their own, beside the load; what they say they did and
// were told is judged by books of the fault's own, and what those find is a violation like any other.
//
// # Slowness
//
// Some faults harm nobody and must only not slow others down (measured). Each has steady traffic of its own: message k is due at a
// fixed time, and how long it took counts from then, whoever was late (gauge). First it goes alone, then beside the harm, and the two
// are compared; of both the p99 is the median of the 99th percentiles of each second. The run's load goes slowly meanwhile, and attackers
// are processes that yield the processors: beside somebody who takes all of the machine everything is slow, whatever brokers do.
//
// # Failure, interruption and bounds
//
//	a promise is broken            the run ends; Result.Violations; schedule, result, logs and data stay, and the command for the same
//	a broker does not come back    the same
//	something cannot be carried out Run fails with an error, everything stays; *UnavailableError where the machine lacks the means
//	the context ends, a panic here brokers are killed, everything is unmounted; data stay
//	this process is killed         its brokers die with it; the next run unmounts what it left, which it knows by the directory's name
//	                               and a lock that nobody holds, and touches no other mount
//
// Every wait has a limit (recoverLimit, settleLimit, drainPatient, readLimit, injectLimit). Memory: what verify.Ledger and
// verify.Trail say, about 10 bytes a message. Disk: about 16 MiB of records a partition and broker, the Raft logs, and at most
// Options.ImageMB for each image. A run belongs to one goroutine; load, progress and the victims of one fault have their own.
package chaos
