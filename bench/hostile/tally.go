package hostile

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// tally counts what was thrown and what came back. Safe for concurrent use.
type tally struct {
	frames      atomic.Int64 // sent whole
	streams     atomic.Int64
	cut         atomic.Int64 // streams that the broker stopped reading before all was sent
	connections atomic.Int64
	handshakes  atomic.Int64 // that could not succeed
	accepted    atomic.Int64 // of handshakes: did succeed
	datagrams   atomic.Int64
	tcp         atomic.Int64 // connections with garbage to the Raft and admin ports
	failedDials atomic.Int64

	mu      sync.Mutex
	answers map[string]int64 // guarded by mu; by kind or code
}

func newTally() *tally { return &tally{answers: map[string]int64{}} }

// answered notes one frame of a broker: errors by their code, others by their kind.
func (t *tally) answered(k protocol.Kind, body []byte) {
	what := k.String()
	switch k {
	case protocol.KindError:
		var e wire.Error
		if e.Decode(body) == nil {
			what = e.Code.String()
		}
	case protocol.KindProduceAck:
		var a wire.ProduceAck
		if a.Decode(body) == nil && a.Code != 0 {
			what = a.Code.String()
		}
	case protocol.KindResponse:
		var r wire.Response
		if r.Decode(body) == nil && r.Error != nil {
			what = r.Error.Code.String()
		}
	}
	t.mu.Lock()
	t.answers[what]++
	t.mu.Unlock()
}

func (t *tally) copyAnswers() map[string]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.answers)
}
