package controller

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/protocol"
)

// TestOnlyComfortIsGentle: a move waits for the rate of moves only if nothing is lost and nobody may wait for it.
func TestOnlyComfortIsGentle(t *testing.T) {
	dead := map[protocol.BrokerID]bool{1: true} // to a broker that does not ask itself
	h := &raftHost{
		cfg:   &Config{Self: 1, Alive: func(b protocol.BrokerID) bool { return !dead[b] }},
		moves: rate.NewLimiter(1, 1),
	}
	require.Nil(t, h.gentle(&spec{}), "a replica fell behind")
	require.Same(t, h.moves, h.gentle(&spec{moves: true}), "the topic wants one more")
	require.Same(t, h.moves, h.gentle(&spec{moves: true, parting: 2}))
	require.Same(t, h.moves, h.gentle(&spec{moves: true, parting: 1}), "this broker leaves")
	dead[2] = true
	require.Nil(t, h.gentle(&spec{moves: true, parting: 2}), "a lost replica is made anew")
	require.Same(t, h.moves, h.gentle(&spec{moves: true, parting: 3}))
	h.sending.Store(raftnode.MaxStreams)
	require.Nil(t, h.gentle(&spec{moves: true, parting: 3}), "a repair may wait for one of them to end")
}
