package protocol

import "fmt"

// Code is the stable number of an error on the wire. Never renumber.
type Code uint16

// Outcome says what an error means for the publish it answers.
type Outcome uint8

// The three answers of design promise 4, seen from an error.
const (
	NotAppended Outcome = iota // definitely not in the log
	Unknown                    // may or may not be in the log
)

// The error codes. 1 to 99: this broker cannot serve it now, try again or elsewhere. 100 to 199: the
// request is wrong. 200 to 299: fencing. 300 to 399: the connection. 900 and above: defects.
const (
	CodeNotLeader        Code = 1 // another broker leads the partition
	CodeNoQuorum         Code = 2 // the leader does not hear a majority of the replicas
	CodeOverloaded       Code = 3 // a bound was reached
	CodeDiskReserve      Code = 4 // free disk is below the reserve; reads go on
	CodeShuttingDown     Code = 5 // the broker is draining
	CodeUnavailable      Code = 6 // not ready: starting, no metadata leader, no replica here yet
	CodeOutcomeUnknown   Code = 7 // leadership was lost, or the majority was slow, while the request was in flight
	CodeTimeout          Code = 8 // the broker gave up waiting; may have happened
	CodeInvalidRequest   Code = 100
	CodeUnsupported      Code = 101 // version or feature
	CodeUnauthorized     Code = 102
	CodeTopicNotFound    Code = 103
	CodeTopicExists      Code = 104
	CodePartitionUnknown Code = 105
	CodeInvalidName      Code = 106
	CodeInvalidConfig    Code = 107
	CodeBatchTooLarge    Code = 108
	CodeRecordTooLarge   Code = 109
	CodeCorruptBatch     Code = 110
	CodeOffsetOutOfRange Code = 111
	CodeNotFound         Code = 112 // subscription, broker or other named thing
	CodeFrameTooLarge    Code = 113
	CodeUnexpectedFrame  Code = 114
	CodeTooManyReplicas  Code = 115 // fewer brokers than replicas asked for
	CodeLimitExceeded    Code = 116 // topics, producers, subscriptions, streams
	CodeProducerFenced   Code = 200 // a newer process opened the same named producer
	CodeOutOfSequence    Code = 201 // a sequence gap: an earlier batch was not appended
	CodeProducerUnknown  Code = 202 // the partition has forgotten this producer
	CodeStaleActivation  Code = 203 // another consumer is active now
	CodeHeartbeatLost    Code = 300 // the client was silent for too long
	CodeTooManyConns     Code = 301
	CodeClosing          Code = 302 // an orderly end
	CodeInternal         Code = 900
	CodeCorruptLog       Code = 901
)

type codeInfo struct {
	name      string
	retryable bool
	outcome   Outcome
}

var codeInfos = map[Code]codeInfo{
	CodeNotLeader:        {"not_leader", true, NotAppended},
	CodeNoQuorum:         {"no_quorum", true, NotAppended},
	CodeOverloaded:       {"overloaded", true, NotAppended},
	CodeDiskReserve:      {"disk_reserve", true, NotAppended},
	CodeShuttingDown:     {"shutting_down", true, NotAppended},
	CodeUnavailable:      {"unavailable", true, NotAppended},
	CodeOutcomeUnknown:   {"outcome_unknown", true, Unknown},
	CodeTimeout:          {"timeout", true, Unknown},
	CodeInvalidRequest:   {"invalid_request", false, NotAppended},
	CodeUnsupported:      {"unsupported", false, NotAppended},
	CodeUnauthorized:     {"unauthorized", false, NotAppended}, //nolint:misspell // the name is on the wire
	CodeTopicNotFound:    {"topic_not_found", false, NotAppended},
	CodeTopicExists:      {"topic_exists", false, NotAppended},
	CodePartitionUnknown: {"partition_unknown", false, NotAppended},
	CodeInvalidName:      {"invalid_name", false, NotAppended},
	CodeInvalidConfig:    {"invalid_config", false, NotAppended},
	CodeBatchTooLarge:    {"batch_too_large", false, NotAppended},
	CodeRecordTooLarge:   {"record_too_large", false, NotAppended},
	CodeCorruptBatch:     {"corrupt_batch", false, NotAppended},
	CodeOffsetOutOfRange: {"offset_out_of_range", false, NotAppended},
	CodeNotFound:         {"not_found", false, NotAppended},
	CodeFrameTooLarge:    {"frame_too_large", false, NotAppended},
	CodeUnexpectedFrame:  {"unexpected_frame", false, NotAppended},
	CodeTooManyReplicas:  {"too_many_replicas", false, NotAppended},
	CodeLimitExceeded:    {"limit_exceeded", false, NotAppended},
	CodeProducerFenced:   {"producer_fenced", false, NotAppended},
	CodeOutOfSequence:    {"out_of_sequence", true, NotAppended},
	CodeProducerUnknown:  {"producer_unknown", false, Unknown},
	CodeStaleActivation:  {"stale_activation", false, NotAppended},
	CodeHeartbeatLost:    {"heartbeat_lost", true, Unknown},
	CodeTooManyConns:     {"too_many_connections", true, NotAppended},
	CodeClosing:          {"closing", true, Unknown},
	CodeInternal:         {"internal", false, Unknown},
	CodeCorruptLog:       {"corrupt_log", false, Unknown},
}

// String returns the code's stable name.
func (c Code) String() string {
	if i, ok := codeInfos[c]; ok {
		return i.name
	}
	return fmt.Sprintf("code(%d)", uint16(c))
}

// Retryable reports whether the same request may succeed later or on another broker. Codes this
// version does not know are not retryable.
func (c Code) Retryable() bool { return codeInfos[c].retryable }

// Outcome reports what the code means for a publish. A code this version does not know is Unknown.
func (c Code) Outcome() Outcome {
	if i, ok := codeInfos[c]; ok {
		return i.outcome
	}
	return Unknown
}

// Error is an error that crossed, or will cross, the wire.
type Error struct {
	Code    Code
	Message string   // for people: what was wrong, where, and what to do
	Leader  BrokerID // with CodeNotLeader: who leads, 0 when not known
	Epoch   Epoch    // with CodeNotLeader: the epoch of that leader
}

// Errorf returns an Error with a formatted message.
func Errorf(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Message: fmt.Sprintf(format, args...)}
}

// Error implements error.
func (e *Error) Error() string {
	if e.Message == "" {
		return e.Code.String()
	}
	return e.Code.String() + ": " + e.Message
}

// Is reports whether target is an *Error with the same code, so that errors.Is works with the
// sentinels below.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// Sentinels for errors.Is.
var (
	ErrNotLeader        = &Error{Code: CodeNotLeader}
	ErrNoQuorum         = &Error{Code: CodeNoQuorum}
	ErrOverloaded       = &Error{Code: CodeOverloaded}
	ErrDiskReserve      = &Error{Code: CodeDiskReserve}
	ErrShuttingDown     = &Error{Code: CodeShuttingDown}
	ErrUnavailable      = &Error{Code: CodeUnavailable}
	ErrOutcomeUnknown   = &Error{Code: CodeOutcomeUnknown}
	ErrTimeout          = &Error{Code: CodeTimeout}
	ErrInvalidRequest   = &Error{Code: CodeInvalidRequest}
	ErrUnauthorized     = &Error{Code: CodeUnauthorized}
	ErrTopicNotFound    = &Error{Code: CodeTopicNotFound}
	ErrTopicExists      = &Error{Code: CodeTopicExists}
	ErrPartitionUnknown = &Error{Code: CodePartitionUnknown}
	ErrBatchTooLarge    = &Error{Code: CodeBatchTooLarge}
	ErrRecordTooLarge   = &Error{Code: CodeRecordTooLarge}
	ErrCorruptBatch     = &Error{Code: CodeCorruptBatch}
	ErrOffsetOutOfRange = &Error{Code: CodeOffsetOutOfRange}
	ErrNotFound         = &Error{Code: CodeNotFound}
	ErrProducerFenced   = &Error{Code: CodeProducerFenced}
	ErrOutOfSequence    = &Error{Code: CodeOutOfSequence}
	ErrProducerUnknown  = &Error{Code: CodeProducerUnknown}
	ErrStaleActivation  = &Error{Code: CodeStaleActivation}
	ErrHeartbeatLost    = &Error{Code: CodeHeartbeatLost}
)
