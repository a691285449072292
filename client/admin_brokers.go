package client

import (
	"context"
	"fmt"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// SetBrokerState changes what may be placed on a broker. A drained broker gives its leaderships away and gets no
// replicas: for upgrades and repairs. A leaving one is emptied and then retired, and its ID can never be used again;
// until it is empty, protocol.BrokerActive takes that back. The call returns when the state is changed; leaders and
// replicas follow, see Moves.
//
// Leaving is refused with code too_many_replicas when the active brokers that stay are too few for some topic or for the
// cluster's metadata. A broker that is not known, or was retired, is ErrNotFound.
func (a *Admin) SetBrokerState(ctx context.Context, broker protocol.BrokerID, state protocol.BrokerState) error {
	resp, _, err := a.c.cluster.Do(ctx, &wire.Request{
		SetBrokerState: &wire.SetBrokerState{Broker: broker, State: state},
	})
	if err == nil && resp.SetBrokerState == nil {
		err = errNoAnswer
	}
	if err != nil {
		return fmt.Errorf("trunkline: make broker %d %s: %w", broker, state, a.c.closedOr(err))
	}
	return nil
}

// RaiseLevel raises the level of the cluster, which says what its brokers may write and send each other, and returns the level that it has
// then. It is never lowered, and a level that the cluster is past succeeds. Afterwards there is no way back to a release that does not
// understand it.
//
// It is refused with code invalid_request unless every broker runs and understands the level, and with code unsupported by a broker of a
// release before there were levels. ClusterStatus tells who understands what.
func (a *Admin) RaiseLevel(ctx context.Context, level protocol.Level) (protocol.Level, error) {
	resp, _, err := a.c.cluster.Do(ctx, &wire.Request{RaiseLevel: &wire.RaiseLevel{Level: level}})
	if err == nil && resp.RaiseLevel == nil {
		err = errNoAnswer
	}
	if err != nil {
		return 0, fmt.Errorf("trunkline: raise the cluster to level %d: %w", level, a.c.closedOr(err))
	}
	return resp.RaiseLevel.Level, nil
}

// Moves lists the moves of replicas that are under way, by ID, as the broker that answers knows them.
func (a *Admin) Moves(ctx context.Context) ([]Move, error) {
	resp, _, err := a.c.cluster.Do(ctx, &wire.Request{ListMoves: &wire.ListMoves{}})
	if err == nil && resp.ListMoves == nil {
		err = errNoAnswer
	}
	if err != nil {
		return nil, fmt.Errorf("trunkline: list moves: %w", a.c.closedOr(err))
	}
	out := make([]Move, 0, len(resp.ListMoves.Moves))
	for _, m := range resp.ListMoves.Moves {
		out = append(out, moveOf(m))
	}
	return out, nil
}
