package controller

import (
	"context"
	"fmt"
	"time"

	"github.com/trunkline/trunkline/protocol"
)

// showEvery is how long Shows waits before it asks a replica again.
const showEvery = 50 * time.Millisecond

// Shows waits until the replica of a shard on another broker has shown, by reading it from its own log, the last record that the replica
// here has when it is called. What a replica acknowledges to Raft is safe with it, but a snapshot is acknowledged as a whole and
// applied later; until then the replica could not lead. Nobody has to show anything of a shard without records, of the metadata, or of
// one that is not here. ctx bounds it.
func (c *Controller) Shows(ctx context.Context, shard uint64, on protocol.BrokerID) error {
	c.mu.RLock()
	r := c.byShard[shard]
	c.mu.RUnlock()
	if r == nil || c.cfg.FetchFrom == nil {
		return nil
	}
	start, next := r.partition().FSM().Bounds()
	if start == next {
		return nil
	}
	return awaitShown(ctx, c.cfg.FetchFrom, on, r.spec().tp, next-1)
}

// awaitShown asks a broker for a record until it has it.
func awaitShown(ctx context.Context, ask FetchFrom, on protocol.BrokerID, tp protocol.TopicPartition, last protocol.Offset) error {
	for {
		answer, err := ask(ctx, on, appendFetch(nil, tp, last, 1))
		if err == nil {
			_, err = parseAnswer(answer)
		}
		if err == nil {
			return nil
		}
		select {
		case <-time.After(showEvery):
		case <-ctx.Done():
			return fmt.Errorf("broker %d does not show record %d of %s: %w", on, last, tp, err)
		}
	}
}
