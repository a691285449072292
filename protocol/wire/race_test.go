//go:build race

package wire

// raceEnabled tells tests of allocations that sync.Pool drops entries at random.
const raceEnabled = true
