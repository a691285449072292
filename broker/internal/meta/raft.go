package meta

import (
	"context"
	"errors"
	"fmt"

	"github.com/lni/dragonboat/v4/statemachine"

	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/protocol"
)

// RaftNode lets a Service use the metadata shard of a raftnode.Node.
type RaftNode struct {
	node *raftnode.Node
}

var _ Node = (*RaftNode)(nil)

// NewRaftNode adapts a node. Its metadata shard must be started with the service's Machine.
func NewRaftNode(n *raftnode.Node) *RaftNode { return &RaftNode{node: n} }

// Start starts the local replica of the metadata shard with m as its state machine. Without founders it joins the shard.
func (r *RaftNode) Start(m *Machine, founders []raftnode.Replica) error {
	return r.node.StartMeta(raftnode.Start{Replicas: founders, Join: len(founders) == 0}, func(uint64, uint64) statemachine.IStateMachine { return m })
}

// Propose implements Node.
func (r *RaftNode) Propose(ctx context.Context, cmd []byte) ([]byte, error) {
	p, err := r.node.Propose(raftnode.MetaShard, cmd)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotProposed, err)
	}
	res, ok := p.Wait(ctx.Done(), nil)
	if !ok {
		return nil, fmt.Errorf("wait for the metadata proposal: %w", ctx.Err())
	}
	switch res.Outcome {
	case raftnode.Committed:
		return res.Data, nil
	case raftnode.Dropped:
		return nil, fmt.Errorf("%w: the proposal was dropped", ErrNotProposed)
	}
	return nil, errors.New("the metadata proposal was lost or timed out")
}

// Leader implements Node.
func (r *RaftNode) Leader() protocol.BrokerID {
	l, _ := r.node.Leader(raftnode.MetaShard)
	return l.Leader
}

// Barrier implements Node.
func (r *RaftNode) Barrier(ctx context.Context) error {
	_, err := r.node.Read(ctx, raftnode.MetaShard, nil)
	return err
}
