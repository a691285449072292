package mover

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRounds(t *testing.T) {
	k := replicaKey{16, 7}
	at := func(ms int) time.Time { return time.Unix(100, 0).Add(time.Duration(ms) * time.Millisecond) }

	t.Run("who follows closely has caught up", func(t *testing.T) {
		r := newRounds()
		require.False(t, r.look(k, 10, 1000, at(0)), "the first round has just begun")
		require.True(t, r.look(k, 1000, 1200, at(900)))
		require.True(t, r.look(k, 1100, 1400, at(1500)), "and stays so for a while")
		require.False(t, r.look(k, 1100, 9000, at(3000)), "but not if it falls behind")
	})
	t.Run("who takes long needs another round", func(t *testing.T) {
		r := newRounds()
		r.look(k, 0, 100_000, at(0))
		require.False(t, r.look(k, 50_000, 110_000, at(3000)))
		require.False(t, r.look(k, 100_000, 120_000, at(6000)), "the round ended late")
		require.True(t, r.look(k, 120_000, 120_500, at(6800)))
	})
	t.Run("without traffic it is at once", func(t *testing.T) {
		require.True(t, newRounds().look(k, 5, 5, at(0)))
	})
	t.Run("dropped when not wanted", func(t *testing.T) {
		r := newRounds()
		r.look(k, 0, 1, at(0))
		r.keep(func(uint64) bool { return false })
		require.Empty(t, r.open)
	})
}
