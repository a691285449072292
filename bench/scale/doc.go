// Package scale measures what many partitions cost.
//
// It starts three real broker processes, creates a topic with hundreds of replicated partitions, waits until each has a
// leader, writes to and reads from each, measures processor time, memory, goroutines and descriptors of every broker
// while nothing happens, kills all brokers at once and measures how long after their start every partition serves again,
// and then kills the busiest leader a few times under light load (package bench/trial). The result says whether the limits
// were kept: idle processor time, memory, restart and publish pause.
package scale
