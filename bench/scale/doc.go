// Package scale measures what many partitions cost.
//
// It starts three real broker processes, creates a topic with hundreds of replicated partitions, waits until each has a
// leader, writes to and reads from each, measures processor time, memory, goroutines and descriptors of every broker
// while nothing happens, and then kills the busiest leader a few times under light load (package bench/trial). The
// result says whether the limits were kept: idle processor time and publish pause.
package scale
