package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/trunkline/trunkline/client/internal/cluster"
	"github.com/trunkline/trunkline/client/internal/conn"
	"github.com/trunkline/trunkline/protocol"
)

const (
	// connectTimeout bounds Connect when its context has no deadline.
	connectTimeout = 10 * time.Second
	// version is what brokers log of this client.
	version = "trunkline-go/1"
)

// Client is a connection to a cluster. All its methods may be called from any goroutine.
type Client struct {
	cluster *cluster.Cluster
	hooks   *hookList
	log     *slog.Logger

	mu     sync.Mutex // guards the following
	open   map[closer]struct{}
	closed chan struct{} // not nil once Close has begun; closed when it is done
}

// closer is a producer, subscription or reader.
type closer interface {
	Close(ctx context.Context) error
}

// Connect connects to a cluster by the addresses (host:port) of one or more of its brokers; the others
// are found through them. It tries until ctx ends, at most 10 s if ctx has no deadline, and gives up
// early when no address can ever work, for example because of certificates. A broker that does not know its cluster yet,
// because it has just started or no majority is up, is not enough: Connect waits for what it learns, or for another one.
func Connect(ctx context.Context, addrs []string, opts ...Option) (*Client, error) {
	cfg := config{name: filepath.Base(os.Args[0]), warm: 3}
	for _, o := range opts {
		o(&cfg)
	}
	if cfg.log == nil {
		cfg.log = slog.New(slog.DiscardHandler)
	}
	if err := validate(addrs, &cfg); err != nil {
		return nil, fmt.Errorf("trunkline: connect: %w", err)
	}
	tlsConfig, err := cfg.tlsConfig()
	if err != nil {
		return nil, fmt.Errorf("trunkline: connect: %w", err)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, connectTimeout)
		defer cancel()
	}
	c := &Client{hooks: newHookList(cfg.hooks), log: cfg.log, open: make(map[closer]struct{})}
	c.cluster, err = cluster.Open(ctx, cluster.Config{
		Seeds: addrs, Warm: cfg.warm, Hooks: c.hooks.cluster(), Log: cfg.log,
		Conn: conn.Config{TLS: tlsConfig, Name: cfg.name, Version: version, Token: cfg.token, Known: new(conn.Known)},
	})
	if err != nil {
		return nil, fmt.Errorf("trunkline: connect: %w", err)
	}
	return c, nil
}

func validate(addrs []string, cfg *config) error {
	if len(addrs) == 0 {
		return errors.New("no broker address given")
	}
	for _, a := range addrs {
		if _, port, err := net.SplitHostPort(a); err != nil || port == "" {
			return fmt.Errorf("broker address %q is not host:port", a)
		}
	}
	if cfg.warm < 2 {
		return fmt.Errorf("%d warm connections, at least 2", cfg.warm)
	}
	if len(cfg.name) > protocol.MaxNameBytes {
		cfg.name = cfg.name[:protocol.MaxNameBytes]
	}
	return nil
}

// tlsConfig puts the TLS options together.
func (c *config) tlsConfig() (*tls.Config, error) {
	t := &tls.Config{}
	if c.tls != nil {
		t = c.tls.Clone()
	}
	t.MinVersion = tls.VersionTLS13
	if c.serverName != "" {
		t.ServerName = c.serverName
	}
	if c.certFile != "" || c.keyFile != "" {
		load := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
			return &pair, err
		}
		if _, err := load(nil); err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		t.GetClientCertificate = load
	}
	if len(c.caFiles) == 0 {
		return t, nil
	}
	t.RootCAs = x509.NewCertPool()
	for _, f := range c.caFiles {
		pem, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("CA file: %w", err)
		}
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA file %s: no PEM certificate in it", f)
		}
	}
	return t, nil
}

// Close closes everything that was opened with the client, each as its own Close does, and leaves no
// goroutine. When ctx ends it goes on without waiting for the brokers, and so does a Close that began
// before. It returns the errors of what it closed.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	first := c.closed == nil
	if first {
		c.closed = make(chan struct{})
		defer close(c.closed)
	}
	var open []closer
	for o := range c.open {
		open = append(open, o)
	}
	c.mu.Unlock()
	errs := make([]error, len(open))
	var wg sync.WaitGroup
	for i, o := range open {
		wg.Go(func() { errs[i] = o.Close(ctx) })
	}
	wg.Wait()
	if first {
		c.cluster.Close()
	} else {
		<-c.closed // which waits for nothing more
	}
	return errors.Join(errs...)
}

// awaitClosed waits for the Close of a producer, subscription or reader that began before. When ctx ends it has end cut that
// one short.
func awaitClosed(ctx context.Context, closed <-chan struct{}, end context.CancelCauseFunc) error {
	select {
	case <-closed:
		return nil
	default:
	}
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
	}
	end(ErrClosed)
	<-closed
	return fmt.Errorf("trunkline: close: %w", context.Cause(ctx))
}

// register notes what Close has to close. It returns false when it is too late for that.
func (c *Client) register(o closer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed != nil {
		return false
	}
	c.open[o] = struct{}{}
	return true
}

func (c *Client) unregister(o closer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, o)
}

// closedOr turns the end of the cluster's connections into ErrClosed.
func (c *Client) closedOr(err error) error {
	if errors.Is(err, cluster.ErrClosed) {
		return ErrClosed
	}
	return err
}

func (c *Client) retried(e RetryEvent) {
	c.log.Debug("stream failed", "what", e.What, "topic", e.Topic, "partition", e.Partition,
		"attempt", e.Attempt, "error", e.Err)
	for _, h := range c.hooks.retry {
		h.OnRetry(e)
	}
}

// Broker is one broker as the client knows it.
type Broker struct {
	ID        protocol.BrokerID
	Listen    string
	Admin     string
	Alive     bool // as the cluster believes
	Connected bool // this client, now
	Zone      string
	State     protocol.BrokerState // active, drained or leaving
}

// Brokers lists the brokers of the cluster, at least one, from the newest image the client has.
func (c *Client) Brokers() []Broker {
	image, _ := c.cluster.Image()
	list := make([]Broker, 0, len(image.Brokers))
	for _, b := range image.Brokers {
		list = append(list, Broker{
			ID: b.ID, Listen: b.Listen, Admin: b.Admin, Alive: b.Alive, Connected: c.cluster.Connected(b.ID),
			Zone: b.Zone, State: b.State,
		})
	}
	return list
}

// Leader returns the leader of a partition as the client knows it; zero if it does not.
func (c *Client) Leader(topic string, p protocol.Partition) (protocol.BrokerID, protocol.Epoch) {
	image, _ := c.cluster.Image()
	t, ok := image.Topic(topic)
	if !ok || int64(p) >= int64(len(t.Partitions)) {
		return 0, 0
	}
	l, _ := c.cluster.Leader(protocol.TopicPartition{Topic: t.ID, Partition: p})
	return l.Broker, l.Epoch
}

// Admin returns the administrative calls.
func (c *Client) Admin() *Admin { return &Admin{c: c} }
