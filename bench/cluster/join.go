package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
)

// Join adds a broker to the running cluster and waits until it is ready. It gets the next ID; IDs of brokers that were removed are not used
// again. Nothing stands in front of it.
func (c *Cluster) Join(ctx context.Context) (id int, err error) {
	if !slices.ContainsFunc(c.Brokers(), func(b Broker) bool { return b.PID != 0 }) {
		return 0, errors.New("no broker runs that could be asked: start one with `trunkline local start ID`")
	}
	err = c.change(func() error {
		id = max(c.state.LastID, c.state.Brokers[len(c.state.Brokers)-1].ID) + 1
		if len(c.state.Brokers) >= MaxBrokers {
			return fmt.Errorf("a local cluster has at most %d brokers", MaxBrokers)
		}
		added, err := allocate(Spec{Brokers: 1, Places: c.state.Places}, id)
		if err != nil {
			return err
		}
		c.state.LastID = id
		c.state.Brokers = append(c.state.Brokers, added...)
		b := &c.state.Brokers[len(c.state.Brokers)-1]
		b.Joined = true
		if err := c.writeJoined(b); err != nil {
			return err
		}
		return c.writeContext()
	})
	if err != nil {
		return 0, err
	}
	return id, c.Start(ctx, id)
}

// writeJoined writes the configuration of a broker that joined: it asks the others, when it has no data.
func (c *Cluster) writeJoined(b *Broker) error {
	var others []string
	for _, o := range c.state.Brokers {
		if o.ID != b.ID {
			others = append(others, cmp.Or(o.FrontRaft, o.Raft))
		}
	}
	return c.writeBroker(b, map[string]any{"members": []any{b.member()}, "join": others})
}

// Remove forgets a broker that was decommissioned, or that is lost, and deletes its directory. Its process must have ended. Those that
// joined ask it no more: a broker that lost its data must find somebody who refuses it.
func (c *Cluster) Remove(id int) error {
	b, err := c.Broker(id)
	if err != nil {
		return err
	}
	if b.PID != 0 {
		return fmt.Errorf("broker %d still runs (pid %d): decommission and stop it first", id, b.PID)
	}
	err = c.change(func() error {
		c.state.LastID = max(c.state.LastID, c.state.Brokers[len(c.state.Brokers)-1].ID)
		for i := range c.state.Brokers {
			if c.state.Brokers[i].ID == id {
				c.state.Brokers = append(c.state.Brokers[:i], c.state.Brokers[i+1:]...)
				break
			}
		}
		for i := range c.state.Brokers {
			if b := &c.state.Brokers[i]; b.Joined {
				if err := c.writeJoined(b); err != nil {
					return err
				}
			}
		}
		return c.writeContext()
	})
	if err != nil {
		return err
	}
	return os.RemoveAll(c.brokerDir(id))
}
