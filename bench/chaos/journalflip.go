package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
)

// refuseLimit is how long a broker may take to see that it must not start.
const refuseLimit = 20 * time.Second

// journalFlip changes one byte in the middle of a broker's Raft log while the broker is down, starts it, and demands that it
// refuses, naming file and offset. Then the byte is put back: nothing was lost, so it must start.
type journalFlip struct {
	harmless
	refused int64
}

func (f *journalFlip) Name() string             { return "journalflip" }
func (f *journalFlip) Counts() map[string]int64 { return map[string]int64{"refused_starts": f.refused} }

func (f *journalFlip) Inject(ctx context.Context, c *cluster.Cluster, victims []int) error {
	return each(victims, func(id int) error { return c.Kill(ctx, id) })
}

// refusal is how the broker names the place.
var refusal = regexp.MustCompile(`\.wal is damaged at byte \d+`)

func (f *journalFlip) Prove(ctx context.Context, c *cluster.Cluster, victims []int) error {
	for _, id := range victims {
		path, at, err := middleOfJournal(brokerData(c.Dir(), id))
		if err != nil {
			return err
		}
		if err := flip(path, at); err != nil {
			return err
		}
		said, err := refusedStart(ctx, c, id)
		if err := errors.Join(err, flip(path, at)); err != nil {
			return err
		}
		if !refusal.MatchString(said) {
			return fmt.Errorf("broker %d refused a damaged Raft log (%s, byte %d) without saying where: %s", id, path, at, said)
		}
		f.refused++
	}
	return nil
}

func (f *journalFlip) Recover(_ context.Context, c *cluster.Cluster, victims []int) error {
	return spawn(c, victims)
}

// Layout of a file of the Raft log, from package journal: rounds begin on blocks, with a magic and the file's id.
const (
	walBlock  = 4096
	walIDAt   = 8  // in a round's header
	walFileID = 32 // in the file's header
	// roundsAround is how many rounds of the file lie before and behind the damage, so that it is neither the header nor a torn end.
	roundsAround = 4
)

// middleOfJournal returns a place in a round of the Raft log that many rounds follow.
func middleOfJournal(data string) (string, int64, error) {
	var files []string
	err := filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".wal" {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return "", 0, fmt.Errorf("raft log: %w", err)
	}
	for _, path := range slices.Backward(files) {
		text, err := os.ReadFile(path)
		if err != nil {
			return "", 0, fmt.Errorf("raft log: %w", err)
		}
		if rounds := roundsOf(text); len(rounds) > 2*roundsAround {
			return path, rounds[len(rounds)/2] + walIDAt + 8, nil
		}
	}
	return "", 0, fmt.Errorf("no file of the Raft log below %s has %d rounds", data, 2*roundsAround)
}

// roundsOf returns where the rounds of a file begin.
func roundsOf(file []byte) (at []int64) {
	if len(file) < 2*walBlock {
		return nil
	}
	magic, id := file[walBlock:walBlock+4], file[walFileID:walFileID+8]
	for i := walBlock; i+walBlock <= len(file); i += walBlock {
		if bytes.Equal(file[i:i+4], magic) && bytes.Equal(file[i+walIDAt:i+walIDAt+8], id) {
			at = append(at, int64(i))
		}
	}
	return at
}

// flip changes one bit of a byte, and back when called again.
func flip(path string, at int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	b[0] ^= 0x10
	if err == nil {
		_, err = f.WriteAt(b, at)
	}
	return errors.Join(err, f.Close())
}

// refusedStart starts a broker that must not come up and returns what it logged.
func refusedStart(ctx context.Context, c *cluster.Cluster, id int) (string, error) {
	before, err := os.Stat(c.Log(id))
	if err != nil {
		return "", err
	}
	if err := c.Spawn(id); err != nil && !errors.Is(err, cluster.ErrEndedAtOnce) {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, refuseLimit)
	defer cancel()
	for {
		b, err := c.Broker(id)
		if err != nil {
			return "", err
		}
		if b.PID == 0 {
			break
		}
		if sleep(ctx, 10*time.Millisecond) != nil {
			return "", fmt.Errorf("broker %d runs after %v, and should have refused to start: see %s", id, refuseLimit, c.Log(id))
		}
	}
	text, err := os.ReadFile(c.Log(id))
	if err != nil {
		return "", err
	}
	return string(text[min(before.Size(), int64(len(text))):]), nil
}
