package raftnet

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheLowestEchoTellsTheWay(t *testing.T) {
	var r roundTrips
	require.Zero(t, r.lowest())
	r.observe(90 * time.Millisecond)
	require.Equal(t, 90*time.Millisecond, r.lowest())
	for _, d := range []time.Duration{7 * time.Millisecond, 300 * time.Millisecond, 8 * time.Millisecond} {
		r.observe(d)
	}
	require.Equal(t, 7*time.Millisecond, r.lowest(), "a busy processor is not the way")
	for range roundTripSamples {
		r.observe(200 * time.Millisecond)
	}
	require.Equal(t, 200*time.Millisecond, r.lowest(), "the way became longer")
}
