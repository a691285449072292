package wire

import (
	"math"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/internal/mpack"
)

// The tags of requests. A response carries the tag of its request, or tagError. Never renumber.
const (
	tagError          = 0
	tagInitProducer   = 1
	tagCreateTopic    = 2
	tagDeleteTopic    = 3
	tagAlterTopic     = 4
	tagMetadata       = 5
	tagPartitionState = 6
	tagClusterStatus  = 7
	tagSubscriptions  = 8
	tagSetBrokerState = 9
	tagListMoves      = 10
	tagClusterPlan    = 11
	tagRaiseLevel     = 12
)

// body is what a request or response carries.
type body interface {
	encode(*mpack.Encoder)
	decode(*mpack.Decoder)
}

// Append appends the encoded message to dst. The first field that is set counts; with none set the
// result is one that peers refuse.
func (m *Request) Append(dst []byte) []byte { return appendUnion(dst, m.set) }

// Decode replaces m by the message in b. A tag this version does not know is CodeUnsupported.
func (m *Request) Decode(b []byte) error {
	*m = Request{}
	return decodeUnion("Request", b, m.choose)
}

// Append appends the encoded message to dst. The first field that is set counts; with none set the
// result is one that peers refuse.
func (m *Response) Append(dst []byte) []byte { return appendUnion(dst, m.set) }

// Decode replaces m by the message in b. A tag this version does not know is CodeUnsupported.
func (m *Response) Decode(b []byte) error {
	*m = Response{}
	return decodeUnion("Response", b, m.choose)
}

// appendUnion writes [tag, body].
func appendUnion(dst []byte, set func() (uint64, body)) []byte {
	e := mpack.Acquire(dst)
	e.Array(2)
	tag, b := set()
	e.Uint(tag)
	if b == nil {
		e.Nil()
	} else {
		b.encode(e)
	}
	return e.Release()
}

// decodeUnion reads [tag, body] into the body that choose makes for the tag.
func decodeUnion(name string, b []byte, choose func(tag uint64) body) error {
	var unknown *protocol.Error
	err := decode(name, b, func(d *mpack.Decoder) {
		f := d.Fields()
		tag, present := f.Uint64(), f.Next()
		switch target := choose(tag); {
		case d.Err() != nil:
		case target == nil:
			unknown = protocol.Errorf(protocol.CodeUnsupported, "decode %s: tag %d is not known", name, tag)
			d.Skip()
		case !present || d.Nil():
			d.Fail(mpack.ErrShort)
		default:
			target.decode(d)
		}
		f.End()
	})
	if err == nil && unknown != nil {
		return unknown
	}
	return err
}

func (m *Request) set() (uint64, body) {
	switch {
	case m.InitProducer != nil:
		return tagInitProducer, m.InitProducer
	case m.CreateTopic != nil:
		return tagCreateTopic, m.CreateTopic
	case m.DeleteTopic != nil:
		return tagDeleteTopic, m.DeleteTopic
	case m.AlterTopic != nil:
		return tagAlterTopic, m.AlterTopic
	case m.Metadata != nil:
		return tagMetadata, m.Metadata
	case m.PartitionState != nil:
		return tagPartitionState, m.PartitionState
	case m.ClusterStatus != nil:
		return tagClusterStatus, m.ClusterStatus
	case m.Subscriptions != nil:
		return tagSubscriptions, m.Subscriptions
	case m.SetBrokerState != nil:
		return tagSetBrokerState, m.SetBrokerState
	case m.ListMoves != nil:
		return tagListMoves, m.ListMoves
	case m.ClusterPlan != nil:
		return tagClusterPlan, m.ClusterPlan
	case m.RaiseLevel != nil:
		return tagRaiseLevel, m.RaiseLevel
	}
	return math.MaxUint64, nil
}

func (m *Request) choose(tag uint64) body {
	switch tag {
	case tagInitProducer:
		return fresh(&m.InitProducer)
	case tagCreateTopic:
		return fresh(&m.CreateTopic)
	case tagDeleteTopic:
		return fresh(&m.DeleteTopic)
	case tagAlterTopic:
		return fresh(&m.AlterTopic)
	case tagMetadata:
		return fresh(&m.Metadata)
	case tagPartitionState:
		return fresh(&m.PartitionState)
	case tagClusterStatus:
		return fresh(&m.ClusterStatus)
	case tagSubscriptions:
		return fresh(&m.Subscriptions)
	case tagSetBrokerState:
		return fresh(&m.SetBrokerState)
	case tagListMoves:
		return fresh(&m.ListMoves)
	case tagClusterPlan:
		return fresh(&m.ClusterPlan)
	case tagRaiseLevel:
		return fresh(&m.RaiseLevel)
	}
	return nil
}

func (m *Response) set() (uint64, body) {
	switch {
	case m.Error != nil:
		return tagError, m.Error
	case m.InitProducer != nil:
		return tagInitProducer, m.InitProducer
	case m.CreateTopic != nil:
		return tagCreateTopic, m.CreateTopic
	case m.DeleteTopic != nil:
		return tagDeleteTopic, m.DeleteTopic
	case m.AlterTopic != nil:
		return tagAlterTopic, m.AlterTopic
	case m.Metadata != nil:
		return tagMetadata, m.Metadata
	case m.PartitionState != nil:
		return tagPartitionState, m.PartitionState
	case m.ClusterStatus != nil:
		return tagClusterStatus, m.ClusterStatus
	case m.Subscriptions != nil:
		return tagSubscriptions, m.Subscriptions
	case m.SetBrokerState != nil:
		return tagSetBrokerState, m.SetBrokerState
	case m.ListMoves != nil:
		return tagListMoves, m.ListMoves
	case m.ClusterPlan != nil:
		return tagClusterPlan, m.ClusterPlan
	case m.RaiseLevel != nil:
		return tagRaiseLevel, m.RaiseLevel
	}
	return math.MaxUint64, nil
}

func (m *Response) choose(tag uint64) body {
	switch tag {
	case tagError:
		return fresh(&m.Error)
	case tagInitProducer:
		return fresh(&m.InitProducer)
	case tagCreateTopic:
		return fresh(&m.CreateTopic)
	case tagDeleteTopic:
		return fresh(&m.DeleteTopic)
	case tagAlterTopic:
		return fresh(&m.AlterTopic)
	case tagMetadata:
		return fresh(&m.Metadata)
	case tagPartitionState:
		return fresh(&m.PartitionState)
	case tagClusterStatus:
		return fresh(&m.ClusterStatus)
	case tagSubscriptions:
		return fresh(&m.Subscriptions)
	case tagSetBrokerState:
		return fresh(&m.SetBrokerState)
	case tagListMoves:
		return fresh(&m.ListMoves)
	case tagClusterPlan:
		return fresh(&m.ClusterPlan)
	case tagRaiseLevel:
		return fresh(&m.RaiseLevel)
	}
	return nil
}

// fresh points *field to a new zero message and returns it.
func fresh[T any, P interface {
	*T
	body
}](field *P) body {
	*field = new(T)
	return *field
}
