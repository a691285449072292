package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	heartbeat    = 5 * time.Second
	dialTimeout  = 2 * time.Second // TCP and handshake
	writeTimeout = 3 * heartbeat   // as long as amqp091-go waits for something to read
	// dialAgain is how long the answer to a failed dial stands, so that the many partitions of a client do not all wait for it.
	dialAgain = 200 * time.Millisecond
)

var dialer = net.Dialer{Timeout: dialTimeout}

// errClosed ends what waits for a client that is closed.
var errClosed = errors.New("closed")

// broker is one node as clients see it.
type broker struct {
	id             int
	name           string // of its Erlang node; empty: not known
	addr, url, api string
	user, password string
	vhost          string
}

// brokerAt reads an address: host:port or an amqp URL.
func brokerAt(id int, addr string) (broker, error) {
	url := addr
	if !strings.Contains(url, "://") {
		url = "amqp://guest:guest@" + addr + "/"
	}
	uri, err := amqp.ParseURI(url)
	if err != nil {
		return broker{}, fmt.Errorf("address %q is neither host:port nor an amqp URL: %w", addr, err)
	}
	return broker{
		id: id, addr: net.JoinHostPort(uri.Host, fmt.Sprint(uri.Port)), url: url, api: "http://" + net.JoinHostPort(uri.Host, "15672"),
		user: uri.Username, password: uri.Password, vhost: uri.Vhost,
	}, nil
}

// connection is an AMQP connection whose socket can be cut.
type connection struct {
	amqp *amqp.Connection
	raw  net.Conn
}

// patient gives up on a socket that takes nothing: amqp091-go waits for a blocked write before it gives up itself.
type patient struct{ net.Conn }

func (p patient) Write(b []byte) (int, error) {
	if err := p.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return p.Conn.Write(b)
}

func (b broker) dial(ctx context.Context, name string) (*connection, error) {
	c := &connection{}
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName(name)
	conn, err := amqp.DialConfig(b.url, amqp.Config{
		Heartbeat: heartbeat, Properties: properties,
		Dial: func(network, addr string) (net.Conn, error) {
			raw, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			c.raw = raw
			return patient{raw}, raw.SetDeadline(time.Now().Add(dialTimeout)) // the library lifts it after the handshake
		},
	})
	if err != nil {
		if c.raw != nil {
			_ = c.raw.Close()
		}
		return nil, fmt.Errorf("connect to broker %d at %s: %w", b.id, b.addr, err)
	}
	c.amqp = conn
	return c, nil
}

// close says goodbye, and cuts the socket when ctx ends or nobody answers within a second.
func (c *connection) close(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { _ = c.raw.Close() })
	defer stop()
	_ = c.amqp.CloseDeadline(time.Now().Add(time.Second)) // closed whatever it says
}

// pool is the connections of one client, at most one to each broker, opened when first needed and again after they broke.
type pool struct {
	name    string
	brokers []broker
	links   []link // as brokers
}

type link struct {
	mu     sync.Mutex
	conn   *connection // nil: none
	err    error       // of the last dial
	failed time.Time   // when
}

func newPool(name string, brokers []broker) *pool {
	return &pool{name: name, brokers: brokers, links: make([]link, len(brokers))}
}

// channel opens a channel on the connection to broker i, counted from 0.
func (p *pool) channel(ctx context.Context, i int) (*amqp.Channel, error) {
	conn, err := p.connection(ctx, i)
	if err != nil {
		return nil, err
	}
	ch, err := conn.amqp.Channel()
	if err != nil {
		return nil, fmt.Errorf("channel on broker %d: %w", p.brokers[i].id, err)
	}
	return ch, nil
}

func (p *pool) connection(ctx context.Context, i int) (*connection, error) {
	l := &p.links[i]
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil && !l.conn.amqp.IsClosed() {
		return l.conn, nil
	}
	if l.err != nil && time.Since(l.failed) < dialAgain {
		return nil, l.err
	}
	l.conn, l.err = p.brokers[i].dial(ctx, p.name)
	l.failed = time.Now()
	return l.conn, l.err
}

// cut breaks all connections, so that nothing waits for an answer any more.
func (p *pool) cut() {
	for i := range p.links {
		l := &p.links[i]
		l.mu.Lock()
		if l.conn != nil {
			_ = l.conn.raw.Close()
		}
		l.mu.Unlock()
	}
}

// close ends all connections. Nobody may open channels any more.
func (p *pool) close(ctx context.Context) {
	for i := range p.links {
		l := &p.links[i]
		l.mu.Lock()
		if l.conn != nil {
			l.conn.close(ctx)
		}
		l.mu.Unlock()
	}
}

// backoff is the wait after the n-th failure in a row, from 0; -1 is what worked for a while.
func backoff(n int) time.Duration {
	return min(50*time.Millisecond<<min(max(n, 0), 4), 500*time.Millisecond)
}

// clientVersion is what the library tells brokers of itself.
func clientVersion() string {
	return fmt.Sprint("amqp091-go ", amqp.NewConnectionProperties()["version"])
}
