package worker

import (
	"github.com/trunkline/trunkline/bench/hostile"
	"github.com/trunkline/trunkline/protocol"
)

// Task says what one client does. Exactly one of the three is set.
type Task struct {
	Number  int    `json:"number"`  // of the client, unique in its Crew; set by Start
	Context string `json:"context"` // path of the context file of the cluster
	Topic   string `json:"topic"`

	Publish *Publish `json:"publish,omitempty"`
	Consume *Consume `json:"consume,omitempty"`

	Siege *hostile.Siege `json:"siege,omitempty"` // the topic is not used
}

// Publish is the task of a producer. Message n of a partition is payload.Encode of {Lane + partition, n}, and n is its place in the
// producer's sequence: a named producer goes on where the partition says that its predecessor got to.
type Publish struct {
	Name     string `json:"name,omitempty"` // of the producer; "": anonymous
	Lane     uint32 `json:"lane"`
	Rate     int    `json:"rate"`      // messages a second over all partitions, at most; 0: as fast as InFlight allows
	InFlight int    `json:"in_flight"` // messages of one partition without an answer, at most; then it waits
}

// Consume is the task of one consumer of a subscription. It acknowledges a batch of messages at a time, out of order within it.
type Consume struct {
	Subscription string `json:"subscription"`
	Consumer     string `json:"consumer"`
	Batch        int    `json:"batch"` // messages that are held before they are acknowledged
	Pause        int    `json:"pause"` // microseconds of work for each message
}

// What a Report says.
type What string

// What clients say. In brackets: the fields of the Report that are set.
const (
	Opened    What = "opened"    // the producer [Producer, Epoch, Next], or all streams of a consumer
	Sent      What = "sent"      // a message goes to the SDK [Partition, Seq]
	Acked     What = "acked"     // [Partition, Seq, Offset, Duplicate]
	Refused   What = "refused"   // it is not in the log and will not be [Partition, Seq, Fenced, Text]
	Unknown   What = "unknown"   // it may be in the log [Partition, Seq, Fenced, Text]
	Assigned  What = "assigned"  // the consumer got a partition [Partition, Offset: of the next message, Activation]
	Revoking  What = "revoking"  // it must give a partition back [Partition, Activation]
	Released  What = "released"  // it has given it back [Partition, Activation]
	Lost      What = "lost"      // it was taken away [Partition, Activation]
	Got       What = "got"       // a message [Partition, Offset, Lane, Seq]; with Text: what is wrong with it
	Committed What = "committed" // every acknowledgement below [Partition, Offset]
	Thrown    What = "thrown"    // so much by a siege so far [Counts]
	Failed    What = "failed"    // the client cannot go on [Text]
	Gone      What = "gone"      // the process has ended [Text]
)

// Report is one line of a client.
type Report struct {
	Client     int                    `json:"c"`
	What       What                   `json:"w"`
	Partition  int32                  `json:"p,omitempty"`
	Offset     int64                  `json:"o,omitempty"`
	Lane       uint32                 `json:"l,omitempty"`
	Seq        uint64                 `json:"s,omitempty"`
	Activation uint64                 `json:"a,omitempty"`
	Producer   protocol.ProducerID    `json:"i,omitempty"`
	Epoch      protocol.ProducerEpoch `json:"e,omitempty"`
	Next       []uint64               `json:"n,omitempty"` // by partition: the sequence of the next message
	Duplicate  bool                   `json:"d,omitempty"`
	Fenced     bool                   `json:"f,omitempty"`
	Text       string                 `json:"x,omitempty"`
	Counts     map[string]int64       `json:"m,omitempty"`
}

// lineLimit is how many bytes of a pipe the kernel writes in one piece (PIPE_BUF).
const lineLimit = 4096

// maxText bounds Report.Text, so that a line stays below lineLimit.
const maxText = 500
