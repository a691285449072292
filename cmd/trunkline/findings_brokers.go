package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/trunkline/trunkline/protocol"
)

// disks finds brokers that have little room: below the reserve they take no publishes.
func (c *clusterFacts) disks() []finding {
	var found []finding
	for _, b := range c.answering() {
		room := fmt.Sprintf("%s of %s are free, and its limits.disk_reserve is %s", size(b.DiskFree), size(b.DiskTotal), size(b.DiskReserve))
		switch {
		case b.DiskTotal == 0:
		case b.DiskFree < b.DiskReserve:
			found = append(found, finding{critical, "disk_full", fmt.Sprintf("Broker %d refuses publishes: %s.", b.ID, room),
				"Add disk, or shorten the retention of topics. Leaderships go to brokers with room, where there are any."})
		case b.DiskFree < 2*b.DiskReserve:
			found = append(found, finding{warning, "disk_filling", fmt.Sprintf("Broker %d will soon refuse publishes: %s.", b.ID, room),
				"Add disk, or shorten the retention of topics."})
		}
	}
	return found
}

func (c *clusterFacts) damage() []finding {
	var found []finding
	for _, b := range c.answering() {
		if b.DamagedTotal > 0 {
			found = append(found, finding{warning, "damaged", fmt.Sprintf("Broker %d has %s in its logs that could not be repaired yet, for instance %s.",
				b.ID, plural(b.DamagedTotal, "damaged place"), b.Damaged[0]),
				"It is repaired from other replicas as soon as one that is good answers. Look at its disk."})
		}
	}
	return found
}

// states says which brokers are not active.
func (c *clusterFacts) states() []finding {
	var found []finding
	for _, b := range c.brokers {
		switch {
		case b.Draining:
			found = append(found, finding{info, "broker_stopping", fmt.Sprintf("Broker %d is stopping.", b.ID), ""})
		case b.State == protocol.BrokerDrained:
			found = append(found, finding{warning, "broker_drained", fmt.Sprintf("Broker %d is drained: it leads nothing that others can lead, and gets nothing new.", b.ID),
				fmt.Sprintf("If the work on it is over: `trunkline broker undrain %d`.", b.ID)})
		case b.State == protocol.BrokerLeaving:
			found = append(found, finding{info, "broker_leaving", fmt.Sprintf("Broker %d leaves the cluster: %s.", b.ID, leaving(&b)),
				"`trunkline cluster plan` shows how far that is, or what keeps it."})
		}
	}
	return found
}

// level says that an upgrade was not ended: all brokers understand more than is used.
func (c *clusterFacts) level() []finding {
	r := newLevelReport(c.brokers)
	if !r.due() {
		return nil
	}
	release := "All brokers run release " + strings.Join(r.Versions, ", ")
	if len(r.Versions) > 1 {
		release = "The brokers run releases " + strings.Join(r.Versions, ", ")
	}
	return []finding{{info, "finalize_due", fmt.Sprintf("%s, which understand level %d; the cluster is still at level %d, and can go back to the release "+
		"before.", release, r.Shared, r.Level), "When you will not go back, run `trunkline cluster finalize`."}}
}

func (c *clusterFacts) versions() []finding {
	by := map[string][]protocol.BrokerID{}
	for _, b := range c.answering() {
		by[b.Version] = append(by[b.Version], b.ID)
	}
	if len(by) < 2 {
		return nil
	}
	var words []string
	for _, v := range slices.Sorted(maps.Keys(by)) {
		words = append(words, fmt.Sprintf("%s on %s", v, brokerNames(by[v])))
	}
	return []finding{{warning, "versions_differ", "The brokers run different versions: " + strings.Join(words, "; ") + ".",
		"Finish the upgrade, or take it back."}}
}

// balance says whether active brokers that answer carry very different numbers of replicas or leaderships. Both even out by themselves.
func (c *clusterFacts) balance() []finding {
	if c.moves > 0 {
		return []finding{{info, "moves", plural(c.moves, "move") + " of replicas under way.", "`trunkline cluster plan` shows how far they are."}}
	}
	replicas, leaders := map[protocol.BrokerID]int{}, map[protocol.BrokerID]int{}
	for _, b := range c.answering() {
		if b.State == protocol.BrokerActive {
			replicas[b.ID], leaders[b.ID] = 0, 0
		}
	}
	count := func(of map[protocol.BrokerID]int, b protocol.BrokerID) {
		if n, counts := of[b]; counts {
			of[b] = n + 1
		}
	}
	for _, t := range c.topics {
		for _, p := range t.Partitions {
			count(leaders, p.Leader)
			for _, b := range p.Replicas {
				count(replicas, b)
			}
		}
	}
	var found []finding
	if uneven(replicas) {
		found = append(found, finding{info, "replicas_unbalanced", "Replicas are unevenly spread: " + counts(replicas) + ".",
			"They are balanced once all brokers have been alive for a while, as far as zones allow: `trunkline cluster plan`."})
	}
	if uneven(leaders) {
		found = append(found, finding{info, "leaders_unbalanced", "Leaderships are unevenly spread: " + counts(leaders) + ".",
			"They return to their preferred brokers some seconds after these came back."})
	}
	return found
}

// uneven reports whether the most is more than the fewest by two and by a fifth.
func uneven(of map[protocol.BrokerID]int) bool {
	if len(of) < 2 {
		return false
	}
	all := slices.Sorted(maps.Values(of))
	low, high := all[0], all[len(all)-1]
	return high-low >= 2 && 5*(high-low) > high
}

func counts(of map[protocol.BrokerID]int) string {
	var words []string
	for _, b := range slices.Sorted(maps.Keys(of)) {
		words = append(words, fmt.Sprintf("broker %d has %d", b, of[b]))
	}
	return strings.Join(words, ", ")
}
