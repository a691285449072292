//go:build !faults

package fsm

// plantedReuse and plantedOldEpoch are where builds with the tag faults break a promise.
func (a *applier) plantedReuse() error { return nil }

func (a *applier) plantedOldEpoch(*command) error { return nil }
