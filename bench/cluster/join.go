package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
)

// Join adds a broker to the running cluster, by asking those that run, and waits until it is ready. It gets the next ID; IDs of brokers
// that were removed are not used again. Nothing stands in front of it.
func (c *Cluster) Join(ctx context.Context) (id int, err error) {
	var known []string
	for _, b := range c.Brokers() {
		if b.PID != 0 {
			known = append(known, cmp.Or(b.FrontRaft, b.Raft))
		}
	}
	if len(known) == 0 {
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
		if err := c.writeBroker(b, map[string]any{"members": []any{b.member()}, "join": known}); err != nil {
			return err
		}
		return c.writeContext()
	})
	if err != nil {
		return 0, err
	}
	return id, c.Start(ctx, id)
}

// Remove forgets a broker that was decommissioned, or that is lost, and deletes its directory. Its process must have ended.
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
		return c.writeContext()
	})
	if err != nil {
		return err
	}
	return os.RemoveAll(c.brokerDir(id))
}
