// Package driver says what the bench needs of a message system, so that the same work runs on Trunkline and on its peers.
//
// A Driver starts a cluster of its own (or is pointed at one) and gives a System; the engine creates topics on it, publishes
// and consumes, and makes faults. Every driver is written to use its system at its best, as that system's own documentation
// recommends: asynchronous publishing with pipelining and batching, connections spread over the leaders, acknowledgements in
// batches. It adds nothing that the system does not do: no deduplication, no reordering, no retry except where
// ProducerOptions.Retry asks for it. What a system's acknowledgement is worth is said in About and goes into every result.
//
// A partition is whatever a system scales by: a partition (Trunkline, Kafka), a stream (JetStream), a quorum queue (RabbitMQ).
//
// Bounds: a producer holds at most ProducerOptions.MaxInFlight messages, or its client's own bounded buffer; a consumer holds at
// most what its client prefetches. Processes are children of the bench, killed with it, each in a directory of its own.
package driver
