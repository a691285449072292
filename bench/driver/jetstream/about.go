package jetstream

import (
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/trunkline/trunkline/bench/driver"
)

// About says what is measured. The promises are those of nats-server 2.15, read in its source: a publish is acknowledged by the
// leader of the stream when the Raft entry with it is committed and applied there. Leader and followers write an entry to their Raft
// logs before they count as having it, without a buffer in between (AsyncFlush is off for Raft logs), and with sync_interval:
// always each write of the log is followed by fsync (nats-server pull request 6041). The stream's own file is then only synced
// before a snapshot cuts the log (pull request 8447, from 2.15), which loses nothing: a restart replays the log.
func (s *system) About() driver.About {
	a := driver.About{
		System: Driver{}.Name(), Profile: s.profile, Version: s.version, Client: "nats.go v" + nats.Version,
		Ack: "A majority of the stream's replicas wrote the message to their Raft logs, in the page cache of the operating system, and the " +
			"leader applied it; fsync follows within 2 minutes.",
		NoDuplicates: true,
		Ordered:      false,
		Config:       s.settings(),
	}
	if s.profile == fsyncAlways {
		a.Durable = true
		a.Ack = "A majority of the stream's replicas wrote the message to their Raft logs and fsynced them, and the leader applied it; " +
			"the stream's own file is fsynced before the log is cut."
	}
	return a
}

func (s *system) settings() []driver.Setting {
	set := []driver.Setting{
		{Key: "stream.storage", Value: "file"},
		{Key: "stream.per_partition", Value: "1", Why: "a stream is what JetStream scales by"},
		{Key: "publish", Value: "PublishMsgAsync with an ack handler, on the connection to the stream's leader"},
		{Key: "publish.max_pending", Value: strconv.Itoa(maxInFlight), Why: "about nats.go's 4000; 1024 is slower, 16384 hardly faster; maxInFlight of a workload wins"},
		{Key: "publish.ack_timeout", Value: ackTimeout.String(), Why: retryAfter.String() + " where failed messages are published again"},
		{Key: "publish.retry", Value: "Nats-Msg-Id, for at most " + dedupWindow.String(), Why: "only with faults; the deduplication window"},
		{
			Key: "consumer.ack_policy", Value: "all, one ack for " + strconv.Itoa(ackBatch) + "; explicit where consumers share a durable",
			Why: "about twice as fast as explicit; not safe when shared",
		},
		{Key: "consumer.ack_wait", Value: ackWait.String(), Why: "what was on its way when a leader died comes again; 30 s would be a long pause"},
		{Key: "consumer.max_ack_pending", Value: strconv.Itoa(maxAckPending), Why: "1000 would throttle"},
		{Key: "consumer.pull", Value: strconv.Itoa(pullMessages) + " messages, fewer on many streams", Why: "nats.go's 500 is half as fast with fsync-always"},
		{Key: "consumer.heartbeat", Value: heartbeat.String(), Why: "a pull that died with a leader is noticed in 1 s, not 30 s"},
		{Key: "client.ping_interval", Value: "1s", Why: "a dead connection is noticed in 3 s, not 4 minutes"},
	}
	if s.profile == fsyncAlways {
		set = append([]driver.Setting{{Key: "jetstream.sync_interval", Value: "always", Why: "an ack means fsynced"}}, set...)
	}
	return set
}
