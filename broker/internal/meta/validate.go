package meta

import (
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// The checks here need nothing but the request. The service makes them before it proposes, so that a mistake is
// answered at once and without a quorum; the state machine makes them again.

func checkName(what, name string) *protocol.Error {
	if protocol.ValidName(name) {
		return nil
	}
	shown := name
	if len(shown) > 64 {
		shown = shown[:64] + "..."
	}
	return protocol.Errorf(protocol.CodeInvalidName,
		"%s name %q: a name has 1 to %d letters, digits, '.', '_' or '-', and is neither \".\" nor \"..\"",
		what, shown, protocol.MaxNameBytes)
}

func checkPartitions(n uint32) *protocol.Error {
	if n >= 1 && n <= protocol.MaxPartitions {
		return nil
	}
	return protocol.Errorf(protocol.CodeInvalidConfig, "partitions is %d: a topic has 1 to %d", n, protocol.MaxPartitions)
}

func checkCreate(r *wire.CreateTopic) *protocol.Error {
	if err := checkName("topic", r.Name); err != nil {
		return err
	}
	if err := checkPartitions(r.Partitions); err != nil {
		return err
	}
	if err := checkReplicas(r.Replicas); err != nil {
		return err
	}
	return checkConfig(r.Config)
}

func checkReplicas(n uint32) *protocol.Error {
	if n >= 1 && n <= protocol.MaxReplicas {
		return nil
	}
	return protocol.Errorf(protocol.CodeInvalidConfig,
		"replicas is %d: a partition has 1 to %d (3 survives the loss of one broker)", n, protocol.MaxReplicas)
}

func checkConfig(c wire.TopicConfig) *protocol.Error {
	if c.RetentionMillis > MaxRetentionMillis {
		return protocol.Errorf(protocol.CodeInvalidConfig,
			"retention time is %d ms: at most %d, or 0 to keep records for ever", c.RetentionMillis, uint64(MaxRetentionMillis))
	}
	if c.RetentionBytes > MaxRetentionBytes {
		return protocol.Errorf(protocol.CodeInvalidConfig,
			"retention size is %d bytes: at most %d, or 0 for no limit", c.RetentionBytes, uint64(MaxRetentionBytes))
	}
	if s := c.SegmentBytes; s != 0 && (s < MinSegmentBytes || s > MaxSegmentBytes) {
		return protocol.Errorf(protocol.CodeInvalidConfig,
			"segment size is %d bytes: %d to %d, or 0 for the broker's default", s, MinSegmentBytes, MaxSegmentBytes)
	}
	return nil
}

func checkAlter(r *wire.AlterTopic) *protocol.Error {
	if err := checkName("topic", r.Name); err != nil {
		return err
	}
	if r.Partitions != nil {
		if err := checkPartitions(*r.Partitions); err != nil {
			return err
		}
	}
	if r.Replicas != nil {
		if err := checkReplicas(*r.Replicas); err != nil {
			return err
		}
	}
	return checkConfig(altered(wire.TopicConfig{}, r))
}

// altered returns c with the fields that r sets.
func altered(c wire.TopicConfig, r *wire.AlterTopic) wire.TopicConfig {
	for _, f := range []struct {
		to   *uint64
		from *uint64
	}{
		{&c.RetentionMillis, r.RetentionMillis},
		{&c.RetentionBytes, r.RetentionBytes},
		{&c.SegmentBytes, r.SegmentBytes},
	} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	return c
}

func checkDelete(r *wire.DeleteTopic) *protocol.Error {
	if r.Name == "" && r.ID != 0 {
		return nil
	}
	return checkName("topic", r.Name)
}

func checkBroker(b *Broker) *protocol.Error {
	if b.ID == 0 {
		return protocol.Errorf(protocol.CodeInvalidConfig, "broker id is 0: ids begin at 1")
	}
	if uint64(b.ID) > MaxBrokerID {
		return protocol.Errorf(protocol.CodeInvalidConfig, "broker id is %d: at most %d is allowed", b.ID, MaxBrokerID)
	}
	if len(b.Zone) > MaxZoneBytes {
		return protocol.Errorf(protocol.CodeInvalidConfig, "broker %d: the zone's name has %d bytes, at most %d are allowed",
			b.ID, len(b.Zone), MaxZoneBytes)
	}
	if b.DirID == (DirID{}) {
		return protocol.Errorf(protocol.CodeInvalidConfig, "broker %d has no data directory id", b.ID)
	}
	for _, a := range []struct{ what, addr string }{{"listen", b.Listen}, {"admin", b.Admin}, {"raft", b.RaftAddr}} {
		if len(a.addr) > MaxAddressBytes {
			return protocol.Errorf(protocol.CodeInvalidConfig, "broker %d: %s address has %d bytes, at most %d are allowed",
				b.ID, a.what, len(a.addr), MaxAddressBytes)
		}
	}
	if b.RaftAddr == "" {
		return protocol.Errorf(protocol.CodeInvalidConfig, "broker %d has no raft address", b.ID)
	}
	return nil
}
