package driver

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// Errors of drivers. Wrapped errors say more.
var (
	// ErrNotInstalled says that a system is not on this machine. It is reported as "not measured", never as a number.
	ErrNotInstalled = errors.New("not installed here")
	// ErrNotAppended in Ack.Err says that the message is definitely not in the log. Any other error leaves it open.
	ErrNotAppended = errors.New("definitely not appended")
	// ErrNotOurs answers faults on a cluster that the driver was pointed at and did not start.
	ErrNotOurs = errors.New("this cluster was not started by the bench")
)

// Driver knows one kind of message system.
type Driver interface {
	// Name is what the command line calls it, like "jetstream".
	Name() string
	// Profiles are its settings worth comparing; the first is the default.
	Profiles() []Profile
	// Installed returns nil if Open can start nodes here, or an error that wraps ErrNotInstalled and names the command
	// that installs them.
	Installed() error
	// Open starts nodes, or connects to those at Options.Addrs, and waits until they are healthy, at most until ctx ends.
	// What it had started is gone again if it fails.
	Open(ctx context.Context, opts Options) (System, error)
}

// Profile is one way to configure a system.
type Profile struct {
	Name string // like "fsync-always"
	Doc  string // one line for people: what is set, and what that means for an acknowledgement
}

// Options say how to open a system.
type Options struct {
	Profile string
	Nodes   int      // 1 to 7; 3 unless a workload says otherwise
	Dir     string   // exists and is empty; for data, configurations and logs of own nodes. Close leaves it empty or removes it
	Addrs   []string // of a running cluster; nil: start own nodes
	Binary  string   // of the server, where there is one; empty: the driver's usual place
	// Data are directories that exist, one a node by ID, for what the nodes store; nil: below Dir. Close leaves them as they are.
	Data []string
}

// Store returns where a node keeps its data: in Data, or else at its driver's usual place. IDs are counted from 1.
func (o Options) Store(id int, usual string) string {
	if id > len(o.Data) {
		return usual
	}
	return o.Data[id-1]
}

// System is one running cluster with whatever clients are needed to administer it. All methods may be called from any
// goroutine; all end with their context.
type System interface {
	About() About
	// Nodes returns the processes of the cluster on this machine, in the order of their IDs. Empty if it was not started here.
	Nodes() []Node

	// CreateTopic makes a topic that takes messages at once: every partition has a leader. It fails if the name is taken.
	CreateTopic(ctx context.Context, t Topic) error
	// DeleteTopic removes a topic with its subscriptions and data.
	DeleteTopic(ctx context.Context, name string) error
	// Leaders returns the ID of the node that leads each partition; 0 where nobody does or nobody knows.
	Leaders(ctx context.Context, topic string) ([]int, error)

	Producer(ctx context.Context, opts ProducerOptions) (Producer, error)
	Consumer(ctx context.Context, opts ConsumerOptions) (Consumer, error)

	// Faults of own nodes; ErrNotOurs otherwise. Kill is SIGKILL and returns when the process is gone, Stop asks it to end
	// (SIGTERM), Pause and Resume are SIGSTOP and SIGCONT, Start starts a node that does not run and waits until it is healthy.
	Kill(ctx context.Context, node int) error
	Stop(ctx context.Context, node int) error
	Pause(ctx context.Context, node int) error
	Resume(ctx context.Context, node int) error
	Start(ctx context.Context, node int) error

	// Close ends the clients, ends every process that Open or Start started, and removes what they stored. It does so even
	// if ctx has ended, within 30 s, and says what it could not end.
	Close(ctx context.Context) error
}

// About says what was measured: it goes into every result.
type About struct {
	System  string    `json:"system"`  // driver name
	Profile string    `json:"profile"` //
	Version string    `json:"version"` // as the server says it
	Client  string    `json:"client"`  // library and version
	Config  []Setting `json:"config"`  // everything that is not the system's default, servers and clients
	// Ack is one sentence: what exactly is true when a publish has been acknowledged (which nodes, memory, page cache or disk).
	Ack string `json:"ack"`
	// Durable: an acknowledged message survives the loss of power on all nodes at once.
	Durable bool `json:"durable"`
	// NoDuplicates: the system promises that one Send is stored at most once, retries and failovers included, under the
	// ProducerOptions.Retry that the bench uses.
	NoDuplicates bool `json:"no_duplicates"`
	// Ordered: the system promises that messages of one producer on one partition are delivered in sending order, again
	// with retries and failovers.
	Ordered bool `json:"ordered"`
}

// Setting is a key of a configuration and why it is set.
type Setting struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	Why   string `json:"why,omitempty"`
}

// Node is one server process.
type Node struct {
	ID   int // from 1
	PID  int // 0: not running
	Addr string
	Log  string // path of what it writes to standard output and error
}

// Topic is what CreateTopic makes. A system without partitions makes as many queues or streams.
type Topic struct {
	Name          string // ASCII letters, digits and '-'
	Partitions    int
	Replicas      int
	Subscriptions []string // each receives every message, from the first on
	// Payload is the size of most messages in bytes, a hint for systems that preallocate; 0: not known.
	Payload int
	// Members is how many consumers each subscription will have at most, a hint for systems that can acknowledge everything up
	// to a message at once if nobody else has messages before it; 0: not known.
	Members int
}

// ProducerOptions say how to open a producer.
type ProducerOptions struct {
	Topic string
	ID    int // from 0, unique within the topic
	// MaxInFlight bounds messages without an answer; Send blocks at the bound. 0: what is best for throughput with this system.
	MaxInFlight int
	// Retry: go on through failovers. A publish that failed or was left open is tried again until its context or the producer
	// ends, in order and without storing it twice if the system can do that at all (About says whether it can). Without it
	// the first failure is the answer.
	Retry bool
}

// Producer publishes. Send is called from one goroutine; several producers work side by side.
type Producer interface {
	// Send takes one message and returns as soon as the client has room for more: it may block, at most until ctx ends.
	// m.Done is called exactly once for each message given to Send, from any goroutine, also if Send failed at once or the
	// producer was closed. m and what it holds must not be touched after Done was called.
	Send(ctx context.Context, m *Message)
	// Close answers everything outstanding, at most until ctx ends, and leaves no goroutine.
	Close(ctx context.Context) error
}

// Message is one publish. The bench owns and reuses it.
type Message struct {
	Partition int32  // AnyPartition: as the client likes, or by Key
	Key       []byte // nil: none
	Payload   []byte

	// Done takes the answer. It is quick and never blocks.
	Done func(m *Message, a Ack)

	// The bench's own; drivers leave them alone. Times are since the start of the run.
	Producer uint32
	Seq      uint64
	Intended time.Duration
	Sent     time.Duration
}

// AnyPartition leaves the choice to the client.
const AnyPartition int32 = -1

// NoOffset says that a system does not tell where a message is.
const NoOffset int64 = -1

// Ack is the answer to a publish.
type Ack struct {
	Err       error // nil: acknowledged; wraps ErrNotAppended: definitely not; otherwise nobody knows
	Partition int32 // where it is; AnyPartition if not known
	Offset    int64 // NoOffset if not known
}

// ConsumerOptions say how to join a subscription.
type ConsumerOptions struct {
	Topic        string
	Subscription string // one of Topic.Subscriptions
	ID           int    // from 0, unique within the subscription
	// Deliver takes each message. It is called in the order of each partition, for several partitions perhaps at the same time. d
	// and what it holds must not be touched after it returned. The driver acknowledges a message after Deliver has returned, in
	// whatever batches are best for the system, before Close returns and at most a second later.
	Deliver func(d *Delivery)
	// Failed is told of an error that the consumer cannot mend by itself; nothing more will be delivered.
	Failed func(err error)
}

// Consumer is one member of a subscription. It carries on through failovers.
type Consumer interface {
	// Close acknowledges what was delivered and leaves no goroutine. Deliver is not called after it returned.
	Close(ctx context.Context) error
}

// Delivery is one message as a consumer gets it.
type Delivery struct {
	Partition   int32
	Offset      int64 // its place in the partition, dense or not, the same at every delivery; NoOffset if there is no such thing
	Payload     []byte
	Redelivered bool // the system says that it may have been delivered before
}

// PeersDir is where `make peers` puts servers that are not system packages: $TRUNKBENCH_PEERS, or the directory "peers" beside
// this program.
func PeersDir() string {
	if dir := os.Getenv("TRUNKBENCH_PEERS"); dir != "" {
		return dir
	}
	self, err := os.Executable()
	if err != nil {
		return "peers"
	}
	return filepath.Join(filepath.Dir(self), "peers")
}
