package wire

import (
	"math"
	"unicode/utf8"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/internal/mpack"
)

const (
	// maxFeatures bounds the features in a hello.
	maxFeatures = 64
	// unlimited lists are bounded by the frame's size and the decoder's budget alone.
	unlimited = math.MaxInt32
	// maxAckText and maxErrorText bound texts for people, so that the frame stays within its kind's
	// cap whatever the text is. Longer ones are cut.
	maxAckText   = 512
	maxErrorText = 8 << 10
	// MaxLeaders is how many leaders always fit a LeaderChange: at most 33 bytes each.
	MaxLeaders = (protocol.MaxControlBytes - 16) / 33
)

// decode runs a message's decoder and makes its failure an error for the peer.
func decode(name string, b []byte, f func(*mpack.Decoder)) error {
	if err := mpack.Decode(b, f); err != nil {
		return protocol.Errorf(protocol.CodeInvalidRequest, "decode %s: %v", name, err)
	}
	return nil
}

// cut returns at most the first n bytes of s, whole characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func readString(d *mpack.Decoder, s *string) { *s = d.String() }

func readBroker(d *mpack.Decoder, id *protocol.BrokerID) {
	*id = protocol.BrokerID(d.Uint(math.MaxUint64))
}
