package meta

import (
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// Metadata returns the image as clients see it, with the leaders this broker knows. alive says which brokers this
// broker believes to be alive; nil means all.
func (s *Service) Metadata(alive func(protocol.BrokerID) bool) *wire.Metadata {
	im := s.Image()
	m := &wire.Metadata{Version: im.Version}
	m.Brokers = make([]wire.BrokerInfo, 0, len(im.Brokers()))
	for _, b := range im.Brokers() {
		m.Brokers = append(m.Brokers, wire.BrokerInfo{
			ID: b.ID, Listen: b.Listen, Admin: b.Admin, Alive: alive == nil || alive(b.ID),
		})
	}
	m.Topics = make([]wire.TopicInfo, 0, len(im.Topics()))
	for _, t := range im.Topics() {
		m.Topics = append(m.Topics, s.TopicInfo(t))
	}
	return m
}

// TopicInfo returns one topic as clients see it, with the leaders this broker knows.
func (s *Service) TopicInfo(t *Topic) wire.TopicInfo {
	info := wire.TopicInfo{ID: t.ID, Name: t.Name, Config: t.Config}
	info.Partitions = make([]wire.PartitionInfo, len(t.Partitions))
	for i := range t.Partitions {
		p := protocol.Partition(i)
		pi := wire.PartitionInfo{Partition: p, Replicas: t.Partitions[i].Brokers()}
		if l, ok := s.leaders.Get(protocol.TopicPartition{Topic: t.ID, Partition: p}); ok {
			pi.Leader, pi.Epoch = l.Leader, l.Epoch
		}
		info.Partitions[i] = pi
	}
	return info
}
