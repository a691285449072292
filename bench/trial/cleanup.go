package trial

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/client"
)

// cleanUpLimit bounds ending a cluster that a trial started.
const cleanUpLimit = 60 * time.Second

// CleanUp ends what a trial started: the client, the brokers and dir, the directory that holds it all. With keep the brokers
// are killed and their logs and data stay. c and brokers may be nil.
func CleanUp(c *client.Client, brokers *cluster.Cluster, dir string, keep bool, say func(format string, args ...any)) error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanUpLimit)
	defer cancel()
	var errs []error
	if c != nil {
		errs = append(errs, c.Close(ctx))
	}
	if brokers != nil && keep {
		for _, b := range brokers.Brokers() {
			if b.PID != 0 {
				errs = append(errs, brokers.Kill(ctx, b.ID))
			}
		}
		say("the brokers' logs and data are in %s", dir)
		return errors.Join(errs...)
	}
	if brokers != nil {
		errs = append(errs, brokers.Down(ctx))
	}
	return errors.Join(append(errs, os.RemoveAll(dir))...)
}
