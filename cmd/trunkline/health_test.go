package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// whole is a cluster of three brokers to which nothing is wrong: topic 1, calls, has four partitions on all of them.
func whole() *clusterFacts {
	c := &clusterFacts{topics: []client.Topic{{ID: 1, Name: "calls", Replicas: 3}}}
	all := []protocol.BrokerID{1, 2, 3}
	for _, id := range all {
		b := client.BrokerStatus{
			Broker: client.Broker{ID: id, Listen: "h:1", State: protocol.BrokerActive}, Version: "v1", Uptime: time.Hour, MetadataVersion: 9,
			MetadataLeader: 1, MetadataVoters: all, DiskFree: 100 << 30, DiskTotal: 200 << 30, DiskReserve: 1 << 30, RepairAfter: 10 * time.Minute,
		}
		for _, other := range all {
			if other != id {
				b.Peers = append(b.Peers, client.PeerStatus{Broker: other, State: "alive"})
			}
		}
		c.brokers = append(c.brokers, b)
	}
	for i := range protocol.Partition(4) {
		c.topics[0].Partitions = append(c.topics[0].Partitions, client.TopicPartition{Partition: i, Leader: 1 + protocol.BrokerID(i)%3, Replicas: all})
	}
	return c
}

// die ends the process of a broker, which everybody notices.
func (c *clusterFacts) die(id protocol.BrokerID, since time.Duration) {
	c.loseIt(id, client.PeerStatus{Broker: id, State: "dead", Since: since})
}

// vanish cuts the power of a broker's machine: nobody hears it, and nobody can know more.
func (c *clusterFacts) vanish(id protocol.BrokerID, silent time.Duration) {
	c.loseIt(id, client.PeerStatus{Broker: id, State: "suspect", Since: silent - 400*time.Millisecond, Silent: silent})
}

// loseIt makes a broker silent here, and gives the others a belief about it.
func (c *clusterFacts) loseIt(id protocol.BrokerID, belief client.PeerStatus) {
	for i := range c.brokers {
		b := &c.brokers[i]
		if b.ID == id {
			*b = client.BrokerStatus{Broker: b.Broker, Err: errors.New("no connection")}
		}
		for j := range b.Peers {
			if b.Peers[j].Broker == id {
				b.Peers[j] = belief
			}
		}
	}
}

func TestHealthyClusterHasNoFindings(t *testing.T) {
	require.Empty(t, whole().diagnose())
	var out bytes.Buffer
	require.NoError(t, printHealth(&out, whole(), info, nil))
	require.Equal(t, "Healthy: 3 brokers, 4 partitions.\n", out.String())
}

// TestFindings changes one thing of a healthy cluster each and reads what is said of it.
func TestFindings(t *testing.T) {
	ailing := []client.AilingPartition{{Topic: 1, Partition: 2, Brokers: []protocol.BrokerID{3}}}
	for _, tc := range []struct {
		name     string
		change   func(*clusterFacts)
		code     string
		severity severity
		says     string
	}{
		{"dead", func(c *clusterFacts) { c.die(3, 41*time.Second) }, "broker_dead", warning,
			"Broker 3 (h:1) does not answer, and 2 of the 2 others that answer have not heard it for 41s."},
		{"dead, to do", func(c *clusterFacts) { c.die(3, 41*time.Second) }, "broker_dead", warning,
			"its 4 replicas are made anew on others in 9m19s (moves.repair_after is 10m0s)"},
		{"dead for long", func(c *clusterFacts) { c.die(3, time.Hour) }, "broker_dead", warning, "Its 4 replicas are made anew"},
		{"out of reach", func(c *clusterFacts) { c.brokers[2].Err = errors.New("refused") }, "broker_no_answer", warning, "2 of 2 others hear it"},
		{"cut off", func(c *clusterFacts) {
			c.brokers[0].Peers[1].State, c.brokers[1].Peers[1].State = "dead", "dead"
		}, "broker_cut_off", critical, "Broker 3 answers here, but 2 of 2 others have not heard it"},
		{"no power", func(c *clusterFacts) { c.vanish(3, 41*time.Second) }, "broker_dead", warning,
			"Broker 3 (h:1) does not answer, and 2 of the 2 others that answer have not heard it for 41s."},
		{"no power, to do", func(c *clusterFacts) { c.vanish(3, 41*time.Second) }, "broker_dead", warning, "are made anew on others in 9m19s"},
		{"no power when they started", func(c *clusterFacts) {
			c.loseIt(3, client.PeerStatus{Broker: 3, State: "unknown", Since: 41 * time.Second})
		}, "broker_dead", warning, "have not heard it for 41s"},
		{"no power, metadata", func(c *clusterFacts) { c.vanish(3, time.Minute) }, "metadata_last_straw", warning, "broker 3 does not answer"},
		{"no power, no majority", func(c *clusterFacts) { c.vanish(2, time.Minute); c.vanish(3, time.Minute) }, "partitions_stopped", critical,
			"Bring back brokers 2, 3."},
		{"cut off by a wall that drops", func(c *clusterFacts) {
			cut := client.PeerStatus{Broker: 3, State: "suspect", Silent: 9 * time.Second}
			c.brokers[0].Peers[1], c.brokers[1].Peers[1] = cut, cut
		}, "broker_cut_off", critical, "2 of 2 others have not heard it for 9s"},
		{"missed by one for long", func(c *clusterFacts) {
			c.vanish(3, 5*time.Second)
			c.brokers[0].Peers[1].Silent = time.Hour
		}, "broker_dead", warning, "have not heard it for 5s. Start it again. If it stays away, its 4 replicas are made anew on others in 9m55s"},
		{"disk hangs", func(c *clusterFacts) {
			c.brokers[0].Peers[1].StalledDisk, c.brokers[1].Peers[1].StalledDisk = true, true
		}, "disk_hangs", critical, "Broker 3"},
		{"starved", func(c *clusterFacts) {
			c.brokers[0].Peers[1].Starved, c.brokers[1].Peers[1].Starved = true, true
		}, "broker_starved", warning, "Broker 3 says that it gets too little of the processors"},
		{"not ready", func(c *clusterFacts) { c.brokers[1].NotReady, c.brokers[1].Missing = "replicas are starting", 2 }, "broker_not_ready", warning,
			"2 replicas placed on it do not run"},
		{"no majority", func(c *clusterFacts) { c.die(2, time.Second); c.die(3, time.Second) }, "partitions_stopped", critical,
			"No publishes are taken by 4 partitions, because the brokers of most of their replicas do not answer: calls/0, calls/1, calls/2, calls/3."},
		{"no majority, to do", func(c *clusterFacts) { c.die(2, time.Second); c.die(3, time.Second) }, "partitions_stopped", critical, "Bring back brokers 2, 3."},
		{"no leader", func(c *clusterFacts) { c.brokers[0].Leaderless, c.brokers[1].Leaderless = ailing, ailing }, "partitions_leaderless", critical,
			"There is no leader for 1 partition, though most of their brokers answer: calls/2."},
		{"behind", func(c *clusterFacts) { b := &c.brokers[0]; b.Behind, b.BehindTotal, b.LastStraw = ailing, 7, 7 }, "under_replicated", warning,
			"In 7 partitions, replicas on broker 3 lack records of more than a second ago or do not answer: calls/2. 7 of them stop if one more"},
		{"too few replicas", func(c *clusterFacts) { c.topics[0].Replicas = 5 }, "too_few_replicas", warning, "4 of topic calls, which wants 5"},
		{"no metadata leader", func(c *clusterFacts) {
			for i := range c.brokers {
				c.brokers[i].MetadataLeader = 0
			}
		}, "metadata_leaderless", critical, "topics, brokers and replicas cannot be changed"},
		{"metadata", func(c *clusterFacts) { c.die(3, time.Second) }, "metadata_last_straw", warning, "Of the 3 voters of the cluster's metadata broker 3 does not answer"},
		{"even voters", func(c *clusterFacts) {
			c.brokers[0].MetadataVersion, c.brokers[0].MetadataVoters = 10, []protocol.BrokerID{1, 2}
		},
			"metadata_even_voters", info, "no more brokers than with 1"},
		{"one voter", func(c *clusterFacts) {
			c.brokers[0].MetadataVersion, c.brokers[0].MetadataVoters = 10, []protocol.BrokerID{1}
		},
			"metadata_single_voter", warning, "broker 1 alone"},
		{"full", func(c *clusterFacts) { c.brokers[1].DiskFree = 1 << 29 }, "disk_full", critical, "Broker 2 refuses publishes: 512 MiB of 200 GiB are free"},
		{"filling", func(c *clusterFacts) { c.brokers[1].DiskFree = 3 << 29 }, "disk_filling", warning, "Broker 2 will soon refuse publishes"},
		{"damaged", func(c *clusterFacts) { c.brokers[1].Damaged, c.brokers[1].DamagedTotal = []string{"calls/1: crc"}, 3 }, "damaged", warning,
			"Broker 2 has 3 damaged places in its logs that could not be repaired yet, for instance calls/1: crc."},
		{"drained", func(c *clusterFacts) { c.brokers[1].State = protocol.BrokerDrained }, "broker_drained", warning, "trunkline broker undrain 2"},
		{"leaving", func(c *clusterFacts) { c.brokers[1].State, c.brokers[1].Replicas = protocol.BrokerLeaving, 3 }, "broker_leaving", info, "3 replicas to be moved away"},
		{"versions", func(c *clusterFacts) { c.brokers[1].Version = "v2" }, "versions_differ", warning, "v1 on brokers 1, 3; v2 on broker 2"},
		{"finalize", func(c *clusterFacts) {
			for i := range c.brokers {
				c.brokers[i].Level, c.brokers[i].Levels = 1, protocol.Levels{Lowest: 1, Highest: 2}
			}
		}, "finalize_due", info, "All brokers run release v1, which understand level 2; the cluster is still at level 1"},
		{"leaders", func(c *clusterFacts) {
			for i := range c.topics[0].Partitions {
				c.topics[0].Partitions[i].Leader = 2
			}
		}, "leaders_unbalanced", info, "broker 1 has 0, broker 2 has 4, broker 3 has 0"},
		{"moves", func(c *clusterFacts) { c.moves = 1 }, "moves", info, "1 move of replicas under way."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := whole()
			tc.change(c)
			for _, f := range c.diagnose() {
				if f.Code == tc.code {
					require.Equal(t, tc.severity, f.Severity)
					require.Contains(t, f.Text+" "+f.ToDo, tc.says)
					return
				}
			}
			require.Fail(t, "not found", "%s in %+v", tc.code, c.diagnose())
		})
	}
}

// TestStoppedIsNotSaidOfWhatOnlyWeDoNotReach: brokers that the others hear serve, whatever this program sees.
func TestStoppedIsNotSaidOfWhatOnlyWeDoNotReach(t *testing.T) {
	c := whole()
	c.brokers[1].Err, c.brokers[2].Err = errors.New("refused"), errors.New("refused")
	for _, f := range c.diagnose() {
		require.NotEqual(t, critical, f.Severity, f.Text)
	}
}

// TestAPauseIsNoFinding: a broker that answers here and was not heard by the others for a moment.
func TestAPauseIsNoFinding(t *testing.T) {
	c := whole()
	for i := range 2 {
		c.brokers[i].Peers[1] = client.PeerStatus{Broker: 3, State: "suspect", Silent: missedAfter - 1}
	}
	require.Empty(t, c.diagnose())
}

func TestWorstComesFirst(t *testing.T) {
	c := whole()
	c.die(3, time.Second)
	c.brokers[0].DiskFree = 0
	found := c.diagnose()
	require.Equal(t, "disk_full", found[0].Code)
	var out bytes.Buffer
	require.NoError(t, printHealth(&out, c, critical, found))
	require.True(t, strings.HasPrefix(out.String(), "1 critical, 2 warnings.\n\nCRITICAL: Broker 1 refuses publishes"), out.String())
	out.Reset()
	require.NoError(t, printHealthJSON(&out, info, nil))
	require.JSONEq(t, `{"status":"healthy","findings":[]}`, out.String())
	out.Reset()
	require.NoError(t, printHealthJSON(&out, critical, found[:1]))
	require.Contains(t, out.String(), `"severity": "critical"`)
}

func TestLongListsAreCut(t *testing.T) {
	var all []protocol.TopicPartition
	for i := range protocol.Partition(9) {
		all = append(all, protocol.TopicPartition{Topic: 1, Partition: i})
	}
	require.Equal(t, "calls/0, calls/1, calls/2, calls/3, calls/4 and 4 more", whole().names(all))
}
