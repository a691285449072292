package raftnet

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/pki"
	"github.com/trunkline/trunkline/protocol"
)

// stranger is a broker that no other has in its book, changed; it is not started.
func (c *cluster) stranger(change func(*Config)) *Network {
	c.t.Helper()
	cfg := c.config(9, 1)
	cfg.Listen, cfg.Peers = "127.0.0.1:0", nil
	if change != nil {
		change(&cfg)
	}
	n, err := New(cfg)
	require.NoError(c.t, err)
	c.t.Cleanup(func() { require.NoError(c.t, n.Close()) })
	return n
}

func TestJoin(t *testing.T) {
	c := newCluster(t, 2)
	cfg := c.config(1, 1)
	var asked atomic.Int64
	cfg.OnJoin = func(ctx context.Context, from PeerHello, request []byte) []byte {
		asked.Add(1)
		switch string(request) {
		case "large":
			return bytes.Repeat([]byte("x"), MaxJoinAnswer)
		case "too large":
			return make([]byte, MaxJoinAnswer+1)
		case "block":
			<-ctx.Done()
			return nil
		}
		return append([]byte{byte(from.Broker), from.DirID[1]}, request...)
	}
	cfg.CheckPeer = func(h PeerHello) *Reject {
		if h.DirID != dirID(h.Broker) {
			return &Reject{RejectRetired, "it was taken out"}
		}
		return nil
	}
	one := c.start(cfg)
	two := c.start(c.config(2, 1))
	nine := c.stranger(nil)

	answer, from, err := nine.Join(t.Context(), c.addrs[1], []byte("hello"))
	require.NoError(t, err)
	require.Equal(t, protocol.BrokerID(1), from)
	require.Equal(t, "\x09\x0dhello", string(answer))
	answer, _, err = two.Join(t.Context(), c.addrs[1], []byte("large"))
	require.NoError(t, err, "a peer may ask too")
	require.Len(t, answer, MaxJoinAnswer)
	_, _, err = nine.Join(t.Context(), c.addrs[1], []byte("too large"))
	require.Error(t, err)
	before := asked.Load()

	refusals := map[string]struct {
		addr string
		n    *Network
		code RejectCode
	}{
		"certificate of another": {c.addrs[1], c.stranger(func(cfg *Config) { cfg.TLS = c.source(pki.BrokerName(3)) }), RejectCertificate},
		"foreign cluster":        {c.addrs[1], c.stranger(func(cfg *Config) { cfg.ClusterID++ }), RejectForeignCluster},
		"retired":                {c.addrs[1], c.stranger(func(cfg *Config) { cfg.DirID[1]++ }), RejectRetired},
		"the other's own name":   {c.addrs[1], c.stranger(func(cfg *Config) { cfg.Self, cfg.TLS = 1, c.source(pki.BrokerName(1)) }), RejectWrongBroker},
		"nobody may join there":  {c.addrs[2], nine, RejectOther},
	}
	for name, r := range refusals {
		_, _, err := r.n.Join(t.Context(), r.addr, []byte("hello"))
		var reject *Reject
		require.ErrorAs(t, err, &reject, name)
		require.Equal(t, r.code, reject.Code, name)
	}
	_, _, err = nine.Join(t.Context(), nine.Addr(), nil)
	require.Error(t, err, "to itself")
	_, _, err = nine.Join(t.Context(), c.addrs[1], make([]byte, MaxJoinRequest+1))
	require.ErrorContains(t, err, "limit")
	picky := c.stranger(func(cfg *Config) {
		cfg.CheckPeer = func(PeerHello) *Reject { return &Reject{RejectWipedDirectory, "not that one"} }
	})
	_, _, err = picky.Join(t.Context(), c.addrs[1], nil)
	require.ErrorContains(t, err, "not that one", "the newcomer may refuse, too")
	require.Equal(t, before, asked.Load())

	for _, k := range []kind{kindRaft, kindSnapshot, kindLiveness, kindFetch} {
		_, err := nine.dial(t.Context(), c.addrs[1], 0, k, 0)
		require.ErrorContains(t, err, RejectUnknownBroker.String(), "a stranger may do nothing else")
	}
	one.quietAbout(t, "up 9.1")
}

func TestJoinsAreBounded(t *testing.T) {
	c := newCluster(t, 1)
	cfg := c.config(1, 1)
	block := make(chan struct{})
	cfg.OnJoin = func(ctx context.Context, _ PeerHello, request []byte) []byte {
		if len(request) > 0 {
			select {
			case <-block:
			case <-ctx.Done():
			}
		}
		return request
	}
	one := c.start(cfg)
	nine := c.stranger(nil)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	for range maxJoins + 1 {
		go func() {
			_, _, err := nine.Join(ctx, c.addrs[1], []byte("block"))
			failed <- err
		}()
	}
	var refused *Reject
	require.ErrorAs(t, <-failed, &refused)
	require.Equal(t, RejectBusy, refused.Code)
	cancel()
	for range maxJoins {
		require.ErrorIs(t, <-failed, context.Canceled)
	}
	close(block)
	eventually(t, func() bool {
		_, _, err := nine.Join(t.Context(), c.addrs[1], nil)
		return err == nil
	})
	eventually(t, func() bool { return len(one.joins) == 0 })
}

func TestARetiredBrokerIsToldForGood(t *testing.T) {
	c := newCluster(t, 2)
	cfg := c.config(1, 1)
	cfg.Peers = nil
	cfg.CheckPeer = func(h PeerHello) *Reject { return &Reject{RejectRetired, "broker 2 was taken out of the cluster"} }
	c.start(cfg)
	two := c.start(c.config(2, 1))
	r := recv(t, two.rejected)
	require.Equal(t, RejectRetired, r.Code)
	require.False(t, r.Code.Retryable())
	require.Contains(t, r.Reason, "taken out")
}
