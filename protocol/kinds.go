package protocol

import "fmt"

// Kind says what a frame carries. The zero value is invalid.
type Kind uint8

// The frame kinds. Frames 1 to 31 belong to every stream or the control stream, 32 to 63 to produce
// streams, 64 to 95 to consume streams, 96 to 127 to request streams.
const (
	KindError Kind = 1 // either way; ends the stream it is on (wire.Error)

	KindHello             Kind = 2 // client, first frame of the control stream
	KindHelloOK           Kind = 3
	KindPing              Kind = 4 // either way, answered by Pong with the same bytes
	KindPong              Kind = 5
	KindMetadataSubscribe Kind = 6
	KindMetadata          Kind = 7 // broker, a whole image, after each change
	KindLeaderChange      Kind = 8 // broker, at once, between images
	KindGoAway            Kind = 9 // broker, before it leaves

	KindProduceOpen   Kind = 32 // client, first frame of a produce stream
	KindProduceOpenOK Kind = 33
	KindProduce       Kind = 34 // client; the body is one record batch
	KindProduceAck    Kind = 35

	KindConsumeOpen   Kind = 64 // client, first frame of a consume stream
	KindConsumeOpenOK Kind = 65
	KindActivate      Kind = 66 // broker: you are the active consumer
	KindDeliver       Kind = 67 // broker; fixed header, then whole record batches
	KindCredit        Kind = 68 // client: so many more bytes may be sent
	KindAck           Kind = 69 // client: everything below this offset is done
	KindAckOK         Kind = 70 // broker: that acknowledgement is committed
	KindRevoke        Kind = 71 // broker: finish and release within the grace
	KindRelease       Kind = 72 // client: finished
	KindDeactivated   Kind = 73 // broker: another consumer may be active now
	KindGap           Kind = 74 // broker: records below this offset are gone by retention

	KindRequest  Kind = 96 // client, first and only frame of a request stream
	KindResponse Kind = 97
)

// MaxBody returns the largest body in bytes a frame of this kind may have, or 0 for a kind that does
// not exist. A reader refuses a longer frame before it allocates anything.
func (k Kind) MaxBody() int {
	switch k {
	case KindProduce:
		return MaxBatchBytesLimit
	case KindDeliver:
		return DeliverHeaderSize + MaxDeliverBytes
	case KindMetadata, KindResponse:
		return MaxMetadataBytes
	case KindHello, KindHelloOK, KindError, KindGoAway, KindProduceOpen, KindProduceOpenOK,
		KindConsumeOpen, KindConsumeOpenOK, KindRequest, KindMetadataSubscribe:
		return MaxControlBytes
	case KindLeaderChange:
		return MaxControlBytes
	case KindPing, KindPong:
		return MaxPingBytes
	case KindProduceAck, KindActivate, KindCredit, KindAck, KindAckOK, KindRevoke, KindRelease,
		KindDeactivated, KindGap:
		return MaxSmallBytes
	}
	return 0
}

// String returns the kind's name, or its number when it has none.
func (k Kind) String() string {
	if n, ok := kindNames[k]; ok {
		return n
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

var kindNames = map[Kind]string{
	KindError: "error", KindHello: "hello", KindHelloOK: "hello-ok", KindPing: "ping", KindPong: "pong",
	KindMetadataSubscribe: "metadata-subscribe", KindMetadata: "metadata", KindLeaderChange: "leader-change",
	KindGoAway: "go-away", KindProduceOpen: "produce-open", KindProduceOpenOK: "produce-open-ok",
	KindProduce: "produce", KindProduceAck: "produce-ack", KindConsumeOpen: "consume-open",
	KindConsumeOpenOK: "consume-open-ok", KindActivate: "activate", KindDeliver: "deliver",
	KindCredit: "credit", KindAck: "ack", KindAckOK: "ack-ok", KindRevoke: "revoke",
	KindRelease: "release", KindDeactivated: "deactivated", KindGap: "gap", KindRequest: "request",
	KindResponse: "response",
}
