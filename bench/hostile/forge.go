package hostile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

// forge makes what one shot sends, of its random source alone.
type forge struct {
	rnd    *rand.Rand
	aims   *aims
	broker int  // the one that the shot is aimed at
	topics bool // may create topics
}

// text is what goes into a stream and how many frames that is.
type text struct {
	bytes  []byte
	frames int
}

func (t *text) add(k protocol.Kind, m interface{ Append([]byte) []byte }) {
	t.bytes = wire.AppendFrame(t.bytes, k, m)
	t.frames++
}

func (t *text) raw(k protocol.Kind, body []byte) {
	t.bytes = frame.Append(t.bytes, k, body)
	t.frames++
}

// chance is true n times of 100.
func (f *forge) chance(n int) bool { return f.rnd.IntN(100) < n }

func pick[T any](f *forge, of []T) T { return of[f.rnd.IntN(len(of))] }

// noise returns up to most random bytes.
func (f *forge) noise(most int) []byte {
	b := make([]byte, f.rnd.IntN(most+1))
	for i := 0; i < len(b); i += 8 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], f.rnd.Uint64())
		copy(b[i:], word[:])
	}
	return b
}

// odd returns a number that is likely to be a border of something.
func (f *forge) odd() uint64 {
	switch f.rnd.IntN(6) {
	case 0:
		return 0
	case 1:
		return math.MaxUint64
	case 2:
		return uint64(f.rnd.IntN(300))
	case 3:
		return uint64(1)<<f.rnd.IntN(64) - 1
	case 4:
		return uint64(1) << f.rnd.IntN(64)
	}
	return f.rnd.Uint64()
}

// stream makes a stream that does no lawful harm.
func (f *forge) stream() text {
	for {
		t := f.anyStream()
		if !f.aims.harms(t.bytes, f.topics) {
			return t
		}
	}
}

func (f *forge) anyStream() text {
	switch n := f.rnd.IntN(100); {
	case n < 8:
		return text{f.noise(300), 1}
	case n < 30:
		t := f.honest()
		t.bytes = f.mutate(t.bytes)
		return t
	case n < 42:
		return f.wrongKinds()
	case n < 52:
		return f.lies()
	case n < 58:
		return f.badBatches()
	case n < 61:
		return f.disorder()
	case n < 75:
		return f.oddRequest()
	default:
		return f.credits()
	}
}

// mutate damages b in one to four of the ways that matter: bits, bytes, cuts, repeats, lengths and kinds, insertions.
func (f *forge) mutate(b []byte) []byte {
	b = bytes.Clone(b)
	for range 1 + f.rnd.IntN(4) {
		if len(b) == 0 {
			return b
		}
		at := f.rnd.IntN(len(b))
		switch f.rnd.IntN(6) {
		case 0:
			b[at] ^= 1 << f.rnd.IntN(8)
		case 1:
			b[at] = byte(f.rnd.UintN(256))
		case 2:
			b = b[:at]
		case 3:
			b = append(b, b[at:]...)
		case 4:
			b[min(at, 4)] = byte(f.rnd.UintN(130)) // a length or the kind of the first frame
		case 5:
			b = append(b[:at:at], append(f.noise(16), b[at:]...)...)
		}
	}
	return b
}

// partition is one of the target's, most often one that the broker leads.
func (f *forge) partition() protocol.Partition {
	if led := f.aims.led[f.broker]; len(led) > 0 && f.chance(80) {
		return pick(f, led)
	}
	return protocol.Partition(f.rnd.IntN(f.aims.partitions + 1))
}

// producer is one of so few that their sequences meet.
func (f *forge) producer() protocol.ProducerID {
	id := protocol.ProducerID(1 + f.rnd.IntN(4096))
	if f.chance(5) {
		id |= protocol.NamedProducerBit
	}
	return id
}

// honest is what a client that keeps the rules would send, on the target.
func (f *forge) honest() text {
	switch f.rnd.IntN(6) {
	case 0:
		return f.produce(f.aims.target, f.partition(), 1+f.rnd.IntN(4))
	case 1:
		var t text
		t.add(protocol.KindConsumeOpen, &wire.ConsumeOpen{
			Topic: f.aims.target, Partition: f.partition(), Subscription: fmt.Sprint("sub-", f.rnd.IntN(8)),
			Consumer: fmt.Sprint("c-", f.rnd.IntN(8)), CreditBytes: uint32(f.rnd.IntN(1 << 16)), GraceMillis: uint32(f.odd()),
		})
		t.add(protocol.KindCredit, &wire.Credit{Bytes: uint32(f.odd())})
		t.add(protocol.KindAck, &wire.Ack{Activation: protocol.Activation(f.rnd.IntN(200)), Offset: protocol.Offset(f.odd())})
		t.add(protocol.KindRelease, &wire.Release{Activation: protocol.Activation(f.rnd.IntN(200))})
		return t
	case 2:
		return f.hello()
	default:
		return f.request()
	}
}

func (f *forge) hello() text {
	var t text
	t.add(protocol.KindHello, &wire.Hello{
		ClientName: string(f.noise(80)), ClientVersion: "0", MinVersion: uint16(f.rnd.IntN(3)), MaxVersion: uint16(f.rnd.IntN(3)),
		Features: []string{"x", string(f.noise(20))}, Token: f.noise(40),
	})
	return t
}

func (f *forge) request() text {
	var t text
	name := pick(f, []string{checkedName, targetName, junk[0], junk[1], junk[2], "", "a/b", string(f.noise(260))})
	id := pick(f, []protocol.TopicID{f.aims.checked, f.aims.target, 0, protocol.TopicID(f.odd())})
	two := uint32(f.odd())
	var r wire.Request
	switch f.rnd.IntN(22) {
	case 0:
		r.InitProducer = &wire.InitProducer{Name: fmt.Sprint("named-", f.rnd.IntN(16))}
	case 1:
		r.CreateTopic = &wire.CreateTopic{Name: name, Partitions: 1, Replicas: uint32(f.rnd.IntN(9)), RequestID: f.rnd.Uint64()}
	case 2:
		r.DeleteTopic = &wire.DeleteTopic{Name: name, ID: id}
	case 3:
		r.AlterTopic = &wire.AlterTopic{Name: name, Partitions: &two}
	case 4, 5, 6, 7:
		r.Metadata = &wire.MetadataRequest{}
	case 8, 9, 10, 11:
		r.PartitionState = &wire.PartitionStateRequest{Topic: id}
	case 12, 13, 14, 15:
		r.ClusterStatus = &wire.ClusterStatusRequest{}
	case 17: // never one that is above: it would hold
		r.RaiseLevel = &wire.RaiseLevel{Level: protocol.Level(f.rnd.IntN(2))}
	case 16:
		r.ClusterPlan = &wire.ClusterPlanRequest{}
	default:
		r.Subscriptions = &wire.SubscriptionsRequest{Topic: id}
	}
	t.add(protocol.KindRequest, &r)
	return t
}

// kinds are all that exist and some that do not.
var kinds = func() []protocol.Kind {
	all := []protocol.Kind{0, 10, 31, 36, 75, 98, 128, 255}
	for k := range protocol.Kind(128) {
		if k.MaxBody() > 0 {
			all = append(all, k)
		}
	}
	return all
}()

// wrongKinds are frames that do not belong on their stream, most behind a good opening.
func (f *forge) wrongKinds() text {
	var t text
	if f.chance(70) {
		t = f.honest()
	}
	for range 1 + f.rnd.IntN(4) {
		t.raw(pick(f, kinds), f.noise(40))
	}
	return t
}

// lies are frames whose header claims more than there is, or more than is allowed.
func (f *forge) lies() text {
	var t text
	if f.chance(50) {
		t = f.honest()
	}
	k := pick(f, kinds)
	claim := pick(f, []int{k.MaxBody(), k.MaxBody() + 1, math.MaxUint32, 1 << 24, f.rnd.IntN(1 << 17)})
	t.bytes = frame.AppendHeader(t.bytes, k, claim)
	t.bytes = append(t.bytes, f.noise(100)...)
	t.frames++
	return t
}

// oddRequest is a request with a body that is msgpack of the wrong shape: huge claims, depth, wrong types.
func (f *forge) oddRequest() text {
	var t text
	if f.chance(40) {
		return f.request()
	}
	body := []byte{0x92, byte(f.rnd.IntN(16))}
	switch f.rnd.IntN(5) {
	case 0:
		body = append(body, 0xdd, 0xff, 0xff, 0xff, 0xff) // an array of 4 Gi
	case 1:
		body = append(body, 0x91, 0xc6, 0x7f, 0xff, 0xff, 0xff) // 2 GiB of bytes
	case 2:
		body = append(body, bytes.Repeat([]byte{0x91}, f.rnd.IntN(60_000))...) // arrays in arrays
	case 3:
		body = append(body, 0xdf, 0x00, 0xff, 0xff, 0xff) // a map of 16 Mi
	case 4:
		body = f.noise(200)
	}
	t.raw(protocol.KindRequest, append(body, f.noise(20)...))
	return t
}

// credits is a reader that gives credit again and again, in every form a number may have, and then breaks a rule.
func (f *forge) credits() text {
	var t text
	topic := pick(f, []protocol.TopicID{f.aims.checked, f.aims.target})
	p := protocol.Partition(f.rnd.IntN(f.aims.partitions))
	t.add(protocol.KindConsumeOpen, &wire.ConsumeOpen{
		Topic: topic, Partition: p, From: wire.From{Kind: wire.FromKind(f.rnd.IntN(4)), Value: uint64(f.rnd.IntN(100))},
		AnyReplica: true, CreditBytes: uint32(f.rnd.IntN(4096)),
	})
	for range 4 + f.rnd.IntN(40) {
		body := pick(f, [][]byte{
			{0x91, byte(f.rnd.IntN(128))}, {0x91, 0xcc, byte(f.rnd.UintN(256))}, {0x91, 0xcd, 0, 9}, {0x91, 0xce, 0, 0, 1, 0},
			{0x91, 0xcf, 0, 0, 0, 0, 0, 0, 0, 7}, {0x90}, {0x91, 0xc0}, {0x93, 1, 0xc0, 0x81, 0xa1, 'x', 0x93, 1, 2, 3}, {0x91, 0xd1, 0, 5},
		})
		t.raw(protocol.KindCredit, body)
	}
	if f.chance(70) {
		t.raw(pick(f, []protocol.Kind{protocol.KindCredit, protocol.KindAck, protocol.KindRelease, protocol.KindPing}), f.noise(30))
	}
	return t
}

// control is a run of frames for the control stream of an admitted client. It ends with a bad one, or well.
func (f *forge) control() text {
	var t text
	for range 50 + f.rnd.IntN(200) {
		switch f.rnd.IntN(8) {
		case 0:
			t.raw(protocol.KindPong, f.noise(100))
		case 1:
			t.add(protocol.KindMetadataSubscribe, &wire.MetadataSubscribe{})
		default:
			t.add(protocol.KindPing, &wire.Ping{Payload: append(make([]byte, protocol.MinPingBytes), f.noise(200)...)})
		}
	}
	if f.chance(60) {
		bad := pick(f, []text{f.wrongKinds(), f.lies(), f.hello()})
		bad.bytes = f.mutate(bad.bytes)
		t.bytes, t.frames = append(t.bytes, bad.bytes...), t.frames+bad.frames
	}
	return t
}
