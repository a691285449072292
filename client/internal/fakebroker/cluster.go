package fakebroker

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
	"github.com/trunkline/trunkline/protocol/wire"
)

// Action is what a fault makes of a batch.
type Action uint8

// The actions.
const (
	Append       Action = iota // as a broker should
	Refuse                     // do not append; answer with Fault.Code and end the stream
	RefuseStream               // do not append; end the stream with Fault.Code instead of answering
	Swallow                    // do not append, do not answer, break the stream
	LoseAck                    // append, then break the stream instead of answering
	LoseConn                   // append, then break the whole connection
	AppendRefuse               // append, but answer with Fault.Code
	Panic                      // append, then end the connection as a broker does that panicked over it
)

// Fault is an action with its code.
type Fault struct {
	Action Action
	Code   protocol.Code
}

// Config configures a Cluster.
type Config struct {
	Nodes int
	// Produce is asked about every batch that a leader reads. Called without locks. May be nil.
	Produce func(tp protocol.TopicPartition, h batch.Header) Fault
	// Lagging makes NotLeader answers come without a hint.
	Lagging bool
	// Heartbeat is told to clients; default 500 ms.
	Heartbeat time.Duration
	// MaxRecordBytes is told to clients; default the protocol's.
	MaxRecordBytes uint32
	// MaxBatchBytes is told to clients and kept; default the protocol's.
	MaxBatchBytes uint32
	// MaxStreams bounds the streams of one connection, its control stream included; default 4096.
	MaxStreams int64
	// Dialled is told of every handshake whether the client showed a token of this node. May be nil.
	Dialled func(known bool)
	// Subscribed is told of every client that asked a node for its images. May be nil.
	Subscribed func(id protocol.BrokerID)
}

// Cluster is a set of nodes and what they share.
type Cluster struct {
	cfg    Config
	ca     []byte
	server *tls.Config

	mu        sync.Mutex // guards the following
	nodes     map[protocol.BrokerID]*node
	version   uint64
	topics    map[string]*topic
	nextTopic protocol.TopicID
	producers map[string]*wire.InitProducerOK
	nextID    protocol.ProducerID
	requests  map[uint64]string
	states    map[protocol.BrokerID]protocol.BrokerState // active if missing
	level     protocol.Level                             // of the cluster
}

type topic struct {
	id       protocol.TopicID
	name     string
	config   wire.TopicConfig
	replicas uint32
	parts    []*part
}

// New starts the nodes.
func New(cfg Config) (*Cluster, error) {
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = 500 * time.Millisecond
	}
	if cfg.MaxRecordBytes == 0 {
		cfg.MaxRecordBytes = protocol.DefaultMaxRecordBytes
	}
	if cfg.MaxBatchBytes == 0 {
		cfg.MaxBatchBytes = protocol.DefaultMaxBatchBytes
	}
	if cfg.MaxStreams == 0 {
		cfg.MaxStreams = 4096
	}
	c := &Cluster{
		cfg: cfg, nodes: make(map[protocol.BrokerID]*node), topics: make(map[string]*topic),
		producers: make(map[string]*wire.InitProducerOK), requests: make(map[uint64]string), states: make(map[protocol.BrokerID]protocol.BrokerState),
	}
	if err := c.certify(); err != nil {
		return nil, err
	}
	for i := 1; i <= cfg.Nodes; i++ {
		n := &node{c: c, id: protocol.BrokerID(i)}
		if err := n.listen("127.0.0.1:0"); err != nil {
			c.Close()
			return nil, err
		}
		c.nodes[n.id] = n
	}
	return c, nil
}

// certify makes a certificate for loopback that is its own authority.
func (c *Cluster) certify() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fakebroker"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	if err != nil {
		return err
	}
	c.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	c.server = &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		NextProtos:   []string{protocol.ALPN}, MinVersion: tls.VersionTLS13,
	}
	return nil
}

// CA returns the certificate authority in PEM.
func (c *Cluster) CA() []byte { return c.ca }

// TLS returns a client's configuration that trusts the nodes.
func (c *Cluster) TLS() *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(c.ca)
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}
}

// Addrs returns the nodes' addresses in the order of their IDs.
func (c *Cluster) Addrs() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []string
	for _, id := range slices.Sorted(maps.Keys(c.nodes)) {
		list = append(list, c.nodes[id].addr)
	}
	return list
}

// Close kills all nodes and waits for their goroutines.
func (c *Cluster) Close() {
	for id := range c.snapshot() {
		c.Kill(id)
	}
}

func (c *Cluster) snapshot() map[protocol.BrokerID]*node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.nodes)
}

func (c *Cluster) node(id protocol.BrokerID) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[id]
}

// Kill ends a node as SIGKILL does: no word to anybody, and its port is closed.
func (c *Cluster) Kill(id protocol.BrokerID) { c.node(id).kill() }

// Restart starts a killed node again at its old address.
func (c *Cluster) Restart(id protocol.BrokerID) error {
	n := c.node(id)
	return n.listen(n.addr)
}

// Stop makes a node deaf and dumb, as SIGSTOP does.
func (c *Cluster) Stop(id protocol.BrokerID) { c.node(id).stopped.Store(true) }

// Continue undoes Stop.
func (c *Cluster) Continue(id protocol.BrokerID) { c.node(id).stopped.Store(false) }

// Blank makes a node know nothing of the cluster, as a broker that has just started, or the opposite, which it pushes.
func (c *Cluster) Blank(id protocol.BrokerID, blank bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[id]
	n.blank = blank
	n.push(wire.AppendFrame(nil, protocol.KindMetadata, c.image(n)))
}

// DropConns breaks all connections of a node, which goes on.
func (c *Cluster) DropConns(id protocol.BrokerID) { c.node(id).dropConns() }

// CreateTopic creates a topic with partitions led by the nodes in turn.
func (c *Cluster) CreateTopic(name string, partitions int) protocol.TopicID {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.createTopic(name, partitions)
	c.publish()
	return t.id
}

func (c *Cluster) createTopic(name string, partitions int) *topic {
	c.nextTopic++
	t := &topic{id: c.nextTopic, name: name}
	c.topics[name] = t
	c.grow(t, partitions)
	return t
}

func (c *Cluster) grow(t *topic, partitions int) {
	ids := slices.Sorted(maps.Keys(c.nodes))
	for i := len(t.parts); i < partitions; i++ {
		tp := protocol.TopicPartition{Topic: t.id, Partition: protocol.Partition(i)}
		t.parts = append(t.parts, newPart(c, tp, ids[i%len(ids)]))
	}
}

// AddPartitions grows a topic.
func (c *Cluster) AddPartitions(name string, partitions int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.grow(c.topics[name], partitions)
	c.publish()
}

// DeleteTopic deletes a topic.
func (c *Cluster) DeleteTopic(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deleteTopic(name)
}

func (c *Cluster) deleteTopic(name string) {
	t := c.topics[name]
	delete(c.topics, name)
	for _, p := range t.parts {
		p.lead(0, p.epoch)
	}
	c.publish()
}

// publish counts a version and pushes the image. Called with mu held.
func (c *Cluster) publish() {
	c.version++
	for _, n := range c.nodes {
		n.push(wire.AppendFrame(nil, protocol.KindMetadata, c.image(n)))
	}
}

// image is the present metadata as a node knows it. Called with mu held.
func (c *Cluster) image(n *node) *wire.Metadata {
	if n.blank {
		return &wire.Metadata{}
	}
	m := &wire.Metadata{Version: c.version}
	ids := slices.Sorted(maps.Keys(c.nodes))
	for _, id := range ids {
		m.Brokers = append(m.Brokers, wire.BrokerInfo{
			ID: id, Listen: c.nodes[id].addr, Alive: true, Zone: fmt.Sprintf("zone-%d", id),
			State: cmp.Or(c.states[id], protocol.BrokerActive),
		})
	}
	for _, name := range slices.Sorted(maps.Keys(c.topics)) {
		m.Topics = append(m.Topics, *c.info(c.topics[name], ids))
	}
	return m
}

func (c *Cluster) info(t *topic, ids []protocol.BrokerID) *wire.TopicInfo {
	info := &wire.TopicInfo{ID: t.id, Name: t.name, Config: t.config, Replicas: t.replicas}
	for _, p := range t.parts {
		info.Partitions = append(info.Partitions, wire.PartitionInfo{
			Partition: p.tp.Partition, Replicas: ids, Leader: p.leader, Epoch: p.epoch,
		})
	}
	return info
}

// part finds a partition. Called with mu held.
func (c *Cluster) part(tp protocol.TopicPartition) *part {
	for _, t := range c.topics {
		if t.id == tp.Topic && int(tp.Partition) < len(t.parts) {
			return t.parts[tp.Partition]
		}
	}
	return nil
}

// Leader returns who leads a partition.
func (c *Cluster) Leader(topic string, p protocol.Partition) protocol.BrokerID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.topics[topic].parts[p].leader
}

// Move gives a partition another leader under the next epoch. announce pushes it to all clients of
// living nodes; without it they learn it from refusals.
func (c *Cluster) Move(topic string, p protocol.Partition, to protocol.BrokerID, announce bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	part := c.topics[topic].parts[p]
	part.lead(to, part.epoch+1)
	if announce {
		c.announce(part)
	}
}

// announce pushes a leader. Called with mu held.
func (c *Cluster) announce(parts ...*part) {
	var m wire.LeaderChange
	for _, p := range parts {
		m.Leaders = append(m.Leaders, wire.Leader{
			Topic: p.tp.Topic, Partition: p.tp.Partition, Leader: p.leader, Epoch: p.epoch,
		})
	}
	frame := wire.AppendFrame(nil, protocol.KindLeaderChange, &m)
	for _, n := range c.nodes {
		n.push(frame)
	}
}

// FailOver gives everything that a node leads to the others in turn, and pushes it.
func (c *Cluster) FailOver(from protocol.BrokerID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var to []protocol.BrokerID
	for _, id := range slices.Sorted(maps.Keys(c.nodes)) {
		if id != from && c.nodes[id].up() {
			to = append(to, id)
		}
	}
	var moved []*part
	for _, t := range c.topics {
		for _, p := range t.parts {
			if p.leader == from && len(to) > 0 {
				p.lead(to[len(moved)%len(to)], p.epoch+1)
				moved = append(moved, p)
			}
		}
	}
	c.announce(moved...)
}

// Entry is one record of a log.
type Entry struct {
	Offset   protocol.Offset
	Producer protocol.ProducerID
	Epoch    protocol.ProducerEpoch
	Sequence protocol.Sequence
	Key      string
	Value    string
}

// Log returns the records of a partition.
func (c *Cluster) Log(topic string, p protocol.Partition) []Entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []Entry
	for _, b := range c.topics[topic].parts[p].log {
		it, err := batch.Records(b, batch.ReadOptions{})
		if err != nil {
			panic(fmt.Sprintf("fakebroker: unreadable batch in the log: %v", err))
		}
		h := it.Header()
		for i := protocol.Offset(0); ; i++ {
			r, ok := it.Next()
			if !ok {
				break
			}
			list = append(list, Entry{
				Offset: h.BaseOffset + i, Producer: h.Producer, Epoch: h.ProducerEpoch,
				Sequence: h.BaseSequence + protocol.Sequence(i), Key: string(r.Key), Value: string(r.Value),
			})
		}
	}
	return list
}

// Append puts a batch into a partition's log as it is: nobody checks the records in it.
func (c *Cluster) Append(topic string, p protocol.Partition, b []byte) error {
	h, err := batch.ParseHeader(b)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _, err = c.topics[topic].parts[p].append(b, h)
	return err
}

// Forget makes a partition forget all anonymous producers.
func (c *Cluster) Forget(topic string, p protocol.Partition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	part := c.topics[topic].parts[p]
	maps.DeleteFunc(part.producers, func(id protocol.ProducerID, _ *producer) bool { return !id.Named() })
}

// Truncate removes whole batches below an offset, as retention does.
func (c *Cluster) Truncate(topic string, p protocol.Partition, below protocol.Offset) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.topics[topic].parts[p].truncate(below)
}

// Cursor returns a subscription's committed position and newest activation.
func (c *Cluster) Cursor(topic string, p protocol.Partition, sub string) (protocol.Offset, protocol.Activation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.topics[topic].parts[p].subs[sub]
	if !ok {
		return 0, 0
	}
	return s.cursor, s.activation
}
