package wire

import (
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/internal/mpack"
)

// ClusterStatus answers ClusterStatusRequest: what one broker knows of itself, of the partitions that it leads, and of the others.
type ClusterStatus struct {
	Broker          protocol.BrokerID
	Cluster         string
	Version         string
	UptimeMillis    uint64
	MetadataVersion uint64
	MetadataLeader  protocol.BrokerID
	Replicas        uint32 // hosted here
	Leading         uint32 // of them led here
	Draining        bool
	Peers           []PeerView

	NotReady          string // why it does not serve, "" if it does
	Missing           uint32 // replicas placed here that do not run
	DiskFree          uint64 // bytes of the data's file system; 0 with DiskTotal 0: not known
	DiskTotal         uint64 // bytes
	DiskReserve       uint64 // bytes; with fewer free it refuses publishes
	RepairAfterMillis uint64 // a broker dead for so long loses its replicas to others
	MetadataVoters    []protocol.BrokerID
	Behind            []AilingPartition // led here, with voters that lack what this leader had a second ago; the first of them
	BehindTotal       uint32
	LastStraw         uint32            // of them, those that stop when one more voter is lost
	Leaderless        []AilingPartition // with a replica here that knows no leader; the first of them
	LeaderlessTotal   uint32
	Damaged           []string // what is damaged in the logs stored here and not repaired; the first of them
	DamagedTotal      uint32

	Level   protocol.Level // of the cluster, as this broker has it; 0: it is of a release before there were levels
	Lowest  protocol.Level // that this broker understands
	Highest protocol.Level // that this broker understands
}

// AilingPartition is a partition in trouble.
type AilingPartition struct {
	Topic     protocol.TopicID // 0: the metadata shard
	Partition protocol.Partition
	Brokers   []protocol.BrokerID // of the voters that lack something
}

// RaiseLevel raises the level of the cluster, which is never lowered. One that the cluster has, or is past, succeeds.
type RaiseLevel struct {
	Level protocol.Level
}

// RaiseLevelOK says that the level is raised: brokers that do not understand it are refused from now on.
type RaiseLevelOK struct {
	Level protocol.Level // that the cluster has now
}

// ClusterPlanRequest asks the addressed broker for what it knows of moves under way and of those to come.
type ClusterPlanRequest struct{}

// ClusterPlan answers ClusterPlanRequest.
type ClusterPlan struct {
	Broker          protocol.BrokerID
	MetadataVersion uint64 // that it was made of
	MetadataLeader  protocol.BrokerID
	Moves           []MoveProgress // all under way, by ID
	Next            []PlannedStep  // in order
	LeftOut         uint32         // so many more at least are to come
	Notes           []string       // sentences: what waits, and for what
}

// MoveProgress is a move and how far it is.
type MoveProgress struct {
	Move        Move
	Leads       bool   // this broker leads the shard: it makes the move, and alone knows the next four fields
	Step        string // what it does or waits for
	SinceMillis uint64 // since this leader took it up
	Last        uint64 // index of the last entry of the log
	Match       uint64 // up to which the new replica has it
	Bytes       uint64 // of segments of the replica on this broker, 0: none
}

// PlannedStep is something that would be done next.
type PlannedStep struct {
	Action    string // begin, undo, retire or prefer
	Topic     string // name; "": the metadata shard, or no partition at all
	Partition protocol.Partition
	Add       protocol.BrokerID // 0: none
	Remove    protocol.BrokerID // 0: none
	Broker    protocol.BrokerID // who would be retired, or be the new leader
	Reason    string
}

func (m *ClusterStatus) encode(e *mpack.Encoder) {
	e.Array(27)
	e.Uint(uint64(m.Broker))
	e.String(m.Cluster)
	e.String(m.Version)
	e.Uint(m.UptimeMillis)
	e.Uint(m.MetadataVersion)
	e.Uint(uint64(m.MetadataLeader))
	e.Uint(uint64(m.Replicas))
	e.Uint(uint64(m.Leading))
	e.Bool(m.Draining)
	writeList(e, m.Peers, (*PeerView).encode)
	e.String(m.NotReady)
	e.Uint(uint64(m.Missing))
	e.Uint(m.DiskFree)
	e.Uint(m.DiskTotal)
	e.Uint(m.DiskReserve)
	e.Uint(m.RepairAfterMillis)
	writeBrokers(e, m.MetadataVoters)
	writeList(e, m.Behind, (*AilingPartition).encode)
	e.Uint(uint64(m.BehindTotal))
	e.Uint(uint64(m.LastStraw))
	writeList(e, m.Leaderless, (*AilingPartition).encode)
	e.Uint(uint64(m.LeaderlessTotal))
	writeStrings(e, m.Damaged)
	e.Uint(uint64(m.DamagedTotal))
	e.Uint(uint64(m.Level))
	e.Uint(uint64(m.Lowest))
	e.Uint(uint64(m.Highest))
}

func (m *ClusterStatus) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Broker = protocol.BrokerID(f.Uint64())
	m.Cluster = f.String()
	m.Version = f.String()
	m.UptimeMillis = f.Uint64()
	m.MetadataVersion = f.Uint64()
	m.MetadataLeader = protocol.BrokerID(f.Uint64())
	m.Replicas = f.Uint32()
	m.Leading = f.Uint32()
	m.Draining = f.Bool()
	m.Peers = mpack.List(&f, unlimited, func(d *mpack.Decoder, m *PeerView) { m.decode(d) })
	m.NotReady = f.String()
	m.Missing = f.Uint32()
	m.DiskFree = f.Uint64()
	m.DiskTotal = f.Uint64()
	m.DiskReserve = f.Uint64()
	m.RepairAfterMillis = f.Uint64()
	m.MetadataVoters = mpack.List(&f, unlimited, readBroker)
	m.Behind = mpack.List(&f, unlimited, func(d *mpack.Decoder, m *AilingPartition) { m.decode(d) })
	m.BehindTotal = f.Uint32()
	m.LastStraw = f.Uint32()
	m.Leaderless = mpack.List(&f, unlimited, func(d *mpack.Decoder, m *AilingPartition) { m.decode(d) })
	m.LeaderlessTotal = f.Uint32()
	m.Damaged = mpack.List(&f, unlimited, readString)
	m.DamagedTotal = f.Uint32()
	m.Level = protocol.Level(f.Uint8())
	m.Lowest = protocol.Level(f.Uint8())
	m.Highest = protocol.Level(f.Uint8())
	f.End()
}

func (m *AilingPartition) encode(e *mpack.Encoder) {
	e.Array(3)
	e.Uint(uint64(m.Topic))
	e.Uint(uint64(m.Partition))
	writeBrokers(e, m.Brokers)
}

func (m *AilingPartition) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Topic = protocol.TopicID(f.Uint64())
	m.Partition = protocol.Partition(f.Uint32())
	m.Brokers = mpack.List(&f, unlimited, readBroker)
	f.End()
}

func (m *RaiseLevel) encode(e *mpack.Encoder) {
	e.Array(1)
	e.Uint(uint64(m.Level))
}

func (m *RaiseLevel) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Level = protocol.Level(f.Uint8())
	f.End()
}

func (m *RaiseLevelOK) encode(e *mpack.Encoder) {
	e.Array(1)
	e.Uint(uint64(m.Level))
}

func (m *RaiseLevelOK) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Level = protocol.Level(f.Uint8())
	f.End()
}

func (*ClusterPlanRequest) encode(e *mpack.Encoder) { e.Array(0) }

func (*ClusterPlanRequest) decode(d *mpack.Decoder) {
	f := d.Fields()
	f.End()
}

func (m *ClusterPlan) encode(e *mpack.Encoder) {
	e.Array(7)
	e.Uint(uint64(m.Broker))
	e.Uint(m.MetadataVersion)
	e.Uint(uint64(m.MetadataLeader))
	writeList(e, m.Moves, (*MoveProgress).encode)
	writeList(e, m.Next, (*PlannedStep).encode)
	e.Uint(uint64(m.LeftOut))
	writeStrings(e, m.Notes)
}

func (m *ClusterPlan) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Broker = protocol.BrokerID(f.Uint64())
	m.MetadataVersion = f.Uint64()
	m.MetadataLeader = protocol.BrokerID(f.Uint64())
	m.Moves = mpack.List(&f, unlimited, func(d *mpack.Decoder, m *MoveProgress) { m.decode(d) })
	m.Next = mpack.List(&f, unlimited, func(d *mpack.Decoder, m *PlannedStep) { m.decode(d) })
	m.LeftOut = f.Uint32()
	m.Notes = mpack.List(&f, unlimited, readString)
	f.End()
}

func (m *MoveProgress) encode(e *mpack.Encoder) {
	e.Array(7)
	m.Move.encode(e)
	e.Bool(m.Leads)
	e.String(m.Step)
	e.Uint(m.SinceMillis)
	e.Uint(m.Last)
	e.Uint(m.Match)
	e.Uint(m.Bytes)
}

func (m *MoveProgress) decode(d *mpack.Decoder) {
	f := d.Fields()
	if f.Next() {
		m.Move.decode(d)
	}
	m.Leads = f.Bool()
	m.Step = f.String()
	m.SinceMillis = f.Uint64()
	m.Last = f.Uint64()
	m.Match = f.Uint64()
	m.Bytes = f.Uint64()
	f.End()
}

func (m *PlannedStep) encode(e *mpack.Encoder) {
	e.Array(7)
	e.String(m.Action)
	e.String(m.Topic)
	e.Uint(uint64(m.Partition))
	e.Uint(uint64(m.Add))
	e.Uint(uint64(m.Remove))
	e.Uint(uint64(m.Broker))
	e.String(m.Reason)
}

func (m *PlannedStep) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Action = f.String()
	m.Topic = f.String()
	m.Partition = protocol.Partition(f.Uint32())
	m.Add = protocol.BrokerID(f.Uint64())
	m.Remove = protocol.BrokerID(f.Uint64())
	m.Broker = protocol.BrokerID(f.Uint64())
	m.Reason = f.String()
	f.End()
}

func writeList[T any](e *mpack.Encoder, list []T, encode func(*T, *mpack.Encoder)) {
	e.Array(len(list))
	for i := range list {
		encode(&list[i], e)
	}
}

func writeBrokers(e *mpack.Encoder, list []protocol.BrokerID) {
	e.Array(len(list))
	for _, b := range list {
		e.Uint(uint64(b))
	}
}

func writeStrings(e *mpack.Encoder, list []string) {
	e.Array(len(list))
	for _, s := range list {
		e.String(s)
	}
}
