package jetstream

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

func (s server) url() string { return "nats://" + s.addr }

// steady are the options of every connection. A dead server is noticed after about 3 s (by the kernel at once, where it can be),
// instead of the library's 4 minutes, and no call hangs for longer than 2 s in a full socket.
func steady(name string) []nats.Option {
	return []nats.Option{
		nats.Name(name),
		nats.IgnoreDiscoveredServers(), // all are known
		nats.MaxReconnects(-1),
		nats.ReconnectWait(50 * time.Millisecond),
		nats.ReconnectJitter(20*time.Millisecond, 0),
		nats.PingInterval(time.Second),
		nats.MaxPingsOutstanding(2),
		nats.FlusherTimeout(2 * time.Second),
		nats.Timeout(time.Second),
		// Without a handler the library prints every broken connection; the messages that it concerns are answered with the error.
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}
}

// dialAny connects to a server, and to the others when that one does not answer or dies.
func (s *system) dialAny(first int, name string) (*nats.Conn, error) {
	opts := nats.GetDefaultOptions()
	for i := range s.servers {
		opts.Servers = append(opts.Servers, s.servers[(first+i)%len(s.servers)].url())
	}
	for _, set := range append(steady(name), nats.DontRandomize()) {
		if err := set(&opts); err != nil {
			return nil, fmt.Errorf("connect: %w", err)
		}
	}
	conn, err := opts.Connect()
	if err != nil {
		return nil, fmt.Errorf("connect to %v: %w", opts.Servers, err)
	}
	return conn, nil
}

// dialOnly connects to one server and no other, or goes on trying. While it has no connection a publish fails at once and is
// definitely not sent, for nothing is buffered.
func (s *system) dialOnly(srv server, name string) (*nats.Conn, error) {
	conn, err := nats.Connect(srv.url(), append(steady(name), nats.RetryOnFailedConnect(true), nats.ReconnectBufSize(-1))...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", srv.addr, err)
	}
	return conn, nil
}
