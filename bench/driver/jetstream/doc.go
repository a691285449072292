// Package jetstream drives NATS JetStream: servers started from the nats-server binary, clients of nats.go.
//
// A topic NAME with P partitions is P streams NAME-0 to NAME-(P-1), each a Raft group of its own with file storage, on the
// subjects NAME.0 to NAME.(P-1). A subscription is a durable pull consumer of its name on each stream.
//
// # Publishing
//
// A producer has one connection to each server and publishes to a stream on the connection to the server that leads it, so that
// nothing takes a hop between servers on its way in. It uses the asynchronous publish of nats.go with its ack handler,
// which runs as the ack is read from the socket: no goroutine waits for futures, and an ack is not late because one
// before it is.
//
// With ProducerOptions.Retry each message has a Nats-Msg-Id, which JetStream remembers for two minutes. What failed or got no ack is
// published again under the same id, oldest first, after a pause that grows to 100 ms, and for at most as long as JetStream
// remembers. With several messages in flight that is not order: those behind a message that failed may have been stored. JetStream's
// means to keep order (Nats-Expected-Last-Sequence) fails everything behind it and allows only one producer, so hardly anybody
// publishes that way and this driver does not. About.Ordered is false.
//
// # Consuming
//
// A consumer pulls with Consume on a connection to the server that led the stream when it joined, and moves to another server when
// that one dies.
//
// # Bounds
//
// A producer holds at most MaxInFlight messages, those waiting to be sent again included. A consumer holds at most
// pullMessages and pullBytes of each stream.
package jetstream
