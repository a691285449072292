package controller

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline/trunkline/protocol"
)

// lag exports how far the followers of the partitions led here are behind, measured when it is scraped.
type lag struct {
	c    *Controller
	desc *prometheus.Desc
}

func newLag(c *Controller) *lag {
	return &lag{c: c, desc: prometheus.NewDesc("trunkline_controller_follower_lag_entries",
		"Raft entries that the furthest behind replica on a peer lacks, among the partitions led here.", []string{"peer"}, nil)}
}

// Describe implements prometheus.Collector.
func (l *lag) Describe(ch chan<- *prometheus.Desc) { ch <- l.desc }

// Collect implements prometheus.Collector.
func (l *lag) Collect(ch chan<- prometheus.Metric) {
	for peer, entries := range l.c.followerLag() {
		ch <- prometheus.MustNewConstMetric(l.desc, prometheus.GaugeValue, float64(entries), strconv.FormatUint(uint64(peer), 10))
	}
}

// followerLag returns the greatest lag of each other broker. A follower that has not answered this leader yet is not
// counted: what it lacks is not known.
func (c *Controller) followerLag() map[protocol.BrokerID]uint64 {
	worst := map[protocol.BrokerID]uint64{}
	for _, r := range c.running() {
		if _, leads := r.serving(); !leads {
			continue
		}
		applied := r.applied()
		for _, peer := range r.spec().brokers() {
			match, ok := c.host.match(r.spec().shard, peer)
			if peer == c.cfg.Self || !ok {
				continue
			}
			behind := uint64(0)
			if match < applied {
				behind = applied - match
			}
			worst[peer] = max(worst[peer], behind)
		}
	}
	return worst
}
