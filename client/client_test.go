package client_test

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/client/internal/fakebroker"
	"github.com/trunkline/trunkline/protocol"
)

func TestConnectErrors(t *testing.T) {
	fc := start(t, fakebroker.Config{Nodes: 1})
	ctx := within(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, fc.CA(), 0o600))
	empty := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))

	c, err := client.Connect(ctx, fc.Addrs(), client.WithCA(ca))
	require.NoError(t, err)
	require.NoError(t, c.Close(ctx))
	require.NoError(t, c.Close(ctx))
	_, err = c.Producer(ctx, "t")
	require.ErrorIs(t, err, client.ErrClosed)

	for name, try := range map[string]struct {
		addrs []string
		opts  []client.Option
		want  string
	}{
		"none":       {nil, nil, "no broker address"},
		"no port":    {[]string{"localhost"}, nil, "not host:port"},
		"no file":    {fc.Addrs(), []client.Option{client.WithCA("/nowhere.pem")}, "/nowhere.pem"},
		"no pem":     {fc.Addrs(), []client.Option{client.WithCA(empty)}, "no PEM"},
		"no cert":    {fc.Addrs(), []client.Option{client.WithCA(ca), client.WithClientCertificate("/none.pem", "/none.pem")}, "client certificate: open /none.pem"},
		"untrusted":  {fc.Addrs(), nil, "certificate"},
		"wrong name": {fc.Addrs(), []client.Option{client.WithCA(ca), client.WithServerName("x")}, "certificate"},
		"too cold":   {fc.Addrs(), []client.Option{client.WithWarmConnections(1)}, "at least 2"},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			_, err := client.Connect(ctx, try.addrs, try.opts...)
			require.ErrorContains(t, err, try.want)
			require.Less(t, time.Since(began), 2*time.Second)
		})
	}
}

// TestConnectDeadline: a port where nobody listens and one that swallows everything.
func TestConnectDeadline(t *testing.T) {
	hole, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, hole.Close()) }()
	gone, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, gone.Close())
	short, cancel := context.WithTimeout(within(t), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err = client.Connect(short, []string{gone.LocalAddr().String(), hole.LocalAddr().String()},
		client.WithTLSConfig(&tls.Config{MinVersion: tls.VersionTLS13}))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, client.ErrNoBroker)
	require.ErrorContains(t, err, "nobody listens")
	require.Less(t, time.Since(began), time.Second)
}

// TestConnectWaits: a client that starts before its cluster finds it when it comes.
func TestConnectWaits(t *testing.T) {
	fc := start(t, fakebroker.Config{Nodes: 1})
	fc.Kill(1)
	got := make(chan error, 1)
	go func() {
		c, err := client.Connect(within(t), fc.Addrs(), client.WithTLSConfig(fc.TLS()))
		if err == nil {
			err = c.Close(context.Background())
		}
		got <- err
	}()
	time.Sleep(100 * time.Millisecond)
	require.NoError(t, fc.Restart(1))
	require.NoError(t, <-got)
}

// TestConnectWaitsForTheCluster: a broker that has just started knows no broker and no topic, which is not what its cluster has. What it
// learns counts, and so does what the other addresses say, which were not there at first.
func TestConnectWaitsForTheCluster(t *testing.T) {
	for name, news := range map[string]func(*fakebroker.Cluster) error{
		"it learns":          func(fc *fakebroker.Cluster) error { fc.Blank(1, false); return nil },
		"another one is met": func(fc *fakebroker.Cluster) error { return fc.Restart(2) },
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan protocol.BrokerID, 100)
			fc := start(t, fakebroker.Config{Nodes: 2, Subscribed: func(id protocol.BrokerID) { asked <- id }})
			fc.Blank(1, true)
			fc.Kill(2)
			got := make(chan *client.Client, 1)
			go func() {
				c, err := client.Connect(within(t), fc.Addrs(), client.WithTLSConfig(fc.TLS()))
				if err != nil {
					t.Error(err)
				}
				got <- c
			}()
			require.Equal(t, protocol.BrokerID(1), <-asked)
			require.NoError(t, news(fc))
			c := <-got
			require.NotNil(t, c)
			require.Len(t, c.Brokers(), 2)
			require.NoError(t, c.Close(within(t)))
		})
	}
}

// TestKilledBrokerIsNoticed: the kernel says that the port is closed, long before any timeout.
func TestKilledBrokerIsNoticed(t *testing.T) {
	fc := start(t, fakebroker.Config{Nodes: 1})
	c := connect(t, fc)
	waitFor(t, func() bool { return connectedTo(c, 1) })
	fc.Kill(1)
	began := time.Now()
	waitFor(t, func() bool { return !connectedTo(c, 1) })
	require.Less(t, time.Since(began), 1200*time.Millisecond)
	require.NoError(t, fc.Restart(1))
	waitFor(t, func() bool { return connectedTo(c, 1) })
}

// TestOneSeedIsEnough: the others are found through it, and stay reachable when it dies.
func TestOneSeedIsEnough(t *testing.T) {
	fc := start(t, fakebroker.Config{})
	fc.CreateTopic("t", 3)
	c, err := client.Connect(within(t), fc.Addrs()[:1], client.WithTLSConfig(fc.TLS()))
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close(context.Background())) }()
	waitFor(t, func() bool { return connectedTo(c, 2) && connectedTo(c, 3) })
	fc.Kill(1)
	fc.FailOver(1)
	p, err := c.Producer(within(t), "t")
	require.NoError(t, err)
	publish(t, p, 0, 0, 3)
	b, epoch := c.Leader("t", 0)
	require.Equal(t, fc.Leader("t", 0), b)
	require.Equal(t, protocol.Epoch(2), epoch)
}

func TestAdmin(t *testing.T) {
	fc := start(t, fakebroker.Config{})
	c := connect(t, fc)
	a, ctx := c.Admin(), within(t)
	topic, err := a.CreateTopic(ctx, "orders", client.TopicSpec{
		Partitions: 2, Replicas: 3, TopicConfig: client.TopicConfig{Retention: time.Hour},
	})
	require.NoError(t, err)
	require.Equal(t, "orders", topic.Name)
	require.Equal(t, time.Hour, topic.Config.Retention)
	_, err = a.CreateTopic(ctx, "orders", client.TopicSpec{})
	require.ErrorIs(t, err, client.ErrTopicExists)
	_, err = a.CreateTopic(ctx, "no/slash", client.TopicSpec{})
	require.ErrorIs(t, err, client.ErrInvalidName)

	p, err := c.Producer(ctx, "orders")
	require.NoError(t, err)
	publish(t, p, 1, 0, 7)
	s, err := c.Subscribe(ctx, "orders", "s", client.WithConsumerName("me"))
	require.NoError(t, err)
	require.NoError(t, s.Ack(receive(t, s, 7)...))
	require.NoError(t, s.Commit(ctx))
	waitFor(t, func() bool { return len(s.Assigned()) == 2 })
	subs, err := a.Subscriptions(ctx, "orders")
	require.NoError(t, err)
	require.Len(t, subs, 2)
	require.Equal(t, protocol.Offset(7), subs[1].Cursor)
	require.Equal(t, "me", subs[1].Active)

	altered, err := a.AlterTopic(ctx, "orders", client.TopicChange{
		Partitions: new(4), Retention: new(2 * time.Hour),
	})
	require.NoError(t, err)
	require.Len(t, altered.Partitions, 4)
	require.Equal(t, 2*time.Hour, altered.Config.Retention)

	altered, err = a.AlterTopic(ctx, "orders", client.TopicChange{Replicas: new(2)})
	require.NoError(t, err)
	require.Equal(t, 2, altered.Replicas)
	_, err = a.AlterTopic(ctx, "orders", client.TopicChange{Replicas: new(8)})
	require.ErrorContains(t, err, "allowed are 1 to 7")
	moves, err := a.Moves(ctx)
	require.NoError(t, err)
	require.Empty(t, moves)
	require.NoError(t, a.SetBrokerState(ctx, 2, protocol.BrokerLeaving))
	require.Equal(t, protocol.BrokerLeaving, c.Brokers()[1].State)
	require.Equal(t, "zone-2", c.Brokers()[1].Zone)
	moves, err = a.Moves(ctx)
	require.NoError(t, err)
	require.Equal(t, []client.Move{{ID: 2, Remove: 2}}, moves)
	require.ErrorContains(t, a.SetBrokerState(ctx, 9, protocol.BrokerDrained), "make broker 9 drained")
	level, err := a.RaiseLevel(ctx, 2)
	require.NoError(t, err)
	require.Equal(t, protocol.Level(2), level)
	level, err = a.RaiseLevel(ctx, 1)
	require.NoError(t, err)
	require.Equal(t, protocol.Level(2), level, "never lowered")
	plan, err := a.ClusterPlan(ctx)
	require.NoError(t, err)
	require.Equal(t, &client.Plan{
		Planner: 1, Next: []client.PlannedStep{{Action: "retire", Broker: 1, Reason: "it has left"}},
		Moves: []client.MoveProgress{{
			Move: client.Move{ID: 2, Remove: 2}, Leader: 1, Step: "promote", Since: 5 * time.Second, Last: 100, Match: 70,
		}},
	}, plan)

	fc.Kill(3)
	d, err := a.DescribeTopic(ctx, "orders")
	require.NoError(t, err)
	require.Len(t, d.Partitions, 4)
	require.Equal(t, protocol.Offset(7), d.Partitions[1].Next)
	require.Equal(t, fc.Leader("orders", 1), d.Partitions[1].Leader)
	require.Error(t, d.Partitions[1].States[2].Err)
	require.NoError(t, d.Partitions[1].States[0].Err)
	status, err := a.ClusterStatus(ctx)
	require.NoError(t, err)
	require.Len(t, status, 3)
	require.NoError(t, status[0].Err)
	require.Error(t, status[2].Err)
	plan, err = a.ClusterPlan(ctx)
	require.NoError(t, err)
	require.Equal(t, []protocol.BrokerID{3}, plan.Silent)

	list, err := a.ListTopics(ctx)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.NoError(t, a.DeleteTopic(ctx, "orders"))
	require.ErrorIs(t, a.DeleteTopic(ctx, "orders"), client.ErrTopicNotFound)
}
