// Package workload says what the bench does: how many topics, messages of which size, how fast, to whom, for how long and
// with which faults. It reads YAML and checks it; it runs nothing.
//
// The keys are those of the OpenMessaging Benchmark (OMB), whose files load unchanged, and some of ours:
//
//	topics: 1
//	partitionsPerTopic: 8
//	messageSize: 256          # bytes
//	subscriptionsPerTopic: 1
//	consumerPerSubscription: 1
//	producersPerTopic: 4
//	producerRate: 2000        # messages a second over all producers; 0: find the maximum
//	warmup: 2s                # ours, like everything below
//	duration: 60s
//	faults:
//	  - {kind: kill, at: 3s, hold: 3s}
//
// A key left out, or left empty, has the default that the Workload's field names. What OMB lets pass is refused: unknown keys,
// values out of range, keys that contradict each other. An error has one line a key: file, key and reason.
//
// Find knows the library in bench/workloads by name. All functions may be called from any goroutine; a Workload has no lock, so
// whoever changes one owns it.
package workload
