package raftnet

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/protocol"
)

func TestHelloRoundTrip(t *testing.T) {
	h := hello{
		kind: kindSnapshot, lane: laneBulk, code: RejectBusy, meant: 3, version: helloVersion, reason: "later",
		PeerHello: PeerHello{
			ClusterID: 1, Broker: 2, BootID: [16]byte{3}, DirID: [16]byte{4}, Addr: "host:1",
			Levels: protocol.Levels{Lowest: 2, Highest: 9},
		},
	}
	b := h.append(nil)
	got, err := readHello(bytes.NewReader(b))
	require.NoError(t, err)
	require.Equal(t, h, got)
	for n := range len(b) - len(h.reason) {
		_, err := readHello(bytes.NewReader(b[:n]))
		require.Error(t, err)
	}
	h.reason, h.Addr = strings.Repeat("r", 2*maxReason), strings.Repeat("a", 2*maxAddr)
	got, err = readHello(bytes.NewReader(h.append(nil)))
	require.NoError(t, err)
	require.Len(t, got.reason, maxReason)
	h.version = 9
	got, err = readHello(bytes.NewReader(h.append(nil)))
	require.NoError(t, err)
	require.Equal(t, hello{version: 9}, got, "nothing behind a foreign version is believed")
}

func FuzzParseHello(f *testing.F) {
	h := hello{version: helloVersion, PeerHello: PeerHello{Addr: "a:1"}, reason: "x"}
	f.Add(h.append(nil)[2:])
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHello(b)
		if err != nil || h.version != helloVersion || len(h.reason) > maxReason {
			return
		}
		again, err := parseHello(h.append(nil)[2:])
		require.NoError(t, err)
		require.Equal(t, h, again)
	})
}

// FuzzParse feeds Dragonboat's decoders, which panic on some inputs.
func FuzzParse(f *testing.F) {
	batch := batchOf(heartbeat(1), replicate(2, 10))
	b, _ := batch.Marshal()
	f.Add(b)
	chunk := pb.Chunk{ShardID: 1, Data: []byte("x")}
	b, _ = chunk.Marshal()
	f.Add(b)
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = parseBatch(b)
		_, _ = parseChunk(b)
	})
}

func TestFrameReader(t *testing.T) {
	frame := func(typ byte, n int) []byte {
		b := make([]byte, frameHeader+n)
		putHeader(b, typ, n)
		for i := range n {
			b[frameHeader+i] = byte(i)
		}
		return b
	}
	var stream []byte
	sizes := []int{0, 1, 100, 3 << 20, 5, keepBuffer, 2}
	for i, n := range sizes {
		stream = append(stream, frame(byte(i), n)...)
	}
	r := newFrameReader(bytes.NewReader(stream), 3<<20)
	for i, n := range sizes {
		typ, b, err := r.next()
		require.NoError(t, err)
		require.Equal(t, byte(i), typ)
		require.True(t, bytes.Equal(frame(typ, n)[frameHeader:], b))
	}
	_, _, err := r.next()
	require.ErrorIs(t, err, io.EOF)
	_, _, err = newFrameReader(bytes.NewReader(frame(1, 100)), 99).next()
	require.ErrorContains(t, err, "limit")
	long := frame(1, 10)
	putHeader(long, 1, 1<<30)
	r = newFrameReader(bytes.NewReader(long), 1<<30)
	_, _, err = r.next()
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.LessOrEqual(t, cap(r.buf), 2*readStep, "a claimed length is not allocated")
}

func TestQueueBounds(t *testing.T) {
	q := newQueue(100)
	frame := func(n int) []byte { return getBuffer(n) }
	require.True(t, q.put(frame(5000), false), "a frame always fits an empty queue")
	require.False(t, q.put(frame(1), false))
	require.False(t, q.accepts())
	require.Len(t, q.take(nil), 1)
	require.True(t, q.put(frame(60), false))
	require.True(t, q.put(frame(40), false))
	require.False(t, q.put(frame(1), false))
	require.Equal(t, 100, q.size())
	require.Equal(t, 2, q.purge(true))
	require.False(t, q.put(frame(1), false))
	q.open()
	require.True(t, q.put(frame(1), false))
	require.Len(t, q.take(make([][]byte, 0, 4)), 1)
	require.Empty(t, q.take(nil))
}

func TestBuffers(t *testing.T) {
	for _, n := range []int{0, 1, 255, 256, 257, 4096, keepBuffer, keepBuffer + 1} {
		b := getBuffer(n)
		require.Len(t, b, n)
		putBuffer(b)
	}
	putBuffer(make([]byte, 1000)) // not of a class: left to the collector
	require.Equal(t, 1024, cap(getBuffer(1000)))
}

func TestHeartbeatsWaitForCompanyAndNothingElseDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1 << 20)
		woken := func() bool {
			select {
			case <-q.wake:
				return true
			default:
				return false
			}
		}
		frame := func() []byte { return getBuffer(10) }
		q.put(frame(), true)
		q.put(frame(), true)
		require.False(t, woken())
		time.Sleep(idleWait)
		synctest.Wait()
		require.True(t, woken())
		require.Len(t, q.take(nil), 2)

		q.put(frame(), true)
		q.put(frame(), false)
		require.True(t, woken(), "the second does not wait")
		require.Len(t, q.take(nil), 2)
		time.Sleep(2 * idleWait)
		synctest.Wait()
		require.False(t, woken(), "nothing is left to wake for")
		q.put(frame(), true)
		time.Sleep(idleWait)
		synctest.Wait()
		require.True(t, woken(), "the timer is armed again")
	})
	hb := pb.Message{Type: pb.Heartbeat}
	require.True(t, idle([]pb.Message{hb, {Type: pb.HeartbeatResp}}))
	require.False(t, idle([]pb.Message{hb, {Type: pb.RequestVote}}))
	require.False(t, idle([]pb.Message{{Type: pb.Heartbeat, Hint: 1}}), "it confirms a read")
}
