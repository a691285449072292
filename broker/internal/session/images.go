package session

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

// imageDelay is how long changes of the metadata are collected before an image is encoded and pushed.
const imageDelay = 20 * time.Millisecond

// image is one encoded metadata frame, shared by all connections.
type image struct {
	version uint64
	frame   []byte
	newer   chan struct{} // closed when this is no longer the newest
}

// imageHub encodes each metadata image once for all who subscribed.
type imageHub struct {
	cfg      Config
	changed  func() // called after each new version
	current  atomic.Pointer[image]
	again    chan struct{} // capacity 1
	stop     chan struct{}
	stopOnce sync.Once
	done     chan struct{}
}

func newImageHub(cfg Config, changed func()) *imageHub {
	h := &imageHub{
		cfg: cfg, changed: changed,
		again: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	changes := cfg.Meta.Changed()
	h.current.Store(h.build())
	go h.run(changes)
	return h
}

// newest returns the newest image; it is never nil.
func (h *imageHub) newest() *image { return h.current.Load() }

func (h *imageHub) refresh() {
	select {
	case h.again <- struct{}{}:
	default:
	}
}

func (h *imageHub) close() {
	h.stopOnce.Do(func() { close(h.stop) })
	<-h.done
}

func (h *imageHub) run(changes <-chan struct{}) {
	defer close(h.done)
	for {
		select {
		case <-changes:
		case <-h.again:
		case <-h.stop:
			return
		}
		delay := time.NewTimer(imageDelay)
		select {
		case <-delay.C:
		case <-h.stop:
			delay.Stop()
			return
		}
		changes = h.cfg.Meta.Changed() // before the image is built, so that no change falls between
		old, next := h.current.Load(), h.build()
		h.current.Store(next)
		close(old.newer)
		if next.version != old.version {
			h.changed()
		}
	}
}

// build encodes the metadata as it is now. Metadata that does not fit into a frame is not pushed: clients keep
// what they have, and the log says so.
func (h *imageHub) build() *image {
	m := newestMetadata(&h.cfg)
	im := &image{version: m.Version, newer: make(chan struct{})}
	im.frame = wire.AppendFrame(nil, protocol.KindMetadata, m)
	if size := len(im.frame) - frame.HeaderSize; size > protocol.MaxMetadataBytes {
		h.cfg.Log.Error("the metadata is too large to be pushed to clients",
			"bytes", size, "limit", protocol.MaxMetadataBytes)
		im.frame = nil
	}
	return im
}

// newestMetadata returns the metadata with what this broker believes about leaders and brokers.
func newestMetadata(cfg *Config) *wire.Metadata {
	m := cfg.Meta.Metadata()
	m.Brokers = slices.Clone(m.Brokers)
	for i := range m.Brokers {
		b := &m.Brokers[i]
		b.Alive = b.ID == cfg.Self || cfg.Alive(b.ID)
	}
	m.Topics = slices.Clone(m.Topics)
	for i := range m.Topics {
		t := &m.Topics[i]
		t.Partitions = slices.Clone(t.Partitions)
		for j := range t.Partitions {
			p := &t.Partitions[j]
			p.Leader, p.Epoch = cfg.Leaders.Leader(protocol.TopicPartition{Topic: t.ID, Partition: p.Partition})
		}
	}
	return &m
}
