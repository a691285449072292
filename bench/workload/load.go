package workload

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/trunkline/trunkline/bench/workloads"
)

// maxText bounds a workload file, in bytes. OMB's largest has 1 200.
const maxText = 64 << 10

const suffix = ".yaml"

// Load reads a workload from a YAML file, and the payload file that it names.
func Load(path string) (*Workload, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("workload: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err != nil {
		return nil, fmt.Errorf("workload: %w", err)
	}
	w, err := parse(text, path)
	if err != nil {
		return nil, err
	}
	if err := w.readPayload(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("%s: payloadFile: %w", path, err)
	}
	return w, nil
}

// Parse reads a workload from YAML. name is the file's: it stands in errors and, without folder and ".yaml", for a missing key
// "name". A payload file is not looked for, which a note says.
func Parse(text []byte, name string) (*Workload, error) {
	w, err := parse(text, name)
	if err != nil {
		return nil, err
	}
	if w.PayloadFile != "" {
		w.note("payloadFile %s was not looked for", w.PayloadFile)
	}
	return w, nil
}

func parse(text []byte, name string) (*Workload, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("%s: larger than %d bytes: not a workload", name, maxText)
	}
	root, err := document(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	w := &Workload{Name: strings.TrimSuffix(filepath.Base(name), suffix)}
	var p problems
	w.decode(root, &p)
	w.check(&p)
	if err := p.err(name + ": "); err != nil {
		return nil, err
	}
	return w, nil
}

// Find loads a file, if there is one at that path or it ends in ".yaml", or else the library's workload of that name.
func Find(nameOrPath string) (*Workload, error) {
	info, err := os.Stat(nameOrPath)
	if err == nil && !info.IsDir() || strings.HasSuffix(nameOrPath, suffix) {
		return Load(nameOrPath)
	}
	return fromLibrary(nameOrPath)
}

func fromLibrary(name string) (*Workload, error) {
	text, err := workloads.FS.ReadFile(name + suffix)
	if err != nil {
		return nil, fmt.Errorf("workload: %q is neither a file nor one of the library: %s", name, strings.Join(names(), ", "))
	}
	return Parse(text, name+suffix)
}

// Library returns all workloads of the library, sorted by name. Each call makes new ones.
func Library() []*Workload {
	var all []*Workload
	for _, name := range names() {
		// The files are part of the program and a test reads each of them: none fails here.
		if w, err := fromLibrary(name); err == nil {
			all = append(all, w)
		}
	}
	return all
}

// names of the library, sorted.
func names() []string {
	files, err := fs.Glob(workloads.FS, "*"+suffix)
	if err != nil {
		return nil // only for a malformed pattern
	}
	for i := range files {
		files[i] = strings.TrimSuffix(files[i], suffix)
	}
	slices.Sort(files) // "a-b.yaml" comes before "a.yaml", but "a" before "a-b"
	return files
}
