package client_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/client"
)

// TestHashPartition keeps to the examples of protocol/SPEC.md: clients in other languages must agree.
func TestHashPartition(t *testing.T) {
	for key, want := range map[string]int{"": 1, "a": 0, "caller-17": 3} {
		require.Equal(t, want, client.HashPartition([]byte(key), 8), "key %q", key)
	}
}
