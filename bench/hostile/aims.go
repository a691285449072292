package hostile

import (
	"slices"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/trial"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

// The topics of the attack. Those in junk come and go.
const (
	checkedName = "checked" // of the trial
	targetName  = "target"  // anything may happen to its contents
)

var junk = []string{"junk-0", "junk-1", "junk-2"}

// aims is what the attacker knows of the cluster. It does not change.
type aims struct {
	brokers    []cluster.Broker
	checked    protocol.TopicID
	target     protocol.TopicID
	spared     []protocol.TopicID              // as checked, but nothing is aimed at them
	partitions int                             // of each of the two topics
	led        map[int][]protocol.Partition    // partitions of target by broker
	ledChecked map[int][]protocol.Partition    // partitions of checked by broker
	bombs      map[batch.Compression][2][]byte // what unpacks to 16 MiB and to a byte more, without size
}

// harms reports whether a stream would lawfully do something to the checked topic, or to the cluster as a whole, that
// any client may do: it is for the topic's owner to forbid that, not for the protocol. The broker reads the stream's first
// frame as it is read here. With topics false, creating and deleting junk topics counts as harm too.
func (a *aims) harms(stream []byte, topics bool) bool {
	h, err := frame.ParseHeader(stream)
	if err != nil || len(stream) < frame.HeaderSize+h.Length {
		return false
	}
	body, rest := stream[frame.HeaderSize:frame.HeaderSize+h.Length], stream[frame.HeaderSize+h.Length:]
	switch h.Kind {
	case protocol.KindProduceOpen:
		var m wire.ProduceOpen
		return m.Decode(body) == nil && a.checks(m.Topic) && (m.Producer.Named() || anyBatch(rest))
	case protocol.KindConsumeOpen:
		var m wire.ConsumeOpen
		return m.Decode(body) == nil && (m.Topic == a.checked && m.Subscription == trial.Subscription || slices.Contains(a.spared, m.Topic))
	case protocol.KindRequest:
		var m wire.Request
		return m.Decode(body) == nil && a.harmfulRequest(&m, topics)
	}
	return false
}

// checks reports whether what a topic holds is compared with what its owners have sent.
func (a *aims) checks(id protocol.TopicID) bool {
	return id == a.checked || slices.Contains(a.spared, id)
}

// anyBatch reports whether a broker would accept a batch in these frames.
func anyBatch(frames []byte) bool {
	for len(frames) > 0 {
		h, err := frame.ParseHeader(frames)
		if err != nil || h.Kind != protocol.KindProduce || len(frames) < frame.HeaderSize+h.Length {
			return false // the broker ends the stream here
		}
		if _, err := batch.Check(frames[frame.HeaderSize:frame.HeaderSize+h.Length], protocol.DefaultMaxBatchBytes); err == nil {
			return true
		}
		frames = frames[frame.HeaderSize+h.Length:]
	}
	return false
}

func (a *aims) harmfulRequest(m *wire.Request, topics bool) bool {
	switch {
	case m.CreateTopic != nil:
		c := m.CreateTopic
		small := topics && slices.Contains(junk, c.Name) && c.Partitions == 1
		return !small && protocol.ValidName(c.Name) && c.Partitions <= protocol.MaxPartitions
	case m.DeleteTopic != nil:
		return !slices.Contains(junk, m.DeleteTopic.Name) && a.standing(m.DeleteTopic.Name, m.DeleteTopic.ID)
	case m.AlterTopic != nil:
		return slices.Contains(junk, m.AlterTopic.Name) || a.standing(m.AlterTopic.Name, 0)
	case m.SetBrokerState != nil:
		return m.SetBrokerState.State.Known()
	}
	return false
}

// standing reports whether a name or an ID is that of a topic that stays.
func (a *aims) standing(name string, id protocol.TopicID) bool {
	return name == checkedName || name == targetName || a.checks(id) || id == a.target
}
