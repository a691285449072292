package liveness

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPingRoundTrip(t *testing.T) {
	p := ping{seq: 7, boot: [16]byte{1, 2, 3}, condition: condition{stalled: true, short: true, starved: true}, sights: []sight{
		{broker: 2, silent: 35 * time.Millisecond, age: time.Hour, heard: true, boot: 9},
		{broker: 3, silent: 400 * time.Millisecond, dead: true},
	}}
	b := p.append(nil)
	require.Len(t, b, pingHeader+2*sightSize)
	got, err := parsePing(append(b, "later versions"...))
	require.NoError(t, err)
	require.Equal(t, p, got)
	for n := range b {
		_, err := parsePing(b[:n])
		require.Error(t, err, n)
	}
}

func FuzzParsePing(f *testing.F) {
	p := ping{seq: 1, sights: []sight{{broker: 2}}}
	f.Add(p.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePing(b)
		if err != nil {
			return
		}
		again, err := parsePing(p.append(nil))
		require.NoError(t, err)
		require.Equal(t, p, again)
	})
}
