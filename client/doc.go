// Package client is the SDK of Trunkline: connect to a cluster, publish, subscribe, read, administer.
//
// # Five minutes
//
// A Client is connected to a cluster. One per process is enough; everything else comes from it, and
// everything may be used from any goroutine.
//
//	c, err := client.Connect(ctx, []string{"broker1:7400", "broker2:7400"}, client.WithCA("ca.pem"))
//	defer c.Close(ctx)
//
// A Producer publishes to a topic. Publish waits for the answer; Send queues the record and calls back,
// in order, and is what moves many records. Records with the same key go to the same partition, and within
// a partition they keep their order.
//
//	p, err := c.Producer(ctx, "orders")
//	receipt, err := p.Publish(ctx, client.Record{Key: []byte("alice"), Value: []byte("3 apples")})
//	err = p.Send(ctx, record, func(r client.Receipt, err error) { ... })
//	err = p.Flush(ctx)
//
// A Subscription is a durable, named cursor on every partition. Any number of consumers may join it; each
// partition is handed out to one of them at a time. Acknowledge what is done, in any order.
//
//	s, err := c.Subscribe(ctx, "orders", "billing")
//	for m, err := range s.Messages(ctx) {
//		...
//		err = s.Ack(m)
//	}
//
// A Reader reads without a cursor, for example all there is:
//
//	r, err := c.Reader(ctx, "orders", client.StopAtEnd())
//
// Admin creates, describes, alters and deletes topics, lists cursors and asks every broker how it is:
//
//	topic, err := c.Admin().CreateTopic(ctx, "orders", client.TopicSpec{Partitions: 8, Replicas: 3})
//
// # What is promised
//
// A receipt means that the record is on stable storage of a majority of the partition's replicas.
//
// Records of one producer enter a partition in the order of Publish and Send, each once, whatever fails in
// between: batches are sealed once with a place in the producer's sequence, kept until they are
// acknowledged, and sent again as they are, oldest first, after a broken stream, another leader or a lost
// network. Partitions recognise what they have.
//
// Every call ends when its context does. A publish has one of three answers: a receipt; an error with
// NotAppended, which means never; or an error with Unknown. Unknown is rare: all that may pass is retried
// until the context ends. If it ends while the record is in flight, the record keeps its place: later
// records can not overtake it, so the producer goes on trying in the background, until the producer is
// closed (or WithDeliveryTimeout is over). A record that was Unknown may therefore be in the log later, but
// never twice.
//
// A named producer (WithProducerName) continues the sequence of its predecessor, across processes, and
// fences it: the old one fails with ErrFenced and can not append any more. NextSequence tells how far the
// predecessor got, so that a process that reads its input from a file can go on exactly there.
//
// A subscription delivers each partition in offset order. What was acknowledged and committed is never
// delivered again; what was not is, when another consumer takes over (at least once). A consumer keeps its
// place through reconnects and leader changes and is not handed a record twice as long as it is not told
// that it lost the partition (OnRebalance, which also tells when it goes on under another activation: the number to fence
// with, where acknowledged work leaves the process). Acknowledgements for a partition that was lost are dropped.
// Commit waits until what was acknowledged is really committed, and tells, as Close does, when some of it was dropped.
//
// # How failures look
//
// They mostly do not. Brokers push changes of leadership over every connection, and the client stays
// connected to several (WithWarmConnections), so that streams move at once when a leader dies or hangs; no
// broker that is slow or gone holds up partitions that others lead. Without news a client notices by a
// refused packet, a stateless reset, two unanswered pings or an idle timeout of 1.5 s. A process that was
// suspended reconnects and goes on by itself. Retries begin at once and then back off with jitter up to
// 250 ms, in long outages 1 s; news of a leader ends the delay.
//
// Errors of brokers are *protocol.Error with a stable code; ErrFenced, ErrTopicNotFound and the others of
// this package work with errors.Is. Hooks observe connections, retries, batches, records and messages.
//
// # What is bounded
//
//	records without a result, per partition of a producer    WithBufferBytes: Publish and Send wait, at most WithMaxBlock
//	batches in flight, per partition                         WithMaxInFlight
//	bytes sent ahead, per partition of a consumer            WithCredit: the broker waits
//	records handed out and not settled, per partition        WithMaxUnacked: the partition pauses
//	goroutines, per open partition of a producer or consumer 3; per broker 4
//
// Bounds count per partition so that a partition that stands still does not stop the others. Close of any
// object waits for its goroutines; Client.Close closes all.
package client
