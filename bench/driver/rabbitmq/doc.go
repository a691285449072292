// Package rabbitmq drives RabbitMQ with quorum queues: nodes started from the system's rabbitmq-server package, clients of
// amqp091-go.
//
// A topic NAME with P partitions is a direct exchange NAME with the routing keys 0 to P-1. A subscription SUB is a quorum queue
// NAME.SUB.p for each partition, bound to p: a message is stored once for each subscription, as it is wherever RabbitMQ fans out. A
// topic without subscriptions gets the queues NAME..p, so that its messages are stored at all. The queues of partition p are
// declared through broker p mod N with client-local leaders: that spreads the leaders, and keeps those of one partition together.
//
// # Publishing
//
// A producer has one connection to each broker and one channel in confirm mode for each partition, on the connection to the
// broker that leads it, so that nothing takes a hop between brokers on its way in. A channel for each because amqp091-go tells
// confirms in the order of a channel: with one for all, a slow queue would make the acks of the others late.
//
// A lost connection leaves open what was not confirmed. With ProducerOptions.Retry it is published again, in order, on a new
// channel; RabbitMQ has nothing to recognise it by, so About.NoDuplicates is false. Nor does it promise order once a message was
// delivered again: what a consumer had not acknowledged goes back to the queue behind what it has seen. About.Ordered is false.
//
// # Consuming
//
// A consumer has one channel for each partition, again on the leader's connection, with the prefetch and the batches of
// acknowledgements that RabbitMQ recommends for quorum queues. Members of one subscription compete for messages, not for partitions.
//
// # Bounds
//
// A producer holds at most MaxInFlight messages, those waiting to be sent again included. A consumer holds at most prefetch
// messages of each partition. A broker that hangs is given up after three heartbeats.
package rabbitmq
