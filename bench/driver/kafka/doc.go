// Package kafka drives Apache Kafka: combined KRaft nodes (broker and controller in one process) and franz-go as the client.
//
//	Open ──► kafka.tools.StorageTool format (each node) ──► java kafka.Kafka (each node) ──► healthy ──► System
//
// The server is Apache's own, as jars from Maven Central (pom.xml); its settings are its defaults except those listed in
// About.Config, and the JVM runs with the options of the distribution's kafka-server-start.sh. A node is healthy when it is
// registered, unfenced and in sync on every partition that it stores: what an operator waits for before restarting the next one.
//
// A subscription is a consumer group named "topic.subscription"; it needs no set-up and starts at the first message. A
// profile's durability is a setting of each topic, so it holds on clusters that the bench did not start, too.
//
// Bounds: a producer holds at most 50 000 messages and 64 MiB, a consumer what one fetch from each broker brings (50 MiB each).
package kafka
