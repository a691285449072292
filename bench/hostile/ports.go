package hostile

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/protocol"
)

const (
	alpn = protocol.ALPN
	// datagrams is how many random datagrams one shot sends, portLimit bounds one garbage TCP connection.
	datagrams = 300
	portLimit = 2 * time.Second
)

// handshakes tries what cannot succeed on the QUIC port: another ALPN, and datagrams that are random or begin like QUIC.
func (a *attack) handshakes(ctx context.Context, f *forge, addr string) {
	for range 3 {
		wrong := pick(f, []string{"trunkline/2", "h3", "trunkline/", string(f.noise(60)) + "x"})
		a.tally.handshakes.Add(1)
		if l, err := dial(ctx, addr, wrong); err == nil {
			l.hangUp()
			a.tally.accepted.Add(1)
		}
	}
	conn, err := net.Dial("udp", addr) //nolint:noctx // UDP does not wait
	if err != nil {
		return
	}
	defer conn.Close()
	for range datagrams {
		b := f.noise(1400)
		if len(b) > 6 && f.chance(70) {
			copy(b, pick(f, [][]byte{
				{0xc3, 0, 0, 0, 1, 8},             // Initial of version 1
				{0xe0, 0, 0, 0, 1, 20},            // Handshake
				{0xff, 0x0a, 0x1a, 0x2a, 0x3a},    // a version to be negotiated
				{0x40, 1, 2, 3, 4, 5},             // short header
				{0xc0, 0, 0, 0, 0, 255},           // version negotiation
				{0xd0, 0x6b, 0x33, 0x43, 0xcf, 0}, // version 2
			}))
		}
		if _, err := conn.Write(b); err == nil {
			a.tally.datagrams.Add(1)
		}
	}
}

// ports sends garbage to the Raft and admin ports.
func (a *attack) ports(ctx context.Context, f *forge, b cluster.Broker) {
	for range 4 {
		garbage := f.noise(4000)
		if f.chance(40) {
			garbage = append([]byte{0x16, 3, 1, byte(len(garbage) >> 8), byte(len(garbage))}, garbage...) // like TLS
		}
		a.spit(ctx, b.Raft, garbage)
		if f.chance(50) {
			garbage = append([]byte("GET /metrics HTTP/1.1\r\nX: "), garbage...)
		}
		a.spit(ctx, b.Admin, garbage)
	}
}

// spit writes to a TCP port and reads what comes, for a moment.
func (a *attack) spit(ctx context.Context, addr string, b []byte) {
	d := net.Dialer{Timeout: portLimit}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		a.tally.failedDials.Add(1)
		return
	}
	defer conn.Close()
	a.tally.tcp.Add(1)
	conn.SetDeadline(time.Now().Add(portLimit / 10))
	if _, err := conn.Write(b); err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(conn, maxAnswerEnd)) // whatever it says
}
