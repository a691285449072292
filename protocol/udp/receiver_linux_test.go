package udp

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// packetBytes is the size of quic-go's packets and of its receive buffers.
const packetBytes = 1452

// TestReceiver sends runs of datagrams with segmentation offload and single ones between, from two senders, and reads
// them in batches of random sizes.
func TestReceiver(t *testing.T) {
	server := listen(t)
	r := NewReceiver(server)
	require.NotNil(t, r.read, "this kernel has no receive offload")
	senders := []*net.UDPConn{dial(t, server), dial(t, server)}
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		from := senders[round%len(senders)]
		want := sendRun(t, from, random.IntN(14), 1+random.IntN(packetBytes), random)
		for len(want) > 0 {
			ms := messages(1 + random.IntN(8))
			n, err := r.ReadBatch(ms, 0)
			require.NoError(t, err)
			require.Positive(t, n)
			require.LessOrEqual(t, n, len(want), "more datagrams than were sent")
			for i := range n {
				require.Equal(t, want[i], ms[i].Buffers[0][:ms[i].N], "round %d", round)
				require.Equal(t, from.LocalAddr().String(), ms[i].Addr.String())
			}
			want = want[n:]
		}
	}
	require.NoError(t, server.SetReadDeadline(time.Now()))
	_, err := r.ReadBatch(messages(1), 0)
	require.ErrorContains(t, err, "timeout")
}

// TestReceiverKeepsWhatItHas closes the socket while datagrams of a run are still to be handed out.
func TestReceiverKeepsWhatItHas(t *testing.T) {
	server := listen(t)
	r := NewReceiver(server)
	want := sendRun(t, dial(t, server), 2, 100, rand.New(rand.NewPCG(3, 4)))
	ms := messages(1)
	_, err := r.ReadBatch(ms, 0)
	require.NoError(t, err)
	require.NoError(t, server.Close())
	for _, w := range want[1:] {
		_, err := r.ReadBatch(ms, 0)
		require.NoError(t, err)
		require.Equal(t, w, ms[0].Buffers[0][:ms[0].N])
	}
	_, err = r.ReadBatch(ms, 0)
	require.ErrorIs(t, err, net.ErrClosed)
}

// TestLongDatagramsAreCutOff reads into buffers that are too small: the next datagram must not suffer from it.
func TestLongDatagramsAreCutOff(t *testing.T) {
	server := listen(t)
	r := NewReceiver(server)
	want := sendRun(t, dial(t, server), 3, 300, rand.New(rand.NewPCG(5, 6)))
	for _, w := range want {
		ms := []ipv4.Message{{Buffers: [][]byte{make([]byte, 10)}}}
		_, err := r.ReadBatch(ms, 0)
		require.NoError(t, err)
		require.Equal(t, w[:min(10, len(w))], ms[0].Buffers[0][:ms[0].N])
	}
}

// BenchmarkReceive sends runs of fourteen packets, as quic-go does, and receives them. What is counted is both sides:
// on loopback the sender's system call takes a run apart for a receiver without offload.
func BenchmarkReceive(b *testing.B) {
	const run = 14
	for _, mode := range []string{"plain", "offload"} {
		b.Run(mode, func(b *testing.B) {
			server := listen(b)
			r := NewReceiver(server)
			if mode == "plain" {
				server = listen(b)
				r = &Receiver{conn: ipv4.NewPacketConn(server)}
			}
			client := dial(b, server)
			data, control := make([]byte, run*packetBytes), segmented(packetBytes)
			ms := messages(8)
			b.SetBytes(run * packetBytes)
			for b.Loop() {
				_, _, err := client.WriteMsgUDP(data, control, nil)
				require.NoError(b, err)
				for got := 0; got < run; {
					n, err := r.ReadBatch(ms, 0)
					require.NoError(b, err)
					got += n
				}
			}
		})
	}
}

// sendRun sends full datagrams of size bytes and a shorter one with one call, and then one of another size alone.
func sendRun(t testing.TB, c *net.UDPConn, full, size int, random *rand.Rand) [][]byte {
	var sent [][]byte
	for range full {
		sent = append(sent, randomBytes(random, size))
	}
	sent = append(sent, randomBytes(random, 1+random.IntN(size)))
	_, _, err := c.WriteMsgUDP(bytes.Join(sent, nil), segmented(size), nil)
	require.NoError(t, err)
	alone := randomBytes(random, random.IntN(packetBytes))
	_, err = c.Write(alone)
	require.NoError(t, err)
	return append(sent, alone)
}

func randomBytes(random *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

// segmented is the control message that asks for datagrams of size bytes.
func segmented(size int) []byte {
	b := make([]byte, unix.CmsgSpace(2))
	binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(2)))
	binary.NativeEndian.PutUint32(b[8:], unix.IPPROTO_UDP)
	binary.NativeEndian.PutUint32(b[12:], unix.UDP_SEGMENT)
	binary.NativeEndian.PutUint16(b[unix.CmsgSpace(0):], uint16(size))
	return b
}

func messages(n int) []ipv4.Message {
	ms := make([]ipv4.Message, n)
	for i := range ms {
		ms[i].Buffers = [][]byte{make([]byte, packetBytes)}
		ms[i].OOB = make([]byte, controlBytes)
	}
	return ms
}

func listen(t testing.TB) *net.UDPConn {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func dial(t testing.TB, to *net.UDPConn) *net.UDPConn {
	c, err := net.DialUDP("udp", nil, to.LocalAddr().(*net.UDPAddr))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}
