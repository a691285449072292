package history

import (
	"cmp"
	"fmt"
	"slices"
)

// Kind is what was asked.
type Kind string

// The kinds of operations. What their fields mean:
//
//	publish   Partition, Producer, Epoch, Seq; ok: Offset, Dup
//	deliver   Partition, Offset, Producer, Seq: a consumer got a message; Worker is the consumer
//	commit    Key is the subscription, Partition; Offset: everything below it was acknowledged
//	position  Key is the subscription, Partition; ok: Offset is the committed position
//	create    Key is the topic; ok: ID
//	delete    Key is the topic, ID the identity that the worker knew, 0 if none
//	describe  Key is the topic; ok: ID, 0 if there is none of that name
const (
	Publish  Kind = "publish"
	Deliver  Kind = "deliver"
	Commit   Kind = "commit"
	Position Kind = "position"
	Create   Kind = "create"
	Delete   Kind = "delete"
	Describe Kind = "describe"
)

var kinds = []Kind{Publish, Deliver, Commit, Position, Create, Delete, Describe}

// Class is what is known of the outcome.
type Class string

// The classes.
const (
	OK      Class = "ok"      // it took effect between Invoke and Return
	Fail    Class = "fail"    // it has not and never will
	Unknown Class = "unknown" // it may have, and may still: Return says only when waiting for it ended
)

var classes = []Class{OK, Fail, Unknown}

// NoOffset is the offset of an operation that has none.
const NoOffset = -1

// Op is one operation. Times are nanoseconds since the beginning of the run, on one monotonic clock.
type Op struct {
	Worker    int    `json:"worker"` // does one operation after the other
	Kind      Kind   `json:"op"`
	Key       string `json:"key,omitempty"`
	ID        uint64 `json:"id,omitempty"`
	Partition int32  `json:"partition"`
	Producer  uint32 `json:"producer,omitempty"`
	Epoch     uint64 `json:"epoch,omitempty"` // of the producer
	Seq       uint64 `json:"seq,omitempty"`
	Invoke    int64  `json:"invoke_ns"`
	Return    int64  `json:"return_ns"`
	Class     Class  `json:"class"`
	Offset    int64  `json:"offset"`
	Dup       bool   `json:"dup,omitempty"` // the answer says that an earlier attempt had been appended
}

// check returns an error if an operation makes no sense.
func (o *Op) check() error {
	switch {
	case !slices.Contains(kinds, o.Kind):
		return fmt.Errorf("operation %q is none of %v", o.Kind, kinds)
	case !slices.Contains(classes, o.Class):
		return fmt.Errorf("class %q is none of %v", o.Class, classes)
	case o.Return < o.Invoke:
		return fmt.Errorf("it returned at %d, before it was invoked at %d", o.Return, o.Invoke)
	case o.Offset < NoOffset || o.Partition < 0:
		return fmt.Errorf("partition %d, offset %d", o.Partition, o.Offset)
	}
	return nil
}

// byInvoke orders operations for people and for Find.
func byInvoke(a, b Op) int {
	return cmp.Or(cmp.Compare(a.Invoke, b.Invoke), cmp.Compare(a.Return, b.Return), cmp.Compare(a.Worker, b.Worker), cmp.Compare(a.Seq, b.Seq))
}
