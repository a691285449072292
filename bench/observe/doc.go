// Package observe watches the brokers of a cluster from outside while something else loads and harms them, and says afterwards what
// happened in them, and when.
//
//	broker 1 /metrics -> poller 1 -+
//	broker 2 /metrics -> poller 2 -+-> totals, vital signs (Totals, Vitals, Report)
//	broker 3 /metrics -> poller 3 -+        |
//	acked, delivered ---> sampler <---------+ -> timeline
//
// A broker's counters begin again at 0 when its process does. A process is told by its start time, and what it counts is added to what
// those before it had counted. What was counted between the last poll and the end of a process is not known: totals say "at least".
//
// # States and failures
//
//	a broker is down           its port refuses: nothing is read, its samples say so
//	it is paused, or hangs     one request waits for patience, then it counts as silent until the next one is answered
//	it joins or leaves         Config.Brokers says so: it is polled from then on, or no more
//	it comes back              the next poll notices the new process and counts "broker_starts"
//	a metric is not there      its counter is not in the totals: brokers show a metric with a label from its first event on
//
// # Bounds
//
// Goroutines: one a broker and one sampler. Requests under way: one a broker. An answer: maxAnswer. Of the timeline at most maxSamples
// are held: when it is full, neighbours are merged in pairs and from then on a sample stands for twice the time. With a poll every
// 250 ms that is 1000 s at 250 ms each, 2000 s at 500 ms, and an hour at one second; of merged samples the greatest memory and the
// sum of messages are kept, so that no peak is lost.
//
// An Observer is safe for concurrent use.
package observe
