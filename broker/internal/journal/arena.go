package journal

// arena is a ring of memory in which rounds are encoded; what is in it is also the cache of the newest ones. Positions
// count all bytes that were ever taken:
//
//	tail <= position of a cached byte < head,  head - tail <= len(mem),  the byte is mem[position % len(mem)]
//
// A piece never wraps around. The WAL's index lock guards it: bytes behind tail may be overwritten as soon as take
// returned, so they are read with that lock held.
type arena struct {
	mem        []byte
	head, tail uint64
}

// take returns n bytes in one piece, a multiple of blockBytes, and their position; what is evicted is gone at once.
// A piece above half of the arena is refused.
func (a *arena) take(n int64) ([]byte, uint64, bool) {
	size := uint64(len(a.mem))
	if uint64(n) > size/2 {
		return nil, 0, false
	}
	if rest := size - a.head%size; uint64(n) > rest {
		a.head += rest
	}
	pos := a.head
	a.head += uint64(n)
	if a.head-a.tail > size {
		a.tail = a.head - size
	}
	at := pos % size
	return a.mem[at : at+uint64(n) : at+uint64(n)], pos, true
}

// at returns n bytes at pos if they are still there.
func (a *arena) at(pos uint64, n uint32) ([]byte, bool) {
	size := uint64(len(a.mem))
	if size == 0 || pos < a.tail || pos+uint64(n) > a.head {
		return nil, false
	}
	i := pos % size
	return a.mem[i : i+uint64(n) : i+uint64(n)], true
}
