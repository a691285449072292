package storefs

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Mem is a file system in memory for tests. It knows what is durable (see the package's invariants), and
// CrashClone shows what a power cut would leave. All of it is held in memory; nothing bounds it.
type Mem struct {
	mu      sync.Mutex
	names   map[string]*node // by clean path; guarded by mu
	durable map[string]*node // names as of each directory's last SyncDir; guarded by mu
}

// node is a file or directory, apart from its name. Guarded by Mem.mu.
type node struct {
	dir    bool
	data   []byte
	synced []byte // data as of the last Sync; never written to in place
	mod    time.Time
}

// NewMem returns a file system with only the directories "/" and ".".
func NewMem() *Mem {
	m := &Mem{names: map[string]*node{}, durable: map[string]*node{}}
	for _, d := range []string{"/", "."} {
		n := &node{dir: true}
		m.names[d], m.durable[d] = n, n
	}
	return m
}

func memError(op, name string, err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }

// OpenFile implements FS.
func (m *Mem) OpenFile(name string, flag int) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Clean(filepath.ToSlash(name))
	writable := flag&(os.O_WRONLY|os.O_RDWR) != 0
	n, ok := m.names[name]
	switch {
	case ok && n.dir && writable:
		return nil, memError("open", name, fs.ErrInvalid)
	case ok && flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return nil, memError("open", name, fs.ErrExist)
	case !ok && flag&os.O_CREATE == 0:
		return nil, memError("open", name, fs.ErrNotExist)
	case !ok:
		if parent := m.names[path.Dir(name)]; parent == nil || !parent.dir {
			return nil, memError("open", name, fs.ErrNotExist)
		}
		n = &node{mod: time.Now()}
		m.names[name] = n
	}
	if flag&os.O_TRUNC != 0 && writable {
		n.data = nil
	}
	return &memFile{m: m, n: n, name: name, writable: writable, appends: flag&os.O_APPEND != 0}, nil
}

// Open implements FS.
func (m *Mem) Open(name string) (File, error) { return m.OpenFile(name, os.O_RDONLY) }

// Create implements FS.
func (m *Mem) Create(name string) (File, error) {
	return m.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for d := path.Clean(filepath.ToSlash(dir)); ; d = path.Dir(d) {
		n, ok := m.names[d]
		if ok && !n.dir {
			return memError("mkdir", d, fs.ErrExist)
		}
		if ok {
			return nil
		}
		m.names[d] = &node{dir: true, mod: time.Now()}
	}
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Clean(filepath.ToSlash(name))
	n, ok := m.names[name]
	if !ok {
		return memError("remove", name, fs.ErrNotExist)
	}
	if n.dir && len(m.children(name)) > 0 {
		return memError("remove", name, fs.ErrInvalid)
	}
	delete(m.names, name)
	return nil
}

// RemoveAll implements FS.
func (m *Mem) RemoveAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Clean(filepath.ToSlash(name))
	for p := range m.names {
		if p == name || strings.HasPrefix(p, name+"/") {
			delete(m.names, p)
		}
	}
	return nil
}

// Rename implements FS.
func (m *Mem) Rename(oldName, newName string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	oldName, newName = path.Clean(filepath.ToSlash(oldName)), path.Clean(filepath.ToSlash(newName))
	n, ok := m.names[oldName]
	if !ok {
		return memError("rename", oldName, fs.ErrNotExist)
	}
	for p, c := range m.names {
		if rest, below := strings.CutPrefix(p, oldName+"/"); below {
			delete(m.names, p)
			m.names[newName+"/"+rest] = c
		}
	}
	delete(m.names, oldName)
	m.names[newName] = n
	return nil
}

// ReadDir implements FS.
func (m *Mem) ReadDir(dir string) ([]fs.DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = path.Clean(filepath.ToSlash(dir))
	if n, ok := m.names[dir]; !ok || !n.dir {
		return nil, memError("readdir", dir, fs.ErrNotExist)
	}
	var entries []fs.DirEntry
	for _, p := range m.children(dir) {
		entries = append(entries, fs.FileInfoToDirEntry(m.info(p)))
	}
	return entries, nil
}

// Stat implements FS.
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Clean(filepath.ToSlash(name))
	if _, ok := m.names[name]; !ok {
		return nil, memError("stat", name, fs.ErrNotExist)
	}
	return m.info(name), nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = path.Clean(filepath.ToSlash(dir))
	if n, ok := m.names[dir]; !ok || !n.dir {
		return memError("sync", dir, fs.ErrNotExist)
	}
	for p := range m.durable {
		if path.Dir(p) == dir && p != dir && m.names[p] == nil {
			delete(m.durable, p)
		}
	}
	for _, p := range m.children(dir) {
		m.durable[p] = m.names[p]
	}
	return nil
}

// children returns the sorted paths directly in dir. mu is held.
func (m *Mem) children(dir string) []string {
	var paths []string
	for p := range m.names {
		if path.Dir(p) == dir && p != dir {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	return paths
}

// info describes what is at p. mu is held.
func (m *Mem) info(p string) fs.FileInfo {
	n := m.names[p]
	return memInfo{name: path.Base(p), size: int64(len(n.data)), dir: n.dir, mod: n.mod}
}

type memInfo struct {
	name string
	size int64
	dir  bool
	mod  time.Time
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) ModTime() time.Time { return i.mod }
func (i memInfo) IsDir() bool        { return i.dir }
func (i memInfo) Sys() any           { return nil }

func (i memInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | dirMode
	}
	return fileMode
}

// CrashClone returns what would be on the disk if the power failed now; m goes on undisturbed. With r nil nothing
// survives that was not synced. Otherwise r decides, for each name, each file's length and each 512-byte sector,
// whether the unsynced change survived, independently of each other and of the order in which they were made.
func (m *Mem) CrashClone(r *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := NewMem()
	clones := map[*node]*node{}
	for _, p := range m.allPaths() {
		n := m.durable[p]
		if r != nil && n != m.names[p] && r.IntN(2) == 0 {
			n = m.names[p]
		}
		parent := c.names[path.Dir(p)]
		if n == nil || parent == nil || c.names[p] != nil {
			continue // not there, its directory is lost, or a root
		}
		clone, ok := clones[n]
		if !ok {
			data := crashData(n, r)
			clone = &node{dir: n.dir, data: data, synced: slices.Clone(data), mod: n.mod}
			clones[n] = clone
		}
		c.names[p], c.durable[p] = clone, clone
	}
	return c
}

// Clone returns a copy of everything, synced or not, which knows as much about what is durable: what a process that was
// killed leaves to the next one. m goes on undisturbed.
func (m *Mem) Clone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &Mem{names: make(map[string]*node, len(m.names)), durable: make(map[string]*node, len(m.durable))}
	clones := map[*node]*node{}
	for _, dir := range []struct{ from, to map[string]*node }{{m.names, c.names}, {m.durable, c.durable}} {
		for p, n := range dir.from {
			if clones[n] == nil { // synced is never written to in place
				clones[n] = &node{dir: n.dir, data: slices.Clone(n.data), synced: n.synced, mod: n.mod}
			}
			dir.to[p] = clones[n]
		}
	}
	return c
}

// allPaths returns every path that exists or is durable, parents first. mu is held.
func (m *Mem) allPaths() []string {
	var paths []string
	for p := range m.names {
		paths = append(paths, p)
	}
	for p := range m.durable {
		if m.names[p] == nil {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths) // a parent is a prefix of its children; sorted also for r's sake
	return paths
}

const sectorSize = 512

// crashData mixes n's synced and current bytes as r says.
func crashData(n *node, r *rand.Rand) []byte {
	if r == nil {
		return slices.Clone(n.synced)
	}
	least, most := min(len(n.synced), len(n.data)), max(len(n.synced), len(n.data))
	out := make([]byte, least+r.IntN(most-least+1))
	for lo := 0; lo < len(out); lo += sectorSize {
		hi := min(lo+sectorSize, len(out))
		src := n.synced
		if r.IntN(2) == 0 {
			src = n.data
		}
		if lo < len(src) {
			copy(out[lo:hi], src[lo:])
		}
	}
	return out
}
