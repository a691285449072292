package chaos

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/observe"
)

// repairLimit is how long a broker may take to find and repair a damaged segment. What a scrub has just passed is found by the next one:
// two of them, each of partitions x keepBytes at scrubRate, are a few seconds.
const (
	repairLimit = 20 * time.Second
	scrubEvery  = "2s"
	scrubRate   = "32MiB"
)

const (
	repairedMetric = "trunkline_fsm_segments_repaired_total"
	damagedMetric  = "trunkline_fsm_damaged_segments"
)

// segmentFlip changes one bit in the middle of the newest sealed segment of each partition of a broker that runs, and demands
// that the broker finds it by itself and has the old bytes again.
type segmentFlip struct {
	harmless
	flipped []flippedBit
	before  map[int]float64 // repairs of the victims until now

	flips, repairs int64
}

// flippedBit is one place that was changed.
type flippedBit struct {
	path string
	at   int64
	was  byte
}

func (f *segmentFlip) Name() string { return "segmentflip" }

func (f *segmentFlip) Counts() map[string]int64 {
	return map[string]int64{"segments_flipped": f.flips, "segments_put_right": f.repairs}
}

func (f *segmentFlip) Inject(ctx context.Context, c *cluster.Cluster, victims []int) error {
	f.flipped, f.before = nil, map[int]float64{}
	for _, id := range victims {
		if err := f.harm(ctx, c, id); err != nil {
			return err
		}
	}
	return nil
}

func (f *segmentFlip) harm(ctx context.Context, c *cluster.Cluster, id int) error {
	b, err := c.Broker(id)
	if err != nil {
		return err
	}
	values, err := observe.Scrape(ctx, b.Admin, repairedMetric)
	if err != nil {
		return err
	}
	f.before[id] = values[repairedMetric]
	paths, err := newestSealed(brokerData(c.Dir(), id))
	if err != nil {
		return err
	}
	for _, path := range paths {
		if err := f.flip(path); err != nil {
			return err
		}
	}
	return nil
}

// flip changes the middle of a segment; one that retention just took is no loss.
func (f *segmentFlip) flip(path string) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("segment: %w", err)
	}
	at := int64(len(text) / 2)
	if err := flip(path, at); err != nil {
		return err
	}
	f.flipped = append(f.flipped, flippedBit{path, at, text[at]})
	f.flips++
	return nil
}

// newestSealed returns, of each partition that has one, the segment before the one that grows.
func newestSealed(data string) ([]string, error) {
	logs, err := filepath.Glob(filepath.Join(data, "partitions/*/data/log.*"))
	if err != nil {
		return nil, err
	}
	var sealed []string
	for _, dir := range logs {
		segments, err := filepath.Glob(filepath.Join(dir, "*.log"))
		if err != nil {
			return nil, err
		}
		if slices.Sort(segments); len(segments) > 1 {
			sealed = append(sealed, segments[len(segments)-2])
		}
	}
	if len(sealed) == 0 {
		return nil, fmt.Errorf("no partition below %s has a sealed segment yet", data)
	}
	return sealed, nil
}

// Prove waits until every bit is as it was, or its segment was removed as old, and the brokers say the same. It looks at all of them all
// the time: under full load a segment is removed seconds after it was put right.
func (f *segmentFlip) Prove(ctx context.Context, c *cluster.Cluster, victims []int) error {
	ctx, cancel := context.WithTimeout(ctx, repairLimit)
	defer cancel()
	for wrong := f.flipped; ; {
		var err error
		if wrong, err = f.look(wrong); err != nil {
			return err
		}
		if len(wrong) == 0 {
			break
		}
		if sleep(ctx, 50*time.Millisecond) != nil {
			return fmt.Errorf("byte %d of %s was changed and is not repaired after %v", wrong[0].at, wrong[0].path, repairLimit)
		}
	}
	for _, id := range victims {
		if err := f.saysRepaired(ctx, c, id); err != nil {
			return err
		}
	}
	return nil
}

// look counts those of the bits that are as they were, and returns those that are not, without those that are gone.
func (f *segmentFlip) look(bits []flippedBit) (wrong []flippedBit, err error) {
	for _, bit := range bits {
		is, err := byteAt(bit.path, bit.at)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		case is == bit.was:
			f.repairs++
		default:
			wrong = append(wrong, bit)
		}
	}
	return wrong, nil
}

func (f *segmentFlip) saysRepaired(ctx context.Context, c *cluster.Cluster, id int) error {
	b, err := c.Broker(id)
	if err != nil {
		return err
	}
	for {
		values, err := observe.Scrape(ctx, b.Admin, repairedMetric, damagedMetric)
		if err != nil {
			return err
		}
		if values[repairedMetric] > f.before[id] && values[damagedMetric] == 0 {
			return nil
		}
		if sleep(ctx, 50*time.Millisecond) != nil {
			return fmt.Errorf("broker %d says that %.0f segments were repaired, %.0f before, and that %.0f are damaged",
				id, values[repairedMetric], f.before[id], values[damagedMetric])
		}
	}
}

func byteAt(path string, at int64) (byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	b := make([]byte, 1)
	_, err = file.ReadAt(b, at)
	return b[0], errors.Join(err, file.Close())
}
