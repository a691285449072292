package inbox

import (
	"slices"

	"github.com/trunkline/trunkline/protocol"
)

// Window is the books of one activation, or of several in a row when the consumer was not told in between that it lost the
// partition. Others may have had it meanwhile: see SkipTo.
type Window struct {
	entries []entry // ascending; the first, if any, is not acknowledged
	unacked int
	next    protocol.Offset
}

type entry struct {
	offset protocol.Offset
	acked  bool
}

// Reset begins anew at from.
func (w *Window) Reset(from protocol.Offset) {
	*w = Window{next: from}
}

// Position is the lowest offset that was not handed out.
func (w *Window) Position() protocol.Offset { return w.next }

// Prefix is the end of the contiguous acknowledged prefix.
func (w *Window) Prefix() protocol.Offset {
	if len(w.entries) > 0 {
		return w.entries[0].offset
	}
	return w.next
}

// Unacked returns how many records are handed out and not acknowledged.
func (w *Window) Unacked() int { return w.unacked }

// Len returns how many records the window has to remember.
func (w *Window) Len() int { return len(w.entries) }

// Deliver notes that the record at o is handed out. It returns false if it was handed out before.
func (w *Window) Deliver(o protocol.Offset) bool {
	if o < w.next {
		return false
	}
	w.entries = append(w.entries, entry{offset: o})
	w.unacked++
	w.next = o + 1
	return true
}

// Ack notes that the record at o is done and reports whether the prefix grew. Offsets that are not
// outstanding are ignored.
func (w *Window) Ack(o protocol.Offset) bool {
	i, ok := slices.BinarySearchFunc(w.entries, o, func(e entry, o protocol.Offset) int {
		switch {
		case e.offset < o:
			return -1
		case e.offset > o:
			return 1
		}
		return 0
	})
	if !ok || w.entries[i].acked {
		return false
	}
	w.entries[i].acked = true
	w.unacked--
	return w.trim()
}

// trim drops acknowledged records from the front.
func (w *Window) trim() bool {
	n := 0
	for n < len(w.entries) && w.entries[n].acked {
		n++
	}
	w.entries = w.entries[n:]
	return n > 0
}

// SkipTo notes that everything below o is done, by others or by nobody.
func (w *Window) SkipTo(o protocol.Offset) {
	for i := range w.entries {
		if w.entries[i].offset >= o {
			break
		}
		if !w.entries[i].acked {
			w.entries[i].acked = true
			w.unacked--
		}
	}
	w.trim()
	w.next = max(w.next, o)
}
