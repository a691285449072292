package hostile

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"github.com/quic-go/quic-go"
)

// Crowd is a number of connections that have made their handshake and say nothing more. A broker does not know who they are, and ends
// them after a while.
type Crowd struct {
	sockets []*socket
	Conns   int // that were made
}

// crowdSocket is how many connections of a Crowd share a socket.
const crowdSocket = 50

// OpenCrowd connects n times to the broker at addr, as fast as it goes: with one handshake as a stranger, and then with the token that it
// brought, so that the broker's ration of strangers is not in the way.
func OpenCrowd(ctx context.Context, addr string, n int) (*Crowd, error) {
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, fmt.Errorf("crowd: %w", err)
	}
	c, pass := &Crowd{}, newPass()
	if err := c.obtain(ctx, to, pass); err != nil {
		c.Close()
		return nil, err
	}
	var made atomic.Int64
	var wg sync.WaitGroup
	for at := 1; at < n; at += crowdSocket {
		s, err := c.socket()
		if err != nil {
			break // those that are connecting are waited for
		}
		wg.Go(func() {
			for range min(crowdSocket, n-at) {
				if _, err := shake(ctx, s.tr, to, stormDial, pass); err == nil {
					made.Add(1)
				}
			}
		})
	}
	wg.Wait()
	c.Conns += int(made.Load())
	return c, nil
}

// obtain makes the first connection, which brings the pass.
func (c *Crowd) obtain(ctx context.Context, to net.Addr, p *pass) error {
	s, err := c.socket()
	if err != nil {
		return err
	}
	if _, err := shake(ctx, s.tr, to, stormDial, p); err != nil {
		return fmt.Errorf("crowd: %w", err)
	}
	c.Conns++
	ctx, cancel := context.WithTimeout(ctx, stormDial)
	defer cancel()
	select {
	case <-p.given:
		return nil
	case <-ctx.Done():
		return errors.New("crowd: the broker gave no token")
	}
}

func (c *Crowd) socket() (*socket, error) {
	s, err := listen()
	if err == nil {
		c.sockets = append(c.sockets, s)
	}
	return s, err
}

// Close ends all connections without a word.
func (c *Crowd) Close() {
	for _, s := range c.sockets {
		s.close()
	}
}

// pass is the first token that a broker gave, shown again and again.
type pass struct {
	given chan struct{} // closed with the first Put
	once  sync.Once
	token *quic.ClientToken // set before given is closed
}

func newPass() *pass { return &pass{given: make(chan struct{})} }

// Pop returns the token, if there is one.
func (p *pass) Pop(string) *quic.ClientToken {
	select {
	case <-p.given:
		return p.token
	default:
		return nil
	}
}

// Put keeps the first token.
func (p *pass) Put(_ string, t *quic.ClientToken) {
	p.once.Do(func() {
		p.token = t
		close(p.given)
	})
}
