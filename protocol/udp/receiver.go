package udp

import (
	"net"

	"golang.org/x/net/ipv4"
)

const (
	// maxPiece is the longest run the kernel hands over: what an IP packet can hold.
	maxPiece = 64 << 10
	// pieces is how many runs are read with one system call: single packets, as acknowledgements are, come so too.
	pieces = 4
	// controlBytes is room for the control messages of one piece: ECN, packet info, segment size.
	controlBytes = 128
)

// Receiver reads one socket.
type Receiver struct {
	conn *ipv4.PacketConn
	read []ipv4.Message // nil: without offload, callers' messages are read into directly

	received []ipv4.Message // of read: those with datagrams that were not handed out
	at       int            // where the next one begins in received[0]
}

// NewReceiver returns a receiver of c, with receive offload if the system offers it. From then on c must be read by
// this receiver only.
func NewReceiver(c *net.UDPConn) *Receiver {
	r := &Receiver{conn: ipv4.NewPacketConn(c)}
	if !offload(c) {
		return r
	}
	r.read = make([]ipv4.Message, pieces)
	for i := range r.read {
		r.read[i].Buffers = [][]byte{make([]byte, maxPiece)}
		r.read[i].OOB = make([]byte, controlBytes)
	}
	return r
}

// ReadBatch reads datagrams into ms, one each into the first buffer, and returns how many: at least one unless there
// is an error. It waits only if there is none at all. The signature is what quic-go looks for.
func (r *Receiver) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	if r.read == nil {
		return r.conn.ReadBatch(ms, flags)
	}
	if len(r.received) == 0 {
		n, err := r.conn.ReadBatch(r.read, flags)
		if err != nil {
			return 0, err
		}
		r.received = r.read[:n]
	}
	n := 0
	for n < len(ms) && len(r.received) > 0 {
		r.cut(&ms[n])
		n++
	}
	return n, nil
}

// cut moves the next datagram into m.
func (r *Receiver) cut(m *ipv4.Message) {
	p := &r.received[0]
	end := p.N
	if size := segmentSize(p.OOB[:p.NN]); size > 0 {
		end = min(r.at+size, p.N)
	}
	m.N = copy(m.Buffers[0], p.Buffers[0][r.at:end])
	m.NN = copy(m.OOB, p.OOB[:p.NN])
	m.Flags, m.Addr = p.Flags, p.Addr
	if r.at = end; end == p.N {
		r.received, r.at = r.received[1:], 0
	}
}
