package client

import "sync"

// stickyBytes is how much of records without a key goes to one partition before the next one's turn:
// enough to fill a packet train, little enough to spread a trickle.
const stickyBytes = 16 << 10

// HashPartition is the default partitioner for records with a key: FNV-1a of 64 bits over the key, its
// upper half folded into the lower, modulo the number of partitions. It is part of the specification,
// so that clients in other languages agree.
func HashPartition(key []byte, partitions int) int {
	h := uint64(14695981039346656037)
	for _, c := range key {
		h ^= uint64(c)
		h *= 1099511628211
	}
	h ^= h >> 32
	return int(h % uint64(partitions))
}

// spreader deals out partitions for records without a key.
type spreader struct {
	mu   sync.Mutex
	at   int
	used int
}

func (s *spreader) next(bytes, partitions int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used += bytes + 1; s.used > stickyBytes {
		s.at, s.used = s.at+1, 0
	}
	return s.at % partitions
}
