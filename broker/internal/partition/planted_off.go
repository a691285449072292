//go:build !faults

package partition

// planted is where builds with the tag faults break a promise.
type planted struct{}

func (planted) acks(*Partition, *flight, sent) bool { return false }
