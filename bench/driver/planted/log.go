package planted

import (
	"sync"
	"sync/atomic"
)

const (
	maxBytes  = 2 << 30  // of payloads that a system stores
	chunkSize = 1024     // entries
	dataSize  = 64 << 10 // bytes that are allocated at once
)

// entry is a stored message. It does not change once it is published.
type entry struct {
	payload []byte
	hidden  bool // not delivered to anybody
}

// chunk is a run of entries, the unit of dropping.
type chunk struct {
	entries [chunkSize]entry
	bytes   int64
}

// log is a partition's messages: entry i has offset i. One goroutine appends and changes what it appended until it calls publish;
// any goroutine may read what was published.
type log struct {
	bytes *atomic.Int64 // of the system
	tail  int64         // next offset; the appender's
	last  *chunk        // the appender's
	data  []byte        // free part of the last allocation; the appender's

	mu        sync.RWMutex
	chunks    []*chunk // guarded by mu; the first one begins at offset first
	first     int64    // guarded by mu
	published int64    // guarded by mu; offsets below can be read
}

// append stores a copy of a message and returns its offset.
func (l *log) append(payload []byte) int64 {
	if l.tail%chunkSize == 0 {
		l.last = &chunk{}
		l.mu.Lock()
		l.chunks = append(l.chunks, l.last)
		l.mu.Unlock()
	}
	if len(l.data) < len(payload) {
		l.data = make([]byte, max(dataSize, len(payload)))
	}
	n := copy(l.data, payload)
	l.last.entries[l.tail%chunkSize].payload = l.data[:n:n]
	l.data = l.data[n:]
	l.last.bytes += int64(n)
	l.bytes.Add(int64(n))
	l.tail++
	return l.tail - 1
}

// hide lets nobody read the entry that was appended last.
func (l *log) hide(offset int64) { l.last.entries[offset%chunkSize].hidden = true }

// damage changes a byte of the entry that was appended last, another one each time.
func (l *log) damage(offset int64, nth int) {
	if payload := l.last.entries[offset%chunkSize].payload; len(payload) > 0 {
		payload[nth%len(payload)] ^= 0x10
	}
}

// publish lets everything appended be read.
func (l *log) publish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.published = l.tail
}

// read returns published entries from an offset on, some if there are any.
func (l *log) read(offset int64) []entry {
	l.mu.RLock()
	defer l.mu.RUnlock()
	i := (offset - l.first) / chunkSize
	if offset >= l.published || offset < l.first {
		return nil
	}
	base := l.first + i*chunkSize
	return l.chunks[i].entries[offset-base : min(chunkSize, l.published-base)]
}

// drop forgets whole chunks below an offset.
func (l *log) drop(offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.chunks) > 0 && l.first+chunkSize <= offset {
		l.bytes.Add(-l.chunks[0].bytes)
		l.chunks[0] = nil
		l.chunks = l.chunks[1:]
		l.first += chunkSize
	}
}

// clear forgets everything. Nobody appends any more.
func (l *log) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.chunks {
		l.bytes.Add(-c.bytes)
	}
	l.chunks, l.first, l.published = nil, l.tail, l.tail
}
