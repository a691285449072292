package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// missedAfter is how long a broker that is not known to have ended is not heard before it counts as missing: a pause is shorter.
const missedAfter = 2 * time.Second

// opinion is what the brokers that answer believe about one.
type opinion struct {
	asked, missing int
	since          time.Duration // for which more than half of asked have missed it; 0: fewer do
	stalled        int           // say that its disk hangs
	starved        int           // say that it gets too little of the processors
}

func (c *clusterFacts) opinionOf(id protocol.BrokerID) opinion {
	var o opinion
	var missed []time.Duration
	for _, b := range c.answering() {
		for _, p := range b.Peers {
			if p.Broker != id {
				continue
			}
			o.asked++
			if long, missing := missing(p); missing {
				missed = append(missed, long)
			}
			if p.StalledDisk {
				o.stalled++
			}
			if p.Starved {
				o.starved++
			}
		}
	}
	o.missing = len(missed)
	if 2*o.missing > o.asked {
		slices.Sort(missed)
		o.since = missed[o.missing-o.asked/2-1]
	}
	return o
}

// missing reports whether somebody has not heard another broker for so long that it is not there for it, and how long. A process that ended
// says so by its closed port; of a machine that lost its power or its network nothing is ever known but that it is not heard.
func missing(p client.PeerStatus) (long time.Duration, missing bool) {
	switch p.State {
	case "alive":
		return 0, false
	case "dead":
		return p.Since, true
	case "suspect":
		return p.Silent, p.Silent >= missedAfter
	}
	return p.Since, p.Since >= missedAfter // it was never met
}

// silentBrokers finds those that do not answer, or that the others do not hear.
func (c *clusterFacts) silentBrokers() []finding {
	var found []finding
	for _, b := range c.brokers {
		o := c.opinionOf(b.ID)
		long := o.since.Round(time.Second)
		switch {
		case b.Err != nil && 2*o.missing > o.asked:
			found = append(found, finding{warning, "broker_dead", fmt.Sprintf("Broker %d (%s) does not answer, and %d of the %d others that answer "+
				"have not heard it for %v.", b.ID, b.Listen, o.missing, o.asked, long), c.repair(b, o.since)})
		case b.Err != nil:
			found = append(found, finding{warning, "broker_no_answer", fmt.Sprintf("Broker %d (%s) does not answer here (%v), though %d of %d others hear it.",
				b.ID, b.Listen, b.Err, o.asked-o.missing, o.asked), "Look at the network between this machine and its listen address."})
		case 2*o.missing > o.asked:
			found = append(found, finding{critical, "broker_cut_off", fmt.Sprintf("Broker %d answers here, but %d of %d others have not heard it for %v.",
				b.ID, o.missing, o.asked, long), "Look at the network between the brokers, raft_listen, and its certificate."})
		}
		if o.stalled > 0 && 2*o.stalled > o.asked {
			found = append(found, finding{critical, "disk_hangs", fmt.Sprintf("Broker %d says that writes to its Raft log hang.", b.ID),
				"Look at its disk. It has given its leaderships up; if the disk stays so, stop the broker."})
		}
		if o.starved > 0 && 2*o.starved > o.asked {
			found = append(found, finding{warning, "broker_starved", fmt.Sprintf("Broker %d says that it gets too little of the processors; others lead for it.", b.ID),
				"Look at what else runs on its machine, at the limits of its control group, and at steal if the machine is virtual."})
		}
	}
	return found
}

// repair says what is done about a broker that is dead.
func (c *clusterFacts) repair(b client.BrokerStatus, dead time.Duration) string {
	after := time.Duration(0)
	for _, other := range c.answering() {
		after = max(after, other.RepairAfter)
	}
	held := 0
	for _, t := range c.topics {
		for _, p := range t.Partitions {
			if slices.Contains(p.Replicas, b.ID) {
				held++
			}
		}
	}
	switch {
	case held == 0:
		return "It has no replicas. Start it again, or decommission it."
	case dead >= after:
		return fmt.Sprintf("Its %s are made anew on others (`trunkline cluster plan` shows how far that is, or what keeps it). "+
			"Start it again, or decommission it.", plural(held, "replica"))
	}
	return fmt.Sprintf("Start it again. If it stays away, its %s are made anew on others in %v (moves.repair_after is %v).",
		plural(held, "replica"), (after - dead).Round(time.Second), after)
}

func (c *clusterFacts) unready() []finding {
	var found []finding
	for _, b := range c.answering() {
		if b.NotReady == "" {
			continue
		}
		text := fmt.Sprintf("Broker %d does not serve: %s.", b.ID, b.NotReady)
		if b.Missing > 0 {
			text += fmt.Sprintf(" %s placed on it do not run.", plural(b.Missing, "replica"))
		}
		found = append(found, finding{warning, "broker_not_ready", text, "If that lasts, its log says why."})
	}
	return found
}

// metadata finds what is wrong with the shard of the metadata.
func (c *clusterFacts) metadata() []finding {
	var found []finding
	var voters []protocol.BrokerID
	newest, leader := uint64(0), false
	for _, b := range c.answering() {
		if b.MetadataVersion >= newest {
			newest, voters = b.MetadataVersion, b.MetadataVoters
		}
		leader = leader || b.MetadataLeader != 0
	}
	if len(voters) == 0 {
		return nil
	}
	dead := slices.DeleteFunc(slices.Clone(voters), c.present)
	if !leader {
		found = append(found, finding{critical, "metadata_leaderless", fmt.Sprintf("The cluster's metadata has no leader: records flow, but topics, "+
			"brokers and replicas cannot be changed. Of its voters %s do not answer.", orNobody(dead)),
			fmt.Sprintf("A majority of its voters, which are %s, must run and hear each other.", brokerNames(voters))})
	}
	switch {
	case len(voters) == 1 && len(c.brokers) > 2:
		found = append(found, finding{warning, "metadata_single_voter", fmt.Sprintf("The cluster's metadata is kept by broker %d alone: "+
			"if it is lost, the others cannot be changed any more.", voters[0]), "Form clusters of three or more founding members."})
	case len(voters)%2 == 0:
		found = append(found, finding{info, "metadata_even_voters", fmt.Sprintf("The cluster's metadata has %d voters: it stands the loss of no more "+
			"brokers than with %d.", len(voters), len(voters)-1), ""})
	}
	if leader && len(dead) > 0 && len(voters)-len(dead)-1 <= len(voters)/2 {
		found = append(found, finding{warning, "metadata_last_straw", fmt.Sprintf("Of the %d voters of the cluster's metadata %s not answer; with one "+
			"more lost, topics, brokers and replicas cannot be changed.", len(voters), doOrDoes(dead)), fmt.Sprintf("Bring back %s.", brokerNames(dead))})
	}
	return found
}

func orNobody(ids []protocol.BrokerID) string {
	if len(ids) == 0 {
		return "all answer here, none"
	}
	return brokerNames(ids)
}

func doOrDoes(ids []protocol.BrokerID) string {
	if len(ids) == 1 {
		return brokerNames(ids) + " does"
	}
	return brokerNames(ids) + " do"
}

// stopped finds partitions that take no publishes.
func (c *clusterFacts) stopped() []finding {
	var lost, leaderless []protocol.TopicPartition
	missing, seen := map[protocol.BrokerID]bool{}, map[protocol.TopicPartition]bool{}
	for _, t := range c.topics {
		for _, p := range t.Partitions {
			silent := slices.DeleteFunc(slices.Clone(p.Replicas), c.present)
			if len(p.Replicas)-len(silent) > len(p.Replicas)/2 {
				continue
			}
			tp := protocol.TopicPartition{Topic: t.ID, Partition: p.Partition}
			lost, seen[tp] = append(lost, tp), true
			for _, b := range silent {
				missing[b] = true
			}
		}
	}
	for _, b := range c.answering() {
		for _, p := range b.Leaderless {
			tp := protocol.TopicPartition{Topic: p.Topic, Partition: p.Partition}
			if !seen[tp] {
				leaderless, seen[tp] = append(leaderless, tp), true
			}
		}
	}
	var found []finding
	if len(lost) > 0 {
		found = append(found, finding{critical, "partitions_stopped", fmt.Sprintf("No publishes are taken by %s, because the brokers of most of their replicas do "+
			"not answer: %s.", plural(len(lost), "partition"), c.names(lost)), fmt.Sprintf("Bring back %s. Nothing that was acknowledged is lost as long as "+
			"their data is there.", brokerNames(slices.Sorted(maps.Keys(missing))))})
	}
	if len(leaderless) > 0 {
		found = append(found, finding{critical, "partitions_leaderless", fmt.Sprintf("There is no leader for %s, though most of their brokers answer: %s.",
			plural(len(leaderless), "partition"), c.names(leaderless)), "That should end within seconds; if not, look at the logs of their brokers."})
	}
	return found
}

// behind finds partitions with replicas that lack records, as their leaders say.
func (c *clusterFacts) behind() []finding {
	total, straw := 0, 0
	var named []protocol.TopicPartition
	on := map[protocol.BrokerID]bool{}
	for _, b := range c.answering() {
		total += b.BehindTotal
		straw += b.LastStraw
		for _, p := range b.Behind {
			named = append(named, protocol.TopicPartition{Topic: p.Topic, Partition: p.Partition})
			for _, broker := range p.Brokers {
				on[broker] = true
			}
		}
	}
	if total == 0 {
		return nil
	}
	text := fmt.Sprintf("In %s, replicas on %s lack records of more than a second ago or do not answer: %s.",
		plural(total, "partition"), brokerNames(slices.Sorted(maps.Keys(on))), c.names(named))
	if straw > 0 {
		text += fmt.Sprintf(" %d of them stop if one more replica is lost.", straw)
	}
	return []finding{{warning, "under_replicated", text, "Do not stop any other broker now. Replicas on brokers that run catch up by themselves."}}
}

// tooFewReplicas finds topics whose partitions have fewer replicas than wanted.
func (c *clusterFacts) tooFewReplicas() []finding {
	var words []string
	for _, t := range c.topics {
		n := 0
		for _, p := range t.Partitions {
			if len(p.Replicas) < t.Replicas {
				n++
			}
		}
		if n > 0 {
			words = append(words, fmt.Sprintf("%d of topic %s, which wants %d", n, t.Name, t.Replicas))
		}
	}
	if len(words) == 0 {
		return nil
	}
	return []finding{{warning, "too_few_replicas", "Partitions have fewer replicas than their topics want: " + strings.Join(words[:min(len(words), 5)], ", ") + ".",
		"They are made as soon as there are brokers for them: `trunkline cluster plan`."}}
}
