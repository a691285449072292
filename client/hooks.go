package client

import (
	"context"
	"time"

	"github.com/trunkline/trunkline/protocol"
)

// Hook is an observer: a value that implements one or more of the Hook interfaces of this file. Hooks
// are called from the client's own goroutines and must not block or call the client.
type Hook any

// HookConnect is told of every connection that was made.
type HookConnect interface {
	OnConnect(broker protocol.BrokerID, addr string, took time.Duration)
}

// HookDisconnect is told of every connection that was lost or closed.
type HookDisconnect interface {
	OnDisconnect(broker protocol.BrokerID, addr string, err error)
}

// HookDialFailed is told of every failed attempt to connect.
type HookDialFailed interface {
	OnDialFailed(addr string, err error)
}

// HookLeaderChange is told when the client learns of a newer leader.
type HookLeaderChange interface {
	OnLeaderChange(tp protocol.TopicPartition, leader protocol.BrokerID, epoch protocol.Epoch)
}

// HookRetry is told before a stream of a partition is opened again.
type HookRetry interface {
	OnRetry(e RetryEvent)
}

// RetryEvent says which stream failed and why.
type RetryEvent struct {
	What      string // "produce", "consume"
	Topic     string
	Partition protocol.Partition
	Attempt   int // since the last progress, from 1
	Err       error
}

// HookRecord sees every record on its way, which is what tracing needs: OnRecordSend may add headers.
type HookRecord interface {
	// OnRecordSend is called in Publish and Send with the caller's context, before the record is queued.
	OnRecordSend(ctx context.Context, topic string, r *Record)
	// OnRecordDone is called when the record has its result.
	OnRecordDone(topic string, r *Record, receipt Receipt, err error)
}

// HookBatch is told of every batch that was acknowledged.
type HookBatch interface {
	OnBatch(e BatchEvent)
}

// BatchEvent describes an acknowledged batch.
type BatchEvent struct {
	Topic     string
	Partition protocol.Partition
	Records   int
	Bytes     int // as sent
	Attempts  int // how often it was sent
	Duplicate bool
	Latency   time.Duration // from sealing to the acknowledgement
}

// HookMessage sees every message just before it is handed out.
type HookMessage interface {
	OnMessage(subscription string, m *Message)
}
