package session

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/transport/transporttest"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

func ping(t *testing.T, ctl *lane) {
	t.Helper()
	ctl.t = t
	p := wire.Ping{Payload: bytes.Repeat([]byte{7}, protocol.MinPingBytes)}
	ctl.send(protocol.KindPing, &p)
	var pong wire.Ping
	ctl.want(protocol.KindPong, &pong)
	require.Equal(t, p, pong)
}

func TestHello(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Tokens = [][]byte{[]byte("first"), []byte("second")} })
	for name, x := range map[string]struct {
		hello wire.Hello
		code  protocol.Code
	}{
		"no token":     {wire.Hello{MinVersion: 1, MaxVersion: 1}, protocol.CodeUnauthorized},
		"wrong token":  {wire.Hello{MinVersion: 1, MaxVersion: 1, Token: []byte("third")}, protocol.CodeUnauthorized},
		"prefix":       {wire.Hello{MinVersion: 1, MaxVersion: 1, Token: []byte("firs")}, protocol.CodeUnauthorized},
		"too new":      {wire.Hello{MinVersion: 2, MaxVersion: 9, Token: []byte("first")}, protocol.CodeUnsupported},
		"no version":   {wire.Hello{Token: []byte("first")}, protocol.CodeUnsupported},
		"right":        {wire.Hello{MinVersion: 1, MaxVersion: 9, Token: []byte("second")}, 0},
		"future range": {wire.Hello{MinVersion: 0, MaxVersion: 1, Token: []byte("first")}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := w.dial()
			l := w.lane(c)
			l.t = t
			l.send(protocol.KindHello, &x.hello)
			if x.code != 0 {
				l.wantError(x.code)
				<-c.Context().Done()
				code, _ := transporttest.CloseCode(context.Cause(c.Context()))
				require.Equal(t, x.code, code)
				return
			}
			var ok wire.HelloOK
			l.want(protocol.KindHelloOK, &ok)
			require.EqualValues(t, 1, ok.Version)
			require.Equal(t, "test", ok.Cluster)
			require.EqualValues(t, protocol.MaxInFlightBatches, ok.MaxInFlightBatches)
			require.EqualValues(t, 500, ok.HeartbeatMillis)
			ping(t, l)
		})
	}
}

func TestNothingIsServedBeforeTheHello(t *testing.T) {
	w := newWorld(t, nil)
	c := w.dial()
	l := w.lane(c)
	l.send(protocol.KindRequest, &wire.Request{Metadata: &wire.MetadataRequest{}})
	l.wantError(protocol.CodeUnexpectedFrame)
	<-c.Context().Done()
	require.Zero(t, w.srv.Connections())
}

func TestSilentClientsAreDropped(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Limits.HelloTimeout = 200 * time.Millisecond
		c.Limits.Heartbeat, c.Limits.HeartbeatLost = 100*time.Millisecond, 600*time.Millisecond
	})
	mute := w.dial()
	<-mute.Context().Done()
	code, _ := transporttest.CloseCode(context.Cause(mute.Context()))
	require.Equal(t, protocol.CodeTimeout, code)

	half := w.dial()
	l := w.lane(half)
	_, err := l.Write([]byte{0, 0, 0})
	require.NoError(t, err)
	<-half.Context().Done()

	quiet, _ := w.connect()
	lively, ctl := w.connect()
	began := time.Now()
	for quiet.Context().Err() == nil {
		ping(t, ctl)
		select {
		case <-quiet.Context().Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	require.Less(t, time.Since(began), patience)
	code, _ = transporttest.CloseCode(context.Cause(quiet.Context()))
	require.Equal(t, protocol.CodeHeartbeatLost, code)
	require.NoError(t, lively.Context().Err())
}

func TestMetadataAndLeadersArePushed(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Alive = func(b protocol.BrokerID) bool { return b == 1 } })
	_, ctl := w.connect()
	ctl.send(protocol.KindMetadataSubscribe, &wire.MetadataSubscribe{})
	var m wire.Metadata
	ctl.want(protocol.KindMetadata, &m)
	require.EqualValues(t, 1, m.Version)
	require.True(t, m.Brokers[0].Alive)
	require.False(t, m.Brokers[1].Alive)
	require.EqualValues(t, 2, m.Topics[0].Partitions[3].Leader)
	require.EqualValues(t, 9, m.Topics[0].Partitions[3].Epoch)
	var lc wire.LeaderChange
	ctl.want(protocol.KindLeaderChange, &lc)
	require.Equal(t, []wire.Leader{{Topic: 1, Partition: 3, Leader: 2, Epoch: 9}}, lc.Leaders)

	w.leaders.observe(wire.Leader{Topic: 1, Partition: 0, Leader: 1, Epoch: 2})
	ctl.want(protocol.KindLeaderChange, &lc)
	require.EqualValues(t, 2, lc.Leaders[0].Epoch)
	ping(t, ctl)

	for i := range 5 { // several changes, one image or few
		w.meta.add(wire.TopicInfo{ID: protocol.TopicID(50 + i), Name: "n"})
	}
	for m.Version < 6 {
		m = wire.Metadata{}
		ctl.want(protocol.KindMetadata, &m)
	}
	require.Len(t, m.Topics, 6)
	w.srv.Refresh()
	ctl.want(protocol.KindMetadata, &m)
	require.Zero(t, w.meta.Metadata().Topics[0].Partitions[3].Leader, "the shared image is not written to")
}

func TestManyLeadersFitTheirFrames(t *testing.T) {
	many := make([]wire.Leader, 10_000)
	for i := range many {
		many[i] = wire.Leader{Topic: 1<<64 - 1, Partition: 1<<32 - 1, Leader: 1<<64 - 1, Epoch: 1<<64 - 1}
	}
	r, n := frame.NewReader(bytes.NewReader(appendLeaders(nil, many))), 0
	for {
		k, body, err := r.Next()
		if err != nil {
			break
		}
		require.Equal(t, protocol.KindLeaderChange, k)
		var lc wire.LeaderChange
		require.NoError(t, lc.Decode(body))
		n += len(lc.Leaders)
	}
	require.Equal(t, len(many), n)
}

func TestDrainAndClose(t *testing.T) {
	w := newWorld(t, nil)
	c, ctl := w.connect()
	p := w.produce(c, tp0, 7)
	sub := w.subscribe(c, tp0, "a")
	w.srv.Drain(3 * time.Second)
	var g wire.GoAway
	ctl.want(protocol.KindGoAway, &g)
	require.EqualValues(t, 3000, g.GraceMillis)
	p.batch(7, 0, 1, 1)
	require.Zero(t, p.wantAck().Code, "streams go on while draining")
	late := w.dial()
	l := w.lane(late)
	l.send(protocol.KindHello, &hello)
	l.wantError(protocol.CodeShuttingDown)

	closed := make(chan struct{})
	go func() { defer close(closed); w.srv.Close() }()
	p.wantError(protocol.CodeShuttingDown)
	sub.skipTo(protocol.KindError)
	ctl.wantError(protocol.CodeShuttingDown)
	<-closed
	<-c.Context().Done()
	code, _ := transporttest.CloseCode(context.Cause(c.Context()))
	require.Equal(t, protocol.CodeShuttingDown, code)
	w.srv.Close()
	require.Zero(t, w.srv.Connections())
}

func TestGoodbye(t *testing.T) {
	w := newWorld(t, nil)
	c, ctl := w.connect()
	require.NoError(t, ctl.Close())
	<-c.Context().Done()
	code, _ := transporttest.CloseCode(context.Cause(c.Context()))
	require.Equal(t, protocol.CodeClosing, code)
}

func TestBadControlFrames(t *testing.T) {
	w := newWorld(t, nil)
	for _, b := range [][]byte{
		wire.AppendFrame(nil, protocol.KindHello, &hello), // a second one
		frame.Append(nil, protocol.KindPing, []byte{0xc1}),
		frame.AppendHeader(nil, protocol.KindPing, 10_000),
		frame.AppendHeader(nil, protocol.KindProduce, protocol.MaxBatchBytesLimit), // not to be waited for
	} {
		c, ctl := w.connect()
		_, err := ctl.Write(b)
		require.NoError(t, err)
		var e wire.Error
		ctl.want(protocol.KindError, &e)
		<-c.Context().Done()
		code, _ := transporttest.CloseCode(context.Cause(c.Context()))
		require.Equal(t, e.Code, code)
	}
}
