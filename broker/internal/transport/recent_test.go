package transport

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRecentForgets(t *testing.T) {
	of := func(n uint32) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n))), 1)
	}
	begun := time.Now()
	r := newRecent(time.Second)
	require.False(t, r.has(of(1)))
	r.add(of(1), begun)
	r.add(of(2), begun.Add(1900*time.Millisecond))
	require.True(t, r.has(of(1)), "at least so long")
	require.True(t, r.has(of(2)))
	r.add(of(3), begun.Add(3*time.Second))
	require.False(t, r.has(of(1)))
	for n := range uint32(3 * maxRecent) {
		r.add(of(n+10), begun.Add(3*time.Second))
	}
	require.LessOrEqual(t, len(r.now)+len(r.last), 2*maxRecent)
	require.False(t, r.has(of(3)), "there were too many others")
	require.True(t, r.has(of(2*maxRecent+20)))
}
