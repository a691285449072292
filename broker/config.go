package broker

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline/trunkline/broker/internal/controller"
	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/planner"
	"github.com/trunkline/trunkline/protocol"
)

// Default ports of a broker.
const (
	DefaultPort      = 7400 // UDP: clients over QUIC
	DefaultRaftPort  = 7401 // TCP: brokers
	DefaultAdminPort = 7402 // TCP: admin HTTP
)

// MaxMembers bounds the initial members of a cluster: each of them votes in the metadata shard.
const MaxMembers = 7

// Config is everything a broker can be told. The zero value of a field means its default, which
// WithDefaults fills in. Keys of the YAML file are the yaml tags; see Load for environment and flags.
type Config struct {
	Cluster string            `yaml:"cluster" doc:"name of the cluster; brokers of another name are refused"`
	Broker  protocol.BrokerID `yaml:"broker" doc:"ID of this broker, unique in the cluster, at least 1"`
	DataDir string            `yaml:"data_dir" doc:"directory of everything this broker stores"`
	Members []Member          `yaml:"members" doc:"the brokers that form the cluster at its first start"`

	Join []string `yaml:"join" doc:"Raft addresses of brokers of a running cluster that this one joins at its first start; members then names this broker alone"`
	Zone string   `yaml:"zone" doc:"rack or zone of this broker; replicas of a partition are spread over zones"`

	Listen      string `yaml:"listen" doc:"UDP address to bind for clients; default: this member's listen"`
	RaftListen  string `yaml:"raft_listen" doc:"TCP address to bind for brokers; default: this member's raft"`
	AdminListen string `yaml:"admin_listen" doc:"TCP address to bind for admin HTTP; default: this member's admin"`

	TLS    TLSConfig    `yaml:"tls"`
	Auth   AuthConfig   `yaml:"auth"`
	Limits LimitsConfig `yaml:"limits"`
	Log    LogConfig    `yaml:"log"`
	Raft   RaftConfig   `yaml:"raft"`
	Topics TopicsConfig `yaml:"topics"`
	Moves  MovesConfig  `yaml:"moves"`

	// Logger and Registerer are for programs that embed a broker; they have no key. nil means: made from Log,
	// and a registry of the broker's own. A Registerer is for one broker at a time.
	Logger     *slog.Logger         `yaml:"-"`
	Registerer *prometheus.Registry `yaml:"-"`

	levels protocol.Levels `yaml:"-"` // that the broker understands; only tests set others than meta.Understood
}

// Member is one initial member, by the addresses at which others reach it.
type Member struct {
	ID     protocol.BrokerID `yaml:"id"`
	Listen string            `yaml:"listen"` // host:port, UDP
	Raft   string            `yaml:"raft"`   // host:port, TCP
	Admin  string            `yaml:"admin"`  // host:port, TCP
}

// TLSConfig names certificates. With everything empty a development CA is made in DevDir.
type TLSConfig struct {
	DevDir   string `yaml:"dev_dir" doc:"directory of the development CA, shared by local brokers; default: DATA_DIR/pki"`
	CA       string `yaml:"ca" doc:"PEM file of the CA that signed the certificates of all brokers"`
	Cert     string `yaml:"cert" doc:"PEM file of this broker's certificate (server and client usage)"`
	Key      string `yaml:"key" doc:"PEM file of its key"`
	ClientCA string `yaml:"client_ca" doc:"PEM file; if set, clients must present a certificate of this CA"`
}

// AuthConfig says who may connect.
type AuthConfig struct {
	TokensFile string `yaml:"tokens_file" doc:"file with one client token per line; if set, clients must send one"`
}

// LimitsConfig bounds what clients may ask for.
type LimitsConfig struct {
	MaxRecord        Bytes `yaml:"max_record" doc:"largest record"`
	MaxBatch         Bytes `yaml:"max_batch" doc:"largest record batch"`
	MaxConnections   int   `yaml:"max_connections" doc:"client connections of this broker"`
	HandshakeRate    int   `yaml:"handshake_rate" doc:"handshakes a second of clients that are new; 0: 50 a processor"`
	MaxStreams       int   `yaml:"max_streams" doc:"concurrent streams of one connection"`
	ConnInFlight     Bytes `yaml:"connection_in_flight" doc:"unacknowledged publish bytes of one connection"`
	PartitionPending Bytes `yaml:"partition_pending" doc:"publish bytes waiting in one partition"`
	TailCache        Bytes `yaml:"tail_cache" doc:"memory for the newest records of all partitions together"`
	DiskReserve      Bytes `yaml:"disk_reserve" doc:"publishes are refused when less disk is free"`
}

// LogConfig shapes the log on standard error.
type LogConfig struct {
	Level  string `yaml:"level" doc:"debug, info, warn or error"`
	Format string `yaml:"format" doc:"text or json"`
}

// RaftConfig tunes replication. The defaults suit a local network.
type RaftConfig struct {
	Tick         time.Duration `yaml:"tick" doc:"Raft clock; elections time out after 5 ticks, only a backstop for liveness"`
	SilentAfter  time.Duration `yaml:"silent_after" doc:"a broker not heard for so long by a majority loses its leaderships"`
	CompactBytes Bytes         `yaml:"compact_bytes" doc:"Raft log bytes of one partition between compactions"`
	SnapshotRate Bytes         `yaml:"snapshot_rate" doc:"bytes a second sent when bringing up a replica"`
}

// TopicsConfig has the defaults of new topics, and how their records are kept.
type TopicsConfig struct {
	SegmentBytes Bytes         `yaml:"segment_bytes" doc:"size of a log segment file"`
	RetainEvery  time.Duration `yaml:"retain_every" doc:"how often leaders apply retention"`
	ScrubEvery   time.Duration `yaml:"scrub_every" doc:"how often all sealed segments are read and checked for damage"`
	ScrubRate    Bytes         `yaml:"scrub_rate" doc:"bytes a second read for that"`
}

// MovesConfig bounds how replicas are moved. The broker that leads the metadata decides, so all should have the same.
type MovesConfig struct {
	Concurrent  int           `yaml:"concurrent" doc:"moves under way in the whole cluster"`
	PerBroker   int           `yaml:"per_broker" doc:"moves under way into one broker, and out of one"`
	Rate        Bytes         `yaml:"rate" doc:"bytes a second that a broker sends for moves that repair nothing"`
	RepairAfter time.Duration `yaml:"repair_after" doc:"replicas of a broker dead for so long are made anew on others"`
	KeepLeaders bool          `yaml:"keep_leaders" doc:"leaderships stay where they went, they do not return to preferred brokers"`
	CalmAfter   time.Duration `yaml:"calm_after" doc:"nothing is moved for balance before all brokers have been alive for so long"`
}

func (m *MovesConfig) limits() planner.Limits {
	return planner.Limits{Concurrent: m.Concurrent, PerBroker: m.PerBroker, RepairAfter: m.RepairAfter, CalmAfter: m.CalmAfter}
}

// WithDefaults returns c with every unset field set.
func (c Config) WithDefaults() Config {
	if len(c.Join) == 0 {
		c.Join = nil // an empty list says the same
	}
	setDefault(&c.Cluster, "trunkline")
	setDefault(&c.levels, meta.Understood())
	setDefault(&c.Broker, 1)
	setDefault(&c.DataDir, "trunkline-data")
	if len(c.Members) == 0 {
		m := Member{ID: c.Broker, Listen: c.Listen, Raft: c.RaftListen, Admin: c.AdminListen}
		setDefault(&m.Listen, hostPort("127.0.0.1", DefaultPort))
		setDefault(&m.Raft, hostPort("127.0.0.1", DefaultRaftPort))
		setDefault(&m.Admin, hostPort("127.0.0.1", DefaultAdminPort))
		c.Members = []Member{m}
	}
	if len(c.Join) == 0 {
		c.Join = nil
	}
	if self, ok := c.Self(); ok {
		setDefault(&c.Listen, self.Listen)
		setDefault(&c.RaftListen, self.Raft)
		setDefault(&c.AdminListen, self.Admin)
	}
	if c.TLS.CA == "" && c.TLS.DevDir == "" {
		c.TLS.DevDir = c.DataDir + "/pki"
	}
	setDefault(&c.Limits.MaxRecord, protocol.DefaultMaxRecordBytes)
	setDefault(&c.Limits.MaxBatch, protocol.DefaultMaxBatchBytes)
	setDefault(&c.Limits.MaxConnections, 10_000)
	setDefault(&c.Limits.MaxStreams, 4096)
	setDefault(&c.Limits.ConnInFlight, 32<<20)
	setDefault(&c.Limits.PartitionPending, 8<<20)
	setDefault(&c.Limits.TailCache, 64<<20)
	setDefault(&c.Limits.DiskReserve, 512<<20)
	setDefault(&c.Log.Level, "info")
	setDefault(&c.Log.Format, "text")
	setDefault(&c.Raft.Tick, 500*time.Millisecond)
	setDefault(&c.Raft.SilentAfter, 400*time.Millisecond)
	setDefault(&c.Raft.CompactBytes, 64<<20)
	setDefault(&c.Raft.SnapshotRate, 64<<20)
	setDefault(&c.Topics.SegmentBytes, 64<<20)
	setDefault(&c.Topics.RetainEvery, 30*time.Second)
	setDefault(&c.Topics.ScrubEvery, controller.DefaultScrubEvery)
	setDefault(&c.Topics.ScrubRate, controller.DefaultScrubRate)
	setDefault(&c.Moves.Concurrent, 8)
	setDefault(&c.Moves.PerBroker, 2)
	setDefault(&c.Moves.Rate, controller.DefaultMoveRate)
	setDefault(&c.Moves.RepairAfter, 10*time.Minute)
	setDefault(&c.Moves.CalmAfter, 10*time.Second)
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func hostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// Self returns the member entry of this broker.
func (c Config) Self() (Member, bool) {
	for _, m := range c.Members {
		if m.ID == c.Broker {
			return m, true
		}
	}
	return Member{}, false
}

// KeyError says which key of the configuration is wrong and why.
type KeyError struct {
	Key    string
	Reason string
}

func (e *KeyError) Error() string { return "configuration: " + e.Key + ": " + e.Reason }

func keyErrorf(key, format string, args ...any) error {
	return &KeyError{Key: key, Reason: fmt.Sprintf(format, args...)}
}

// Validate reports everything that is wrong with a configuration that has its defaults.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, key, format string, args ...any) {
		if !ok {
			errs = append(errs, keyErrorf(key, format, args...))
		}
	}
	check(protocol.ValidName(c.Cluster), "cluster", "%q is not a name (letters, digits, '.', '_', '-')", c.Cluster)
	errs = append(errs, c.validateMembers()...)
	for _, a := range []struct{ key, addr string }{
		{"listen", c.Listen}, {"raft_listen", c.RaftListen}, {"admin_listen", c.AdminListen},
	} {
		if err := checkAddr(a.addr); err != nil {
			errs = append(errs, keyErrorf(a.key, "%v", err))
		}
	}
	t := c.TLS
	own := t.CA != "" || t.Cert != "" || t.Key != ""
	check(!own || (t.CA != "" && t.Cert != "" && t.Key != ""), "tls", "ca, cert and key belong together: set all three or none")
	check(!own || t.DevDir == "", "tls.dev_dir", "contradicts tls.ca: development certificates are not made when own ones are configured")
	l := c.Limits
	check(l.MaxRecord > 0 && l.MaxRecord <= l.MaxBatch, "limits.max_record", "%v must be above 0 and at most limits.max_batch (%v)", l.MaxRecord, l.MaxBatch)
	check(l.MaxBatch <= protocol.MaxBatchBytesLimit, "limits.max_batch", "%v is above the protocol's %v", l.MaxBatch, Bytes(protocol.MaxBatchBytesLimit))
	check(l.MaxConnections > 0, "limits.max_connections", "must be above 0")
	check(l.HandshakeRate >= 0, "limits.handshake_rate", "must not be negative; 0 is %d for each processor", handshakesPerProcessor)
	check(l.MaxStreams > 1, "limits.max_streams", "must be above 1: the control stream counts")
	check(l.ConnInFlight >= l.MaxBatch, "limits.connection_in_flight", "%v must be at least limits.max_batch (%v)", l.ConnInFlight, l.MaxBatch)
	check(l.PartitionPending >= l.MaxBatch, "limits.partition_pending", "%v must be at least limits.max_batch (%v)", l.PartitionPending, l.MaxBatch)
	check(l.TailCache > 0, "limits.tail_cache", "must be above 0")
	check(l.DiskReserve > 0, "limits.disk_reserve", "must be above 0: a full disk stops every partition of the broker")
	var level slog.Level
	check(level.UnmarshalText([]byte(c.Log.Level)) == nil, "log.level", "%q is none of debug, info, warn, error", c.Log.Level)
	check(c.Log.Format == "text" || c.Log.Format == "json", "log.format", "%q is neither text nor json", c.Log.Format)
	check(c.Raft.Tick >= 10*time.Millisecond && c.Raft.Tick <= time.Second, "raft.tick", "%v is outside 10ms to 1s", c.Raft.Tick)
	check(c.Raft.SilentAfter >= 100*time.Millisecond && c.Raft.SilentAfter < 5*c.Raft.Tick, "raft.silent_after",
		"%v must be at least 100ms and below 5 ticks (%v), the election timeout it comes before", c.Raft.SilentAfter, 5*c.Raft.Tick)
	check(c.Raft.CompactBytes >= 1<<20, "raft.compact_bytes", "%v is below 1MiB", c.Raft.CompactBytes)
	check(c.Raft.SnapshotRate >= 1<<20, "raft.snapshot_rate", "%v is below 1MiB a second", c.Raft.SnapshotRate)
	check(c.Topics.SegmentBytes >= l.MaxBatch, "topics.segment_bytes", "%v is below limits.max_batch (%v): a batch never crosses a segment", c.Topics.SegmentBytes, l.MaxBatch)
	check(c.Topics.RetainEvery >= 100*time.Millisecond, "topics.retain_every", "%v is below 100ms", c.Topics.RetainEvery)
	check(c.Topics.ScrubEvery >= time.Second, "topics.scrub_every", "%v is below 1s", c.Topics.ScrubEvery)
	check(c.Moves.Concurrent > 0 && c.Moves.Concurrent <= planner.MaxConcurrent, "moves.concurrent", "%d is outside 1 to %d", c.Moves.Concurrent, planner.MaxConcurrent)
	check(c.Moves.PerBroker > 0, "moves.per_broker", "must be above 0")
	check(c.Moves.Rate >= 1<<20, "moves.rate", "%v is below 1MiB a second", c.Moves.Rate)
	check(c.Moves.RepairAfter >= time.Second, "moves.repair_after", "%v is below 1s: every restart would move replicas", c.Moves.RepairAfter)
	check(c.Moves.CalmAfter >= 0, "moves.calm_after", "must not be negative")
	check(len(c.Zone) <= meta.MaxZoneBytes, "zone", "is longer than %d bytes", meta.MaxZoneBytes)
	check(c.Topics.ScrubRate >= 1<<20, "topics.scrub_rate", "%v is below 1MiB a second", c.Topics.ScrubRate)
	return errors.Join(errs...)
}

func (c Config) validateMembers() []error {
	var errs []error
	if len(c.Members) > MaxMembers {
		errs = append(errs, keyErrorf("members", "%d is above %d: each initial member votes in the metadata shard", len(c.Members), MaxMembers))
	}
	for i, addr := range c.Join {
		if err := checkAdvertised(addr, true); err != nil {
			errs = append(errs, keyErrorf(fmt.Sprintf("join[%d]", i), "%v", err))
		}
	}
	if len(c.Join) > 0 && len(c.Members) > 1 {
		errs = append(errs, keyErrorf("join", "contradicts members: a broker that joins knows no other member than itself; the cluster tells it the others"))
	}
	if _, ok := c.Self(); !ok {
		errs = append(errs, keyErrorf("members", "broker %d is not among them", c.Broker))
	}
	var ids []protocol.BrokerID
	seen := map[string]protocol.BrokerID{}
	for i, m := range c.Members {
		key := fmt.Sprintf("members[%d]", i)
		if m.ID == 0 {
			errs = append(errs, keyErrorf(key+".id", "must be at least 1"))
		}
		if slices.Contains(ids, m.ID) {
			errs = append(errs, keyErrorf(key+".id", "%d is there twice", m.ID))
		}
		ids = append(ids, m.ID)
		for _, a := range []struct{ name, net, addr string }{{"listen", "udp", m.Listen}, {"raft", "tcp", m.Raft}, {"admin", "tcp", m.Admin}} {
			if err := checkAdvertised(a.addr, len(c.Members) > 1 || len(c.Join) > 0); err != nil {
				errs = append(errs, keyErrorf(key+"."+a.name, "%v", err))
				continue
			}
			if other, dup := seen[a.net+a.addr]; dup && !portZero(a.addr) {
				errs = append(errs, keyErrorf(key+"."+a.name, "%s is also an address of broker %d", a.addr, other))
			}
			seen[a.net+a.addr] = m.ID
		}
	}
	return errs
}

func portZero(addr string) bool {
	_, port, _ := net.SplitHostPort(addr)
	return port == "0"
}

func checkAddr(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q is not host:port", addr)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%q has no port between 0 and 65535", addr)
	}
	return nil
}

// checkAdvertised refuses addresses that others cannot dial.
func checkAdvertised(addr string, others bool) error {
	if err := checkAddr(addr); err != nil {
		return err
	}
	host, port, _ := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		return fmt.Errorf("%q cannot be dialled by others: name a host, and bind elsewhere with listen, raft_listen or admin_listen", addr)
	}
	if others && port == "0" {
		return fmt.Errorf("%q has port 0, which only a single-broker cluster may have", addr)
	}
	return nil
}

// newLogger builds the logger that the configuration asks for.
func (c Config) newLogger(w io.Writer) *slog.Logger {
	if c.Logger != nil {
		return c.Logger
	}
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Log.Level)) // Validate checked it
	opts := &slog.HandlerOptions{Level: level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// handshakesPerProcessor is a twentieth of what a processor can do.
const handshakesPerProcessor = 50

// processors is how many this process may use, as it was before RaiseProcs.
var processors = runtime.GOMAXPROCS(0)

// handshakes is how many a second strangers may begin.
func (l LimitsConfig) handshakes() int {
	return cmp.Or(l.HandshakeRate, handshakesPerProcessor*processors)
}

// RaiseProcs sets GOMAXPROCS to at least 8 unless the user chose a value: blocking fsyncs hold Ps, and on
// two cores throughput doubles when there are Ps left for the rest (docs/adr/0007-process-settings.md).
func RaiseProcs() {
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) < 8 {
		runtime.GOMAXPROCS(8)
	}
}
