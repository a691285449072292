package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/raftnet"
	"github.com/trunkline/trunkline/protocol"
)

// joinPause is the pause after all addresses of `join` were asked in vain.
const joinPause = time.Second

// joinRequest is what a new broker says of itself, in JSON. Its certificate and its handshake have said who it is.
type joinRequest struct {
	Listen string `json:"listen"`
	Raft   string `json:"raft"`
	Admin  string `json:"admin"`
	Zone   string `json:"zone,omitempty"`
}

// joinAnswer is the book of all brokers, or the reason why there is none.
type joinAnswer struct {
	Code    protocol.Code              `json:"code,omitempty"` // 0: registered
	Message string                     `json:"message,omitempty"`
	Version uint64                     `json:"version,omitempty"` // of the metadata
	Level   protocol.Level             `json:"level,omitempty"`   // of the cluster; 0: the first
	Brokers map[protocol.BrokerID]peer `json:"brokers,omitempty"`
}

// join registers this broker in a running cluster, at the first start of a data directory whose configuration says so. It asks the
// addresses in turn until one of them has an answer. A repetition, also by a later start, finds the broker registered.
func (b *Broker) join(ctx context.Context) error {
	if len(b.cfg.Join) == 0 || b.known.formed() {
		return nil
	}
	request, err := b.joinRequest()
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	for {
		var last error
		for _, addr := range b.cfg.Join {
			answer, err := b.askToJoin(ctx, addr, request)
			if err == nil {
				b.log.Info("joined the cluster", "by", addr, "brokers", len(answer.Brokers))
				_, err = b.known.learn(answer.Version, answer.Level, answer.Brokers)
				return err
			}
			var refused *protocol.Error
			if errors.As(err, &refused) && !refused.Code.Retryable() {
				return fmt.Errorf("join: %s refuses this broker: %w", addr, err)
			}
			b.log.Info("not joined yet", "asked", addr, "error", err)
			last = err
		}
		if !pause(ctx, joinPause) {
			return fmt.Errorf("join: nobody at %v answered as a broker of cluster %q: %w", b.cfg.Join, b.cfg.Cluster, last)
		}
	}
}

func (b *Broker) joinRequest() ([]byte, error) {
	return json.Marshal(joinRequest{Listen: b.self.Listen, Raft: b.self.Raft, Admin: b.self.Admin, Zone: b.cfg.Zone})
}

func (b *Broker) askToJoin(ctx context.Context, addr string, request []byte) (*joinAnswer, error) {
	text, _, err := b.net.Join(ctx, addr, request)
	if err != nil {
		var reject *raftnet.Reject
		if errors.As(err, &reject) && !reject.Code.Retryable() {
			return nil, protocol.Errorf(protocol.CodeInvalidConfig, "%s", reject.Reason)
		}
		return nil, err
	}
	var answer joinAnswer
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, fmt.Errorf("the answer is not understood: %w", err)
	}
	if answer.Code != 0 {
		return nil, protocol.Errorf(answer.Code, "%s", answer.Message)
	}
	return &answer, nil
}

// onJoin answers a broker that asks to join.
func (b *Broker) onJoin(ctx context.Context, from raftnet.PeerHello, request []byte) []byte {
	answer := joinAnswer{}
	if err := b.admitBroker(ctx, from, request); err != nil {
		answer.Code, answer.Message = protocol.CodeInternal, err.Error()
		var coded *protocol.Error
		if errors.As(err, &coded) {
			answer.Code, answer.Message = coded.Code, coded.Message
		}
	} else {
		im := b.meta.Image()
		answer.Version, answer.Level, answer.Brokers = im.Version, im.Level, bookOf(im)
	}
	text, err := json.Marshal(answer)
	if err != nil {
		b.log.Error("answer to a joining broker", "error", err) // cannot happen: the types are plain
	}
	return text
}

func (b *Broker) admitBroker(ctx context.Context, from raftnet.PeerHello, request []byte) error {
	var r joinRequest
	if err := json.Unmarshal(request, &r); err != nil {
		return protocol.Errorf(protocol.CodeInvalidRequest, "the request to join is not understood: %v", err)
	}
	if err := checkAdvertised(r.Raft, true); err != nil { // a book with an address that cannot be dialled would be refused as a whole
		return protocol.Errorf(protocol.CodeInvalidConfig, "members: raft: %v", err)
	}
	if level := b.meta.Image().Level; !from.Levels.Has(level) { // the metadata keep no such word at the first level
		return protocol.Errorf(protocol.CodeInvalidConfig, "%s", meta.Refusal(level, from.Broker, from.Levels))
	}
	return b.meta.RegisterBroker(ctx, meta.Broker{
		Levels: from.Levels, ID: from.Broker, Listen: r.Listen, Admin: r.Admin, RaftAddr: r.Raft, Zone: r.Zone, DirID: meta.DirID(from.DirID), State: meta.Active,
	})
}

// bookOf returns where the brokers of an image are.
func bookOf(im *meta.Image) map[protocol.BrokerID]peer {
	book := make(map[protocol.BrokerID]peer, len(im.Brokers()))
	for _, m := range im.Brokers() {
		book[m.ID] = peer{Raft: m.RaftAddr, Dir: dirID(m.DirID)}
	}
	return book
}
