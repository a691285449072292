// Package trunkline drives Trunkline: brokers run by bench/cluster, clients of the SDK.
//
// # Publishing
//
// Send of the SDK with a callback: it batches, keeps batches of every partition in flight and answers in order. The bound on
// messages in flight is kept here, by a semaphore, because the SDK bounds bytes. Up to batchesInFlight messages each may be a batch of
// their own on the way; then nothing is gained by lingering for company, and the linger is 0, as it is for the SDK's Publish.
//
// The SDK tries until the context of the publish or its producer ends, in order and without storing anything twice. It has no mode
// that gives up at the first failure, so ProducerOptions.Retry changes nothing.
//
// Records without key or partition are dealt out by the SDK's sticky spreader.
//
// # Consuming
//
// A subscription of the SDK that begins at the first record. Each message is acknowledged when Deliver has returned; the SDK
// commits acknowledgements in batches. It does not mark redeliveries.
//
// # Connections
//
// Every producer and every consumer has a client of its own: they stand for processes of their own, and share nothing.
//
// # Bounds
//
// A producer holds at most MaxInFlight messages (10 000 by default), and 8 MiB a partition; a consumer is sent at most 1 MiB a partition ahead.
package trunkline
