package cluster

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Ports are taken below the kernel's ephemeral range (32768 and up), or a client's socket might hold the
// port of a broker that was killed when it starts again.
const (
	portLow  = 15000
	portHigh = 32000
)

// Ports of a broker that has a host for itself.
const (
	ownPort      = "7400"
	ownRaftPort  = "7401"
	ownAdminPort = "7402"
)

// allocate picks addresses for the brokers from first on, and what stands before them.
func allocate(spec Spec, first int) ([]Broker, error) {
	var held []io.Closer
	defer func() {
		for _, h := range held {
			_ = h.Close()
		}
	}()
	take := func(network string) (string, error) {
		for range 1000 {
			addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(portLow+rand.IntN(portHigh-portLow)))
			h, err := hold(network, addr)
			if err == nil {
				held = append(held, h)
				return addr, nil
			}
		}
		return "", fmt.Errorf("no free %s port between %d and %d on 127.0.0.1", network, portLow, portHigh)
	}
	brokers := make([]Broker, spec.Brokers)
	for i := range brokers {
		b := &brokers[i]
		b.ID = first + i
		if place := (&state{Places: spec.Places}).place(b.ID); place.Host != "" {
			host := place.Host
			b.Listen, b.Raft, b.Admin = net.JoinHostPort(host, ownPort), net.JoinHostPort(host, ownRaftPort), net.JoinHostPort(host, ownAdminPort)
			continue
		}
		var errs [3]error
		b.Listen, errs[0] = take("udp")
		b.Raft, errs[1] = take("tcp")
		b.Admin, errs[2] = take("tcp")
		if err := errors.Join(errs[:]...); err != nil {
			return nil, err
		}
	}
	return brokers, front(spec, brokers)
}

// front asks what stands before each broker.
func front(spec Spec, brokers []Broker) error {
	if spec.Front == nil {
		return nil
	}
	for i := range brokers {
		b := &brokers[i]
		var err error
		if b.FrontListen, b.FrontRaft, err = spec.Front(*b); err != nil {
			return fmt.Errorf("in front of broker %d: %w", b.ID, err)
		}
	}
	return nil
}

func hold(network, addr string) (io.Closer, error) {
	if network == "udp" {
		return net.ListenPacket(network, addr) //nolint:noctx // a bind does not block
	}
	return net.Listen(network, addr) //nolint:noctx // a bind does not block
}

// pki returns the directory of the cluster's development certificates.
func (c *Cluster) pki() string { return filepath.Join(c.dir, "pki") }

// member returns a broker as others reach it.
func (b *Broker) member() map[string]any {
	return map[string]any{
		"id": b.ID, "listen": cmp.Or(b.FrontListen, b.Listen), "raft": cmp.Or(b.FrontRaft, b.Raft), "admin": b.Admin,
	}
}

// writeFiles writes context.json and the configurations of the brokers that found the cluster.
func (c *Cluster) writeFiles() error {
	var members []map[string]any
	for i := range c.state.Brokers {
		members = append(members, c.state.Brokers[i].member())
	}
	for i := range c.state.Brokers {
		if err := c.writeBroker(&c.state.Brokers[i], map[string]any{"members": members}); err != nil {
			return err
		}
	}
	return c.writeContext()
}

// writeContext writes the file for clients, which names all brokers.
func (c *Cluster) writeContext() error {
	var addrs []string
	for _, b := range c.state.Brokers {
		addrs = append(addrs, cmp.Or(b.FrontListen, b.Listen))
	}
	text, err := json.MarshalIndent(map[string]any{"brokers": addrs, "ca": filepath.Join(c.pki(), "ca.pem")}, "", "  ")
	if err != nil {
		return fmt.Errorf("context: %w", err)
	}
	if err := os.WriteFile(c.state.Context, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("context: %w", err)
	}
	return nil
}

// writeBroker writes the configuration of one broker, with more keys than all have.
func (c *Cluster) writeBroker(b *Broker, more map[string]any) error {
	dir := c.brokerDir(b.ID)
	conf := map[string]any{
		"cluster": "local", "broker": b.ID, "data_dir": filepath.Join(dir, "data"),
		"listen": b.Listen, "raft_listen": b.Raft, "tls": map[string]any{"dev_dir": c.pki()},
	}
	maps.Copy(conf, more)
	for _, key := range slices.Sorted(maps.Keys(c.state.Config)) {
		setKey(conf, key, c.state.Config[key])
	}
	text, err := yaml.Marshal(conf)
	if err != nil {
		return fmt.Errorf("broker %d: %w", b.ID, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("broker %d: %w", b.ID, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "trunkline.yaml"), text, 0o600); err != nil {
		return fmt.Errorf("broker %d: %w", b.ID, err)
	}
	return nil
}

// setKey sets "a.b" in nested maps.
func setKey(conf map[string]any, key, value string) {
	for {
		head, rest, nested := strings.Cut(key, ".")
		if !nested {
			conf[head] = yamlScalar(value)
			return
		}
		sub, ok := conf[head].(map[string]any)
		if !ok {
			sub = map[string]any{}
			conf[head] = sub
		}
		conf, key = sub, rest
	}
}

// yamlScalar lets numbers stay numbers in the file.
func yamlScalar(s string) any {
	var v any
	if yaml.Unmarshal([]byte(s), &v) != nil {
		return s
	}
	return v
}
