package raftnet

import (
	"strconv"
	"strings"

	"github.com/trunkline/trunkline/broker/internal/pki"
	"github.com/trunkline/trunkline/protocol"
)

// Target is what Dragonboat takes for the address of a broker: its name, "broker-7", the same as in its certificate. It
// goes into the membership of every shard, so it never changes; where the broker is, Config.Peers and SetPeers say.
func Target(id protocol.BrokerID) string { return pki.BrokerName(id) }

// ParseTarget is the inverse of Target. ok is false for anything that Target does not return for a broker; 0 is none.
func ParseTarget(target string) (id protocol.BrokerID, ok bool) {
	_, digits, _ := strings.Cut(target, "-")
	n, err := strconv.ParseUint(digits, 10, 64)
	id = protocol.BrokerID(n)
	return id, err == nil && id != 0 && Target(id) == target
}
