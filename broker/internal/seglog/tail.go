package seglog

import (
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// A log's tail is a row of chunks, each a piece of memory with whole batches. A log starts with a small chunk and
// doubles, so that an idle partition holds little. A batch longer than chunkBytes gets a larger chunk. Sizes are
// powers of two: those buffers can be recycled.
const (
	firstChunkBytes = 4 << 10
	chunkBytes      = 64 << 10
)

// Cache is a memory budget for the tails of many logs. At the bound the oldest chunk goes, of whichever log. A
// chunk a reader is copying from stays until the reader is done, beyond the budget; that is at most maxPieces
// chunks for each reader.
type Cache struct {
	limit int64
	pools [maxChunkBits + 1]sync.Pool // pools[i] has *[]byte of length 1<<i

	mu     sync.Mutex
	used   int64  // sum of the listed chunks' sizes; guarded by mu
	oldest *chunk // list by age; guarded by mu, like the chunks' links
	newest *chunk
}

// NewCache returns a budget of so many bytes, at least 0.
func NewCache(bytes int64) *Cache { return &Cache{limit: bytes} }

// Used returns how many bytes the tails hold.
func (c *Cache) Used() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used
}

// chunk is a piece of one log's tail.
type chunk struct {
	cache *Cache
	// refs is 1 for being listed plus 1 for each user. At 0 the buffer is gone for good: whoever wants to use
	// buf must have raised refs from above 0 before.
	refs atomic.Int32
	mem  *[]byte // what buf is, as the pools want it
	buf  []byte
	size int // len(buf), readable without a reference

	older, newer *chunk // guarded by Cache.mu
	listed       bool

	base, next protocol.Offset // buf[:n] holds the batches of [base, next); guarded by Log.mu
	n          int
}

// acquire takes a reference; false when the buffer is gone.
func (c *chunk) acquire() bool {
	for {
		r := c.refs.Load()
		if r == 0 {
			return false
		}
		if c.refs.CompareAndSwap(r, r+1) {
			return true
		}
	}
}

func (c *chunk) release() {
	if c.refs.Add(-1) > 0 {
		return
	}
	c.cache.pools[bits.Len(uint(c.size-1))].Put(c.mem)
	c.mem, c.buf = nil, nil
}

// maxChunkBits is enough for every batch: chunks of 16 MiB.
const maxChunkBits = 24

// alloc returns a listed chunk of at least size bytes with a reference for the caller, or nil when the budget is
// smaller.
func (c *Cache) alloc(size int) *chunk {
	class := bits.Len(uint(size - 1))
	size = 1 << class
	if int64(size) > c.limit || class > maxChunkBits {
		return nil
	}
	k := &chunk{cache: c, size: size}
	k.refs.Store(2)
	c.mu.Lock()
	for c.used+int64(size) > c.limit {
		c.unlist(c.oldest)
	}
	k.listed, k.older = true, c.newest
	if c.newest != nil {
		c.newest.newer = k
	} else {
		c.oldest = k
	}
	c.newest = k
	c.used += int64(size)
	c.mu.Unlock()
	mem, ok := c.pools[class].Get().(*[]byte)
	if !ok {
		b := make([]byte, size)
		mem = &b
	}
	k.mem, k.buf = mem, *mem
	return k
}

// drop gives k's memory back, now or when its last user is done.
func (c *Cache) drop(k *chunk) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.listed {
		c.unlist(k)
	}
}

// unlist takes k out of the list and the budget. mu is held.
func (c *Cache) unlist(k *chunk) {
	if k.older != nil {
		k.older.newer = k.newer
	} else {
		c.oldest = k.newer
	}
	if k.newer != nil {
		k.newer.older = k.older
	} else {
		c.newest = k.older
	}
	k.older, k.newer, k.listed = nil, nil, false
	c.used -= int64(k.size)
	k.release()
}

// tail holds the newest batches of one log. chunks[i].next == chunks[i+1].base and the last one's next is the
// log's. The cache may have taken any of them: then acquire fails. Guarded by Log.mu for changes; the writer may
// read without.
type tail struct {
	cache  *Cache
	limit  int
	chunks []*chunk
	bytes  int // sum of the chunks' sizes
}

// stage copies b into memory that readers do not look at yet. It returns the chunk with a reference, nil when b is
// too large for the tail. Only the writer calls it.
func (t *tail) stage(b []byte) *chunk {
	if len(b) > t.limit/2 {
		return nil
	}
	size := firstChunkBytes
	if n := len(t.chunks); n > 0 {
		last := t.chunks[n-1]
		if last.n+len(b) <= last.size && last.acquire() {
			copy(last.buf[last.n:], b) // readers stop at n
			return last
		}
		size = min(2*last.size, chunkBytes)
	}
	// At most a quarter of the bound, so that there is always something left when the oldest chunk goes.
	size = max(min(size, 1<<(bits.Len(uint(t.limit/4))-1)), len(b))
	c := t.cache.alloc(size)
	if c != nil {
		copy(c.buf, b)
	}
	return c
}

// publish makes the staged batch, of n bytes with header h, readable. mu is write-locked.
func (t *tail) publish(c *chunk, h *batch.Header, n int) {
	if c == nil {
		t.clear() // a tail with a hole is none
		return
	}
	if len(t.chunks) == 0 || t.chunks[len(t.chunks)-1] != c {
		c.base = h.BaseOffset
		t.chunks = append(t.chunks, c)
		t.bytes += c.size
		t.trim()
	}
	c.n += n
	c.next = h.Next()
	c.release()
}

// trim forgets the oldest chunks that are above the bound or gone already.
func (t *tail) trim() {
	drop := 0
	for ; drop < len(t.chunks)-1; drop++ {
		c := t.chunks[drop]
		if t.bytes <= t.limit && c.refs.Load() > 0 {
			break
		}
		t.cache.drop(c)
		t.bytes -= c.size
	}
	if drop == 0 {
		return
	}
	kept := copy(t.chunks, t.chunks[drop:])
	clear(t.chunks[kept:])
	t.chunks = t.chunks[:kept]
}

// clear gives all memory back. mu is write-locked.
func (t *tail) clear() {
	for _, c := range t.chunks {
		t.cache.drop(c)
	}
	t.chunks, t.bytes = nil, 0
}

// maxPieces bounds the chunks that one read takes from; more is left for the next read.
const maxPieces = 20

// piece is buf[:n] of a chunk that the reader holds a reference of.
type piece struct {
	c *chunk
	n int
}

// collect references the chunks from the one that holds from on, until they have maxBytes. It returns how many it put
// into pieces: 0 when from is not in the tail. mu is read-locked.
func (t *tail) collect(from protocol.Offset, maxBytes int, pieces *[maxPieces]piece) int {
	first := len(t.chunks) - 1
	for first >= 0 && t.chunks[first].base > from {
		first--
	}
	if first < 0 || from >= t.chunks[first].next {
		return 0
	}
	count, bytes := 0, 0
	for _, c := range t.chunks[first:] {
		if count == maxPieces || bytes >= maxBytes && count > 0 || !c.acquire() {
			break
		}
		if count > 0 { // of the first, nobody knows yet how much lies before from
			bytes += c.n
		}
		pieces[count] = piece{c, c.n}
		count++
	}
	return count
}

// copyPieces appends the batches from the one that contains from on, below limit and up to maxBytes but at least
// one, and releases the pieces.
func copyPieces(pieces []piece, from, limit protocol.Offset, maxBytes int, dst []byte) ([]byte, error) {
	start, more := len(dst), true
	var err error
	for _, p := range pieces {
		if more && err == nil {
			var b []byte
			copied := len(dst) - start
			b, more, err = cut(p.c.buf[:p.n], from, limit, maxBytes-copied, copied == 0)
			dst = append(dst, b...)
		}
		p.c.release()
	}
	if err != nil {
		return dst[:start], err
	}
	return dst, nil
}

// cut returns the part of b, whole batches, that copyPieces wants of it, and whether it wants what follows b too.
// With first set the batch that contains from counts even when it is longer than room.
func cut(b []byte, from, limit protocol.Offset, room int, first bool) (part []byte, more bool, err error) {
	lo, hi := 0, 0
	for hi < len(b) {
		h, err := batch.ParseHeader(b[hi:])
		if err != nil {
			return nil, false, fmt.Errorf("seglog: memory of the tail is damaged: %w", err)
		}
		n := int(h.Length)
		switch {
		case h.Next() <= from:
			lo = hi + n
		case h.BaseOffset >= limit, hi+n-lo > room && (!first || hi > lo):
			return b[lo:hi], false, nil
		}
		hi += n
	}
	return b[lo:hi], true, nil
}
