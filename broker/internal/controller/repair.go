package controller

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/protocol"
)

// A replica that found a part of its log damaged asks another one for it, with fixed fields, big-endian:
//
//	request: u64 topic | u32 partition | u64 offset | u32 bytes
//	answer:  u16 code, 0: fine | whole batches, or else the reason
const (
	fetchRequestSize = 8 + 4 + 8 + 4
	// maxFetchBytes bounds what is read for one request; a batch that is longer goes alone.
	maxFetchBytes = 1 << 20
	// maxFetches bounds the requests of this broker under way; more wait.
	maxFetches = 4
)

var errBadAnswer = errors.New("controller: malformed answer to a fetch")

// FetchFrom asks a broker and returns its answer; raftnet.Network.Fetch is one.
type FetchFrom func(ctx context.Context, to protocol.BrokerID, request []byte) ([]byte, error)

// fetcher fetches for all replicas of this broker.
type fetcher struct {
	ask   FetchFrom
	slots chan struct{}
}

func newFetcher(ask FetchFrom) *fetcher {
	return &fetcher{ask: ask, slots: make(chan struct{}, maxFetches)}
}

// of returns what repairs a replica of tp from the others, whom it asks for each time; nil when nobody can be asked.
func (f *fetcher) of(tp protocol.TopicPartition, others func() []protocol.BrokerID) fsm.Fetch {
	if f.ask == nil {
		return nil
	}
	return func(ctx context.Context, from protocol.Offset, maxBytes int) ([]byte, error) {
		select {
		case f.slots <- struct{}{}:
			defer func() { <-f.slots }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		return f.fetch(ctx, tp, others(), from, maxBytes)
	}
}

// fetch asks one replica after the other. When all of them answer and each one's own copy is damaged, the error has code
// corrupt_log; else there is hope, and it has none.
func (f *fetcher) fetch(ctx context.Context, tp protocol.TopicPartition, others []protocol.BrokerID,
	from protocol.Offset, maxBytes int) ([]byte, error) {
	var errs []error
	damaged := 0
	for _, to := range others {
		answer, err := f.ask(ctx, to, appendFetch(nil, tp, from, maxBytes))
		if err == nil {
			answer, err = parseAnswer(answer)
		}
		if err == nil {
			return answer, nil
		}
		if errors.Is(err, &protocol.Error{Code: protocol.CodeCorruptLog}) {
			damaged++
		}
		errs = append(errs, fmt.Errorf("broker %d: %w", to, err))
	}
	err := errors.Join(errs...)
	if damaged == len(others) {
		return nil, protocol.Errorf(protocol.CodeCorruptLog, "every other replica of %s is damaged at offset %d too: %v", tp, from, err)
	}
	return nil, fmt.Errorf("no other replica of %s gave offset %d: %v", tp, from, err) //nolint:errorlint // its codes are of their logs
}

func appendFetch(dst []byte, tp protocol.TopicPartition, from protocol.Offset, maxBytes int) []byte {
	be := binary.BigEndian
	dst = be.AppendUint64(dst, uint64(tp.Topic))
	dst = be.AppendUint32(dst, uint32(tp.Partition))
	dst = be.AppendUint64(dst, uint64(from))
	return be.AppendUint32(dst, uint32(min(maxBytes, maxFetchBytes)))
}

// parseAnswer returns the batches, or the reason why there are none.
func parseAnswer(b []byte) ([]byte, error) {
	if len(b) < 2 {
		return nil, errBadAnswer
	}
	if code := protocol.Code(binary.BigEndian.Uint16(b)); code != 0 {
		return nil, protocol.Errorf(code, "%s", b[2:])
	}
	return b[2:], nil
}

// AnswerFetch answers the request of another broker from the local replica. It may be called from any goroutine.
func (c *Controller) AnswerFetch(_ protocol.BrokerID, request []byte) []byte {
	b, err := c.answerFetch(request)
	if err == nil {
		return b
	}
	code, coded := protocol.CodeInternal, (*protocol.Error)(nil)
	if errors.As(err, &coded) {
		code = coded.Code
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(code)), err.Error()...)
}

func (c *Controller) answerFetch(request []byte) ([]byte, error) {
	if len(request) != fetchRequestSize {
		return nil, protocol.Errorf(protocol.CodeInvalidRequest, "a fetch of %d bytes", len(request))
	}
	be := binary.BigEndian
	tp := protocol.TopicPartition{Topic: protocol.TopicID(be.Uint64(request)), Partition: protocol.Partition(be.Uint32(request[8:]))}
	from, maxBytes := protocol.Offset(be.Uint64(request[12:])), be.Uint32(request[20:])
	p, ok := c.Get(tp)
	if !ok {
		return nil, protocol.Errorf(protocol.CodeUnavailable, "no replica of %s runs here", tp)
	}
	b, err := p.FSM().ReadOwn(from, int(min(maxBytes, maxFetchBytes)), make([]byte, 2))
	if err == nil && len(b) == 2 {
		err = protocol.Errorf(protocol.CodeUnavailable, "the replica of %s here ends at offset %d", tp, from)
	}
	return b, err
}
