package wire

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/trunkline/trunkline/protocol"
)

// message is what every frame body of this package is.
type message interface {
	Append([]byte) []byte
	Decode([]byte) error
}

// sample is one message with every field set.
type sample struct {
	name  string
	kind  protocol.Kind
	value message
}

// fresh returns a zero message of the sample's type.
func (s sample) fresh() message {
	return reflect.New(reflect.TypeOf(s.value).Elem()).Interface().(message)
}

// bodies is every frame body and its kind. A pong is a Ping.
func bodies() []sample {
	return []sample{
		{"Error", protocol.KindError, new(Error)},
		{"Hello", protocol.KindHello, new(Hello)},
		{"HelloOK", protocol.KindHelloOK, new(HelloOK)},
		{"Ping", protocol.KindPing, new(Ping)},
		{"Pong", protocol.KindPong, new(Ping)},
		{"MetadataSubscribe", protocol.KindMetadataSubscribe, new(MetadataSubscribe)},
		{"Metadata", protocol.KindMetadata, new(Metadata)},
		{"LeaderChange", protocol.KindLeaderChange, new(LeaderChange)},
		{"GoAway", protocol.KindGoAway, new(GoAway)},
		{"ProduceOpen", protocol.KindProduceOpen, new(ProduceOpen)},
		{"ProduceOpenOK", protocol.KindProduceOpenOK, new(ProduceOpenOK)},
		{"ProduceAck", protocol.KindProduceAck, new(ProduceAck)},
		{"ConsumeOpen", protocol.KindConsumeOpen, new(ConsumeOpen)},
		{"ConsumeOpenOK", protocol.KindConsumeOpenOK, new(ConsumeOpenOK)},
		{"Activate", protocol.KindActivate, new(Activate)},
		{"Credit", protocol.KindCredit, new(Credit)},
		{"Ack", protocol.KindAck, new(Ack)},
		{"AckOK", protocol.KindAckOK, new(AckOK)},
		{"Revoke", protocol.KindRevoke, new(Revoke)},
		{"Release", protocol.KindRelease, new(Release)},
		{"Deactivated", protocol.KindDeactivated, new(Deactivated)},
		{"Gap", protocol.KindGap, new(Gap)},
	}
}

// samples is every body, and every variant of Request and Response, with all fields set.
func samples() []sample {
	var all []sample
	for _, s := range bodies() {
		fill(reflect.ValueOf(s.value).Elem(), "", new(int))
		all = append(all, s)
	}
	all = append(all, variants[Request]("Request", protocol.KindRequest)...)
	return append(all, variants[Response]("Response", protocol.KindResponse)...)
}

// variants returns one sample for each field of a union.
func variants[T any](name string, kind protocol.Kind) []sample {
	var all []sample
	t := reflect.TypeFor[T]()
	for i := range t.NumField() {
		v := reflect.New(t)
		fill(v.Elem().Field(i), "", new(int))
		all = append(all, sample{name + t.Field(i).Name, kind, v.Interface().(message)})
	}
	return all
}

// fill sets v to a value that is not zero. Numbers take each encoded width in turn.
func fill(v reflect.Value, name string, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), v.Type().Field(i).Name, n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), name, n)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte(strings.ToLower(name) + "-of-32-bytes-or-a-little-more"))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), name, n)
		}
	case reflect.String:
		v.SetString(fmt.Sprintf("%s-%d", strings.ToLower(name), *n))
	case reflect.Bool:
		v.SetBool(true)
	default:
		shift := []int{0, 8, 16, 32}[*n%4]
		if bits := v.Type().Bits(); shift >= bits {
			shift = bits / 2
		}
		if v.Type().Bits() == 8 {
			shift = 0
		}
		v.SetUint(uint64(*n) << shift)
	}
}
