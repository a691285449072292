package meta

import (
	"cmp"
	"encoding/hex"
	"slices"

	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// DirID is the random identity of a data directory. The zero value means that none is known.
type DirID [16]byte

// String returns the ID in hexadecimal.
func (d DirID) String() string { return hex.EncodeToString(d[:]) }

// BrokerState says what may be placed on a broker.
type BrokerState = protocol.BrokerState

// The states of a broker.
const (
	Active  = protocol.BrokerActive
	Drained = protocol.BrokerDrained
	Leaving = protocol.BrokerLeaving
)

// Broker is one registered broker. It registers all fields but State and MetaRemoved, which the cluster keeps.
type Broker struct {
	ID       protocol.BrokerID
	Listen   string // host:port of the QUIC listener
	Admin    string // host:port of the admin HTTP listener
	RaftAddr string // host:port of the Raft listener
	DirID    DirID
	Zone     string          // what fails together, at most MaxZoneBytes; empty is a zone like any other
	Levels   protocol.Levels // that it understands; zero until the cluster is at LevelStated
	Founder  bool            // voted in the metadata shard from its founding; what it registers with first counts

	State BrokerState
	// MetaRemoved says that its replica of the metadata was removed, which is for good: the broker can only be retired.
	MetaRemoved bool
}

// Topic is one topic. It is immutable: a changed topic is another Topic with the same ID.
type Topic struct {
	ID              protocol.TopicID
	Name            string
	Config          wire.TopicConfig
	Replicas        int         // wanted for each partition; what a partition has follows by moves
	Partitions      []Partition // Partitions[i] is partition i
	CreateRequestID uint64

	info wire.TopicInfo // the same in the words of the protocol; see withInfo
}

// Image is the whole metadata at one version. It is immutable and shared; the zero Image is an empty cluster.
type Image struct {
	Version    uint64
	NextShard  uint64           // every shard below it was assigned at some time
	NextTopic  protocol.TopicID // every topic below it existed at some time
	Partitions int              // of all topics
	Level      protocol.Level   // what brokers may write and send; it only grows

	NextReplica uint64    // every replica ID from FirstReplica to below it was assigned at some time
	NextMove    uint64    // every move from 1 to below it was begun at some time
	Meta        Partition // the metadata shard: Replicas are its voters, and a replica's ID is its broker's

	brokers []Broker            // by ID
	retired []protocol.BrokerID // sorted
	byID    []*Topic            // by ID
	byName  []*Topic            // the same topics by name
	moves   []Moving            // by Move.ID
}

func newImage() *Image {
	return &Image{
		NextShard: FirstShard, NextTopic: 1, NextReplica: FirstReplica, NextMove: 1, Level: LevelFirst,
		Meta: Partition{Shard: raftnode.MetaShard},
	}
}

// Broker returns a registered broker.
func (im *Image) Broker(id protocol.BrokerID) (Broker, bool) {
	i, ok := im.findBroker(id)
	if !ok {
		return Broker{}, false
	}
	return im.brokers[i], true
}

// Brokers returns all registered brokers by ID. The caller must not change the slice.
func (im *Image) Brokers() []Broker { return im.brokers }

// Retired reports whether the broker was retired: its ID is refused for ever.
func (im *Image) Retired(id protocol.BrokerID) bool {
	_, found := slices.BinarySearch(im.retired, id)
	return found
}

// Topic returns the topic with an ID.
func (im *Image) Topic(id protocol.TopicID) (*Topic, bool) {
	i, ok := im.findID(id)
	if !ok {
		return nil, false
	}
	return im.byID[i], true
}

// TopicNamed returns the topic that has a name now.
func (im *Image) TopicNamed(name string) (*Topic, bool) {
	i, ok := im.findName(name)
	if !ok {
		return nil, false
	}
	return im.byName[i], true
}

// Topics returns all topics by name. The caller must not change the slice.
func (im *Image) Topics() []*Topic { return im.byName }

// Partition returns the placement of one partition.
func (im *Image) Partition(tp protocol.TopicPartition) (*Partition, bool) {
	t, ok := im.Topic(tp.Topic)
	if !ok || int64(tp.Partition) >= int64(len(t.Partitions)) {
		return nil, false
	}
	return &t.Partitions[tp.Partition], true
}

// Deleted reports whether the topic existed and is gone for good.
func (im *Image) Deleted(id protocol.TopicID) bool {
	if id >= im.NextTopic {
		return false
	}
	_, ok := im.findID(id)
	return !ok
}

// Changes compares two images. It calls put for each topic that is new or different in im and gone for each topic of
// old that im does not have. It costs one pointer comparison for a topic that is the same.
func (im *Image) Changes(old *Image, put, gone func(*Topic)) {
	i, j := 0, 0
	for i < len(old.byID) || j < len(im.byID) {
		switch {
		case j == len(im.byID) || i < len(old.byID) && old.byID[i].ID < im.byID[j].ID:
			gone(old.byID[i])
			i++
		case i == len(old.byID) || im.byID[j].ID < old.byID[i].ID:
			put(im.byID[j])
			j++
		default:
			if old.byID[i] != im.byID[j] {
				put(im.byID[j])
			}
			i++
			j++
		}
	}
}

func (im *Image) findBroker(id protocol.BrokerID) (int, bool) {
	return slices.BinarySearchFunc(im.brokers, id, func(b Broker, id protocol.BrokerID) int { return cmp.Compare(b.ID, id) })
}

func (im *Image) findID(id protocol.TopicID) (int, bool) {
	return slices.BinarySearchFunc(im.byID, id, func(t *Topic, id protocol.TopicID) int { return cmp.Compare(t.ID, id) })
}

func (im *Image) findName(name string) (int, bool) {
	return slices.BinarySearchFunc(im.byName, name, func(t *Topic, n string) int { return cmp.Compare(t.Name, n) })
}

// The functions below return a changed copy. They copy the slices of pointers (80 KB each at MaxTopics) and share
// every topic, so a change costs microseconds whatever the number of partitions.

func (im *Image) next() *Image {
	c := *im
	c.Version++
	return &c
}

func (im *Image) withBroker(b Broker) *Image {
	c := im.next()
	i, found := im.findBroker(b.ID)
	c.brokers = slices.Clone(im.brokers)
	if found {
		c.brokers[i] = b
	} else {
		c.brokers = slices.Insert(c.brokers, i, b)
	}
	return c
}

// withRetired removes a broker and remembers its ID.
func (im *Image) withRetired(id protocol.BrokerID) *Image {
	c := im.next()
	i, _ := im.findBroker(id)
	c.brokers = slices.Delete(slices.Clone(im.brokers), i, i+1)
	at, _ := slices.BinarySearch(im.retired, id)
	c.retired = slices.Insert(slices.Clone(im.retired), at, id)
	return c
}

// withTopic adds t or replaces the topic that has its ID, and counts the shards it has used. t is the image's from
// now on.
func (im *Image) withTopic(t *Topic) *Image {
	c := im.next()
	t.withInfo()
	i, found := im.findID(t.ID)
	n, _ := im.findName(t.Name)
	if found {
		c.Partitions += len(t.Partitions) - len(im.byID[i].Partitions)
		c.byID, c.byName = slices.Clone(im.byID), slices.Clone(im.byName)
		c.byID[i], c.byName[n] = t, t
	} else {
		c.Partitions += len(t.Partitions)
		c.byID = insertCopy(im.byID, i, t)
		c.byName = insertCopy(im.byName, n, t)
	}
	c.NextTopic = max(c.NextTopic, t.ID+1)
	for _, p := range t.Partitions {
		c.NextShard = max(c.NextShard, p.Shard+1)
	}
	return c
}

func (im *Image) withoutTopic(t *Topic) *Image {
	c := im.next()
	i, _ := im.findID(t.ID)
	n, _ := im.findName(t.Name)
	c.byID = removeCopy(im.byID, i)
	c.byName = removeCopy(im.byName, n)
	c.Partitions -= len(t.Partitions)
	c.moves = im.movesExcept(func(tp protocol.TopicPartition) bool { return tp.Topic == t.ID })
	return c
}

func insertCopy(s []*Topic, i int, t *Topic) []*Topic {
	out := make([]*Topic, 0, len(s)+1)
	out = append(out, s[:i]...)
	out = append(out, t)
	return append(out, s[i:]...)
}

// removeCopy returns nil for an empty rest, as an image without topics has.
func removeCopy(s []*Topic, i int) []*Topic {
	if len(s) == 1 {
		return nil
	}
	out := make([]*Topic, 0, len(s)-1)
	out = append(out, s[:i]...)
	return append(out, s[i+1:]...)
}
