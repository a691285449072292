package chaos

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
)

// dieWithin is how long a broker may live after a failure with which it must not go on.
const dieWithin = time.Second

// death is the end of a broker's process by itself, as it is expected.
type death struct {
	c      *cluster.Cluster
	broker cluster.Broker
	log    int64     // size of its log before
	at     time.Time // when the process was gone
}

func expectDeath(c *cluster.Cluster, id int) (*death, error) {
	b, err := c.Broker(id)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(c.Log(id))
	if err != nil {
		return nil, fmt.Errorf("broker %d: %w", id, err)
	}
	return &death{c: c, broker: b, log: info.Size()}, nil
}

// await waits until the process is gone.
func (d *death) await(ctx context.Context, point string) error {
	for {
		b, err := d.c.Broker(d.broker.ID)
		if err != nil {
			return err
		}
		if b.PID != d.broker.PID {
			d.at = time.Now()
			return nil
		}
		if sleep(ctx, hitPoll) != nil {
			return fmt.Errorf("broker %d (pid %d) lives: %s was not passed, or did not end it, within %v", b.ID, b.PID, point, hitLimit)
		}
	}
}

var logTime = regexp.MustCompile(`^time=(\S+)`)

// prove returns an error unless the process ended by itself, with a code, soon after its log named the cause.
func (d *death) prove(ctx context.Context, cause string) error {
	state, err := d.c.Exit(d.broker.ID, d.broker.PID)
	for end := time.Now().Add(dieWithin); err != nil && time.Now().Before(end); state, err = d.c.Exit(d.broker.ID, d.broker.PID) {
		if serr := sleep(ctx, hitPoll); serr != nil {
			return serr
		}
	}
	if err != nil {
		return err
	}
	if !state.Exited() || state.ExitCode() == 0 {
		return fmt.Errorf("broker %d (pid %d) ended with %v, not by itself with a code", d.broker.ID, d.broker.PID, state)
	}
	said, named, err := d.said(cause)
	switch {
	case err != nil:
		return err
	case !named:
		return fmt.Errorf("broker %d ended with %v, but its log does not name %q: see %s", d.broker.ID, state, cause, d.c.Log(d.broker.ID))
	case !said.IsZero() && d.at.Sub(said) > dieWithin:
		return fmt.Errorf("broker %d lived for %v after %q, at most %v are allowed", d.broker.ID, d.at.Sub(said), cause, dieWithin)
	}
	return nil
}

// said returns when the log first named the cause; the time is zero if that was in the crash report, which tells none.
func (d *death) said(cause string) (at time.Time, named bool, err error) {
	f, err := os.Open(d.c.Log(d.broker.ID))
	if err != nil {
		return at, false, fmt.Errorf("broker %d: %w", d.broker.ID, err)
	}
	defer f.Close()
	if _, err := f.Seek(d.log, io.SeekStart); err != nil {
		return at, false, fmt.Errorf("broker %d: %w", d.broker.ID, err)
	}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if !strings.Contains(lines.Text(), cause) {
			continue
		}
		if m := logTime.FindStringSubmatch(lines.Text()); m != nil {
			if at, err = time.Parse(time.RFC3339Nano, m[1]); err != nil {
				return at, true, fmt.Errorf("broker %d: %w", d.broker.ID, err)
			}
		}
		return at, true, nil
	}
	return at, false, lines.Err()
}
