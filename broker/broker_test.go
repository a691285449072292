package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/partition"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
	"github.com/trunkline/trunkline/protocol/wire"
)

// alone is the configuration of a single broker on ports that the system chooses.
func alone(dir string) Config {
	return Config{
		DataDir: dir, Listen: "127.0.0.1:0", RaftListen: "127.0.0.1:0", AdminListen: "127.0.0.1:0",
		Limits: LimitsConfig{DiskReserve: 1}, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	}
}

func open(t *testing.T, cfg Config) *Broker {
	t.Helper()
	b, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Close() }) // for tests that fail
	require.Eventually(t, func() bool { return b.Ready() == nil }, 10*time.Second, 5*time.Millisecond)
	return b
}

func get(t *testing.T, b *Broker, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+b.AdminAddr()+path, nil)
	require.NoError(t, err)
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := c.Do(req)
	require.NoError(t, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return r.StatusCode, string(body)
}

// publish appends one record to the first partition of a topic, on the road behind the sessions.
func publish(t *testing.T, b *Broker, topic *meta.Topic, seq protocol.Sequence) partition.Ack {
	t.Helper()
	builder := batch.NewBuilder(batch.None)
	builder.Add(batch.Record{Value: fmt.Appendf(nil, "record %d", seq)})
	raw, err := builder.Build(nil, 5, 1, seq)
	require.NoError(t, err)
	h, err := batch.ParseHeader(raw)
	require.NoError(t, err)
	tp := protocol.TopicPartition{Topic: topic.ID}
	acks := make(chan partition.Ack, 1)
	require.Eventually(t, func() bool { // the replica is started, and elected, some time after the topic was created
		p, ok := b.controller.Get(tp)
		return ok && p.Append(t.Context(), raw, h, func(a partition.Ack) { acks <- a }) == nil
	}, 10*time.Second, 5*time.Millisecond)
	a := <-acks
	require.Nil(t, a.Err)
	return a
}

func TestBrokerServesAndComesBack(t *testing.T) {
	defer goleak.VerifyNone(t)
	cfg := alone(t.TempDir())
	b := open(t, cfg)
	code, body := get(t, b, "/readyz")
	require.Equal(t, http.StatusOK, code, body)
	code, _ = get(t, b, "/livez")
	require.Equal(t, http.StatusOK, code)
	code, body = get(t, b, "/metrics")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, body, "trunkline_")

	topic, err := b.meta.CreateTopic(t.Context(), wire.CreateTopic{Name: "calls", Partitions: 1, Replicas: 1})
	require.NoError(t, err)
	for n := range 3 {
		require.Equal(t, protocol.Offset(n), publish(t, b, topic, protocol.Sequence(n)).Offset)
	}
	require.NoError(t, b.Drain(t.Context()))
	code, body = get(t, b, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Contains(t, body, "draining")
	require.NoError(t, b.Close())
	require.NoError(t, b.Close(), "twice")

	cfg.RaftListen = "127.0.0.2:0"
	b = open(t, cfg) // at other addresses, and with the registry of the one before
	registered, _ := b.meta.Image().Broker(b.cfg.Broker)
	require.Equal(t, b.self.Raft, registered.RaftAddr)
	require.Contains(t, registered.RaftAddr, "127.0.0.2:")
	again, ok := b.meta.Image().TopicNamed("calls")
	require.True(t, ok)
	require.Equal(t, topic.ID, again.ID)
	old := publish(t, b, again, 2)
	require.True(t, old.Duplicate)
	require.Equal(t, protocol.Offset(2), old.Offset)
	require.Equal(t, protocol.Offset(3), publish(t, b, again, 3).Offset)
	require.NoError(t, b.Close())
}

func TestRunDrainsAndCloses(t *testing.T) {
	defer goleak.VerifyNone(t)
	b := open(t, alone(t.TempDir()))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	cancel()
	require.NoError(t, <-ended)
	require.Error(t, b.Ready())
}

func TestRunEndsWhenTheBrokerCannotGoOn(t *testing.T) {
	defer goleak.VerifyNone(t)
	b := open(t, alone(t.TempDir()))
	b.fail(os.ErrInvalid)
	require.ErrorIs(t, b.Run(t.Context()), os.ErrInvalid)
}

// A start that fails, at whatever step, leaves no goroutine, no lock, no port and no metric behind.
func TestFailedStartLeavesNothing(t *testing.T) {
	defer goleak.VerifyNone(t)
	tcp, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer tcp.Close()
	udp, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer udp.Close()
	for name, c := range map[string]struct {
		change func(*testing.T, *Config)
		want   string
	}{
		"busy client port": {func(_ *testing.T, c *Config) { c.Listen = udp.LocalAddr().String() }, "listen"},
		"busy raft port":   {func(_ *testing.T, c *Config) { c.RaftListen = tcp.Addr().String() }, "raft_listen"},
		"busy admin port":  {func(_ *testing.T, c *Config) { c.AdminListen = tcp.Addr().String() }, "admin_listen"},
		"no tokens":        {func(_ *testing.T, c *Config) { c.Auth.TokensFile = "/nowhere/tokens" }, "auth.tokens_file"},
		"no certificates": {func(_ *testing.T, c *Config) {
			c.TLS = TLSConfig{CA: "/nowhere/ca", Cert: "/nowhere/cert", Key: "/nowhere/key"}
		}, "tls"},
		"damaged raft log": {func(t *testing.T, c *Config) {
			d, err := openDataDir(c.WithDefaults())
			require.NoError(t, err)
			require.NoError(t, d.close())
			require.NoError(t, os.WriteFile(d.file("raft"), nil, 0o600))
		}, "raft"},
		"foreign directory": {func(t *testing.T, c *Config) {
			d, err := openDataDir(Config{DataDir: c.DataDir, Cluster: "other"}.WithDefaults())
			require.NoError(t, err)
			require.NoError(t, d.close())
		}, `belongs to cluster "other"`},
		"older layout": {func(t *testing.T, c *Config) { layout(t, c, identityFirst-1) }, "run the version that wrote it"},
		"newer layout": {func(t *testing.T, c *Config) { layout(t, c, identityStated+1) }, "run the version that wrote it"},
		"directory in use": {func(t *testing.T, c *Config) {
			d, err := openDataDir(c.WithDefaults())
			require.NoError(t, err)
			t.Cleanup(func() { _ = d.close() })
		}, "in use by another broker process"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := alone(t.TempDir())
			good := cfg
			c.change(t, &cfg)
			_, err := Open(t.Context(), cfg)
			require.ErrorContains(t, err, c.want)
			goleak.VerifyNone(t, goleak.IgnoreCurrent())
			families, err := cfg.Registerer.Gather()
			require.NoError(t, err)
			require.Empty(t, families)
			switch name {
			case "damaged raft log", "older layout", "newer layout", "foreign directory", "directory in use":
				return
			}
			require.NoError(t, open(t, good).Close(), "the same directory, configured right")
		})
	}
}

// layout makes a data directory whose identity has a version.
func layout(t *testing.T, c *Config, version int) {
	t.Helper()
	d, err := openDataDir(c.WithDefaults())
	require.NoError(t, err)
	d.id.Version = version
	text, err := json.Marshal(d.id)
	require.NoError(t, err)
	require.NoError(t, errors.Join(os.WriteFile(d.file("identity.json"), text, 0o600), d.close()))
}

// Peers announce leaders as soon as Raft is started, long before the broker serves.
func TestAnnouncementsMayComeEarly(t *testing.T) {
	defer goleak.VerifyNone(t)
	b := &Broker{cfg: alone(t.TempDir()).WithDefaults(), reg: &scope{Registerer: prometheus.NewRegistry()}, log: slog.New(slog.DiscardHandler)}
	b.ctx, b.cancel = context.WithCancel(t.Context())
	b.self, _ = b.cfg.Self()
	b.boot[0] = 1
	for _, step := range []func(context.Context) error{b.openDir, b.openCertificates, b.openNetwork, b.openLiveness} {
		require.NoError(t, step(t.Context()))
	}
	tp := protocol.TopicPartition{Topic: 1}
	b.onPayload(2, meta.EncodeLeaders([]wire.Leader{{Topic: 1, Leader: 2, Epoch: 3}})[0])
	l, ok := b.meta.Leaders().Get(tp)
	require.True(t, ok)
	require.Equal(t, protocol.BrokerID(2), l.Leader)
	b.onPayload(2, []byte("nonsense"))
	require.Equal(t, int64(1), b.refused.count.Load())
	require.NoError(t, b.Close())
}
