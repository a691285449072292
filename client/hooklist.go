package client

import (
	"context"
	"time"

	"github.com/trunkline/trunkline/client/internal/cluster"
	"github.com/trunkline/trunkline/protocol"
)

// hookList holds the observers by what they observe, so that nothing is asked on the way of a record.
type hookList struct {
	connect    []HookConnect
	disconnect []HookDisconnect
	dialFailed []HookDialFailed
	leader     []HookLeaderChange
	retry      []HookRetry
	record     []HookRecord
	batches    []HookBatch
	message    []HookMessage
}

func newHookList(hooks []Hook) *hookList {
	l := &hookList{}
	for _, h := range hooks {
		collect(h, &l.connect)
		collect(h, &l.disconnect)
		collect(h, &l.dialFailed)
		collect(h, &l.leader)
		collect(h, &l.retry)
		collect(h, &l.record)
		collect(h, &l.batches)
		collect(h, &l.message)
	}
	return l
}

func collect[T any](h Hook, to *[]T) {
	if t, ok := h.(T); ok {
		*to = append(*to, t)
	}
}

// cluster returns what the cluster package calls.
func (l *hookList) cluster() cluster.Hooks {
	return cluster.Hooks{
		Connected: func(b protocol.BrokerID, addr string, took time.Duration) {
			for _, h := range l.connect {
				h.OnConnect(b, addr, took)
			}
		},
		Disconnected: func(b protocol.BrokerID, addr string, err error) {
			for _, h := range l.disconnect {
				h.OnDisconnect(b, addr, err)
			}
		},
		DialFailed: func(addr string, err error) {
			for _, h := range l.dialFailed {
				h.OnDialFailed(addr, err)
			}
		},
		LeaderChanged: func(tp protocol.TopicPartition, to cluster.Leader) {
			for _, h := range l.leader {
				h.OnLeaderChange(tp, to.Broker, to.Epoch)
			}
		},
	}
}

func (l *hookList) recordSend(ctx context.Context, topic string, r *Record) {
	for _, h := range l.record {
		h.OnRecordSend(ctx, topic, r)
	}
}

func (l *hookList) recordDone(topic string, r *Record, receipt Receipt, err error) {
	for _, h := range l.record {
		h.OnRecordDone(topic, r, receipt, err)
	}
}

func (l *hookList) batch(e BatchEvent) {
	for _, h := range l.batches {
		h.OnBatch(e)
	}
}

func (l *hookList) messages(subscription string, m *Message) {
	for _, h := range l.message {
		h.OnMessage(subscription, m)
	}
}
