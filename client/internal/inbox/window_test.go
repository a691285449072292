package inbox

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/protocol"
)

// model is the plain way to keep the same books.
type model struct {
	done map[protocol.Offset]bool // handed out: is it acknowledged?
	from protocol.Offset
	next protocol.Offset
}

func (m *model) prefix() protocol.Offset {
	for o := m.from; o < m.next; o++ {
		if acked, ok := m.done[o]; ok && !acked {
			return o
		}
	}
	return m.next
}

func (m *model) unacked() int {
	n := 0
	for _, acked := range m.done {
		if !acked {
			n++
		}
	}
	return n
}

// TestWindow compares the window with the model after every step.
func TestWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := protocol.Offset(rapid.IntRange(0, 5).Draw(t, "from"))
		var w Window
		w.Reset(from)
		m := &model{done: map[protocol.Offset]bool{}, from: from, next: from}
		offset := func() protocol.Offset { return protocol.Offset(rapid.IntRange(0, 40).Draw(t, "offset")) }
		t.Repeat(map[string]func(*rapid.T){
			"deliver": func(t *rapid.T) {
				o := m.next + protocol.Offset(rapid.IntRange(-2, 2).Draw(t, "jump"))
				if int64(o) < 0 {
					return
				}
				took := w.Deliver(o)
				require.Equal(t, o >= m.next, took)
				if took {
					m.done[o], m.next = false, o+1
				}
			},
			"ack": func(*rapid.T) {
				o := offset()
				before := m.prefix()
				grew := w.Ack(o)
				if _, ok := m.done[o]; ok {
					m.done[o] = true
				}
				require.Equal(t, m.prefix() > before, grew)
			},
			"skip": func(*rapid.T) {
				o := offset()
				w.SkipTo(o)
				for d := range m.done {
					if d < o {
						m.done[d] = true
					}
				}
				m.next = max(m.next, o)
			},
			"": func(t *rapid.T) {
				require.Equal(t, m.next, w.Position())
				require.Equal(t, m.prefix(), w.Prefix())
				require.Equal(t, m.unacked(), w.Unacked())
				require.LessOrEqual(t, w.Unacked(), w.Len())
			},
		})
	})
}
