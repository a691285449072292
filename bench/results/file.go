package results

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// MaxFileBytes bounds what Read takes into memory: about ten thousand runs of a minute.
const MaxFileBytes = 256 << 20

// Errors of Read. Wrapped errors say which file, what is wrong in it and what to do.
var (
	ErrForeign = errors.New("not a results file of trunkbench")
	ErrNewer   = errors.New("written by a newer trunkbench")
	ErrDamaged = errors.New("damaged results file")
)

// Read reads a results file and checks that its runs can be compared. The error wraps ErrForeign, ErrNewer or ErrDamaged, or
// is that of the file system.
func Read(path string) (*File, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	defer in.Close()
	data, err := io.ReadAll(io.LimitReader(in, MaxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read results %s: %w", path, err)
	}
	f, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("read results %s: %w", path, err)
	}
	return f, nil
}

func parse(data []byte) (*File, error) {
	if len(data) > MaxFileBytes {
		return nil, fmt.Errorf("%w: it is larger than %d MiB; name the JSON file that trunkbench wrote", ErrForeign, MaxFileBytes>>20)
	}
	var head struct {
		Schema *int             `json:"schema"`
		Runs   *json.RawMessage `json:"runs"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
			return nil, fmt.Errorf("%w: %w; measure again or take another copy", ErrDamaged, err)
		}
		return nil, fmt.Errorf("%w: %w; name the JSON file that trunkbench wrote", ErrForeign, err)
	}
	switch {
	case head.Schema == nil || head.Runs == nil || *head.Schema < 1:
		return nil, fmt.Errorf("%w: it has no schema or no runs; name the JSON file that trunkbench wrote", ErrForeign)
	case *head.Schema > Schema:
		return nil, fmt.Errorf("%w: schema %d, this one reads up to %d; use the trunkbench that wrote it", ErrNewer, *head.Schema, Schema)
	}
	var f File
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("%w: %w; measure again or take another copy", ErrDamaged, err)
	}
	if err := f.check(); err != nil {
		return nil, fmt.Errorf("%w: %w; measure again or take another copy", ErrDamaged, err)
	}
	return &f, nil
}

// check refuses what would make a comparison wrong without a word.
func (f *File) check() error {
	type place struct {
		system, workload string
		round            int
	}
	seen := make(map[place]bool, len(f.Runs))
	for i := range f.Runs {
		r := &f.Runs[i]
		at := place{r.System, r.Workload, r.Round}
		switch {
		case r.System == "" || r.Workload == "" || r.Round < 1:
			return fmt.Errorf("run %d has no system, no workload or no round", i+1)
		case r.Verdict != OK && r.Verdict != Inconclusive && r.Verdict != Failed:
			return fmt.Errorf("run %d has the verdict %q", i+1, r.Verdict)
		case seen[at]:
			return fmt.Errorf("run %d is a second one of %s on %s in round %d", i+1, r.Workload, r.System, r.Round)
		}
		seen[at] = true
	}
	return nil
}

// Write writes the file in one step: path holds either what it held before or all of f, also after a crash.
func (f *File) Write(path string) (err error) {
	data, err := json.MarshalIndent(f, "", " ")
	if err != nil {
		return fmt.Errorf("write results %s: %w", path, err)
	}
	out, err := os.CreateTemp(filepath.Dir(path), ".trunkbench-*")
	if err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write results %s: %w", path, err), os.Remove(out.Name()))
		}
	}()
	_, err = out.Write(append(data, '\n'))
	err = errors.Join(err, out.Chmod(0o644), out.Sync(), out.Close())
	if err != nil {
		return err
	}
	return os.Rename(out.Name(), path)
}
