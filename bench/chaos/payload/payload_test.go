package payload

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/verify"
)

func TestValuesAreRecognised(t *testing.T) {
	for seq := range uint64(1000) {
		id := verify.ID{Producer: 3, Seq: seq}
		value := Encode(id)
		got, ok := Decode(value)
		require.True(t, ok)
		require.Equal(t, id, got)
		value[len(value)-1]++
		_, ok = Decode(value)
		require.False(t, ok)
	}
	_, ok := Decode(nil)
	require.False(t, ok)
}

func TestSizedValuesHaveTheirSize(t *testing.T) {
	for _, length := range []int{0, 16, 17, 4096, 16 << 10} {
		id := verify.ID{Producer: 9, Seq: uint64(length)}
		value := Sized(id, length)
		require.Len(t, value, max(16, length))
		got, ok := Decode(value)
		require.True(t, ok)
		require.Equal(t, id, got)
	}
}
