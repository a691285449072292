package cluster

import (
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// Image is the metadata of one version. It never changes.
type Image struct {
	Version uint64
	Brokers []wire.BrokerInfo
	Topics  []wire.TopicInfo // leaders in here are old: ask Cluster.Leader
	byName  map[string]*wire.TopicInfo
	byID    map[protocol.TopicID]*wire.TopicInfo
}

func newImage(m *wire.Metadata) *Image {
	i := &Image{
		Version: m.Version, Brokers: m.Brokers, Topics: m.Topics,
		byName: make(map[string]*wire.TopicInfo, len(m.Topics)),
		byID:   make(map[protocol.TopicID]*wire.TopicInfo, len(m.Topics)),
	}
	for t := range m.Topics {
		topic := &m.Topics[t]
		i.byName[topic.Name], i.byID[topic.ID] = topic, topic
	}
	return i
}

// formed reports whether the image, which may be nil, is of a cluster: one without brokers is that of a broker which has
// not heard anything of its cluster yet.
func (i *Image) formed() bool { return i != nil && len(i.Brokers) > 0 }

// Topic finds a topic by name.
func (i *Image) Topic(name string) (*wire.TopicInfo, bool) {
	t, ok := i.byName[name]
	return t, ok
}

// TopicByID finds a topic by identity.
func (i *Image) TopicByID(id protocol.TopicID) (*wire.TopicInfo, bool) {
	t, ok := i.byID[id]
	return t, ok
}

// Has reports whether the partition exists.
func (i *Image) Has(tp protocol.TopicPartition) bool {
	t, ok := i.byID[tp.Topic]
	return ok && int(tp.Partition) < len(t.Partitions)
}

// broker finds a broker.
func (i *Image) broker(id protocol.BrokerID) (*wire.BrokerInfo, bool) {
	for b := range i.Brokers {
		if i.Brokers[b].ID == id {
			return &i.Brokers[b], true
		}
	}
	return nil, false
}

// Leader is who leads a partition. Broker 0 means not known.
type Leader struct {
	Broker protocol.BrokerID
	Epoch  protocol.Epoch
}

// leaderEntry is one partition's leader and who waits for the next. Guarded by Cluster.mu.
type leaderEntry struct {
	Leader
	changed chan struct{} // closed and replaced at each change
}

// Leader returns the leader of a partition and a channel that is closed when another one is known.
func (c *Cluster) Leader(tp protocol.TopicPartition) (Leader, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.leaderEntry(tp)
	return e.Leader, e.changed
}

func (c *Cluster) leaderEntry(tp protocol.TopicPartition) *leaderEntry {
	e, ok := c.leaders[tp]
	if !ok {
		e = &leaderEntry{changed: make(chan struct{})}
		c.leaders[tp] = e
	}
	return e
}

// Observe takes note of a leader. News of an older epoch, or of no leader, is ignored.
func (c *Cluster) Observe(tp protocol.TopicPartition, l Leader) {
	c.mu.Lock()
	changed := c.observe(tp, l)
	c.mu.Unlock()
	if changed && c.cfg.Hooks.LeaderChanged != nil {
		c.cfg.Hooks.LeaderChanged(tp, l)
	}
}

func (c *Cluster) observe(tp protocol.TopicPartition, l Leader) bool {
	if l.Broker == 0 {
		return false
	}
	e := c.leaderEntry(tp)
	if l.Epoch < e.Epoch || (l.Epoch == e.Epoch && e.Broker != 0) {
		return false
	}
	e.Leader = l
	close(e.changed)
	e.changed = make(chan struct{})
	return true
}

// apply takes over an image that is not older than the one there is, and all leaders that are newer.
func (c *Cluster) apply(m *wire.Metadata) {
	var news []wire.Leader
	c.mu.Lock()
	for t := range m.Topics {
		topic := &m.Topics[t]
		for _, p := range topic.Partitions {
			tp := protocol.TopicPartition{Topic: topic.ID, Partition: p.Partition}
			if c.observe(tp, Leader{Broker: p.Leader, Epoch: p.Epoch}) {
				news = append(news, wire.Leader{
					Topic: topic.ID, Partition: p.Partition, Leader: p.Leader, Epoch: p.Epoch,
				})
			}
		}
	}
	if c.image == nil || m.Version >= c.image.Version {
		c.image = newImage(m)
		c.forget()
		c.tend()
		close(c.imageChanged)
		c.imageChanged = make(chan struct{})
	}
	c.mu.Unlock()
	if c.cfg.Hooks.LeaderChanged == nil {
		return
	}
	for _, l := range news {
		tp := protocol.TopicPartition{Topic: l.Topic, Partition: l.Partition}
		c.cfg.Hooks.LeaderChanged(tp, Leader{Broker: l.Leader, Epoch: l.Epoch})
	}
}

// forget drops the leaders of partitions that are gone, and wakes who waited for them.
func (c *Cluster) forget() {
	for tp, e := range c.leaders {
		if !c.image.Has(tp) {
			close(e.changed)
			delete(c.leaders, tp)
		}
	}
}

// Image returns the newest image, which names at least one broker once Open has returned, and a channel that is closed
// when there is a newer one.
func (c *Cluster) Image() (*Image, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.image, c.imageChanged
}
