package engine

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trunkline/trunkline/bench/results"
)

// The measurement of fsync.
const (
	fsyncs     = 200
	fsyncBytes = 4 << 10
)

// Environment describes this machine and the filesystem of a directory, where it writes and removes a small file. What cannot
// be found out is left empty. It takes as long as 200 fsyncs.
func Environment(dir string) results.Environment {
	e := results.Environment{
		Trunkbench: version(), Go: runtime.Version(), OS: system(), CPU: field("/proc/cpuinfo", "model name"),
		Cores: runtime.NumCPU(), MemoryMiB: memory(), Filesystem: filesystem(dir), LoadBefore: load(),
	}
	if d, err := measureFsync(dir); err == nil {
		e.FsyncP50us, e.FsyncP99us = float64(d.at(50)), float64(d.at(99))
	}
	return e
}

// version is the module's version: a tag, or made from the commit and whether there were changes.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	return info.Main.Version
}

// system is the distribution and the kernel.
func system() string {
	name := strings.Trim(field("/etc/os-release", "PRETTY_NAME"), `"`)
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return name
	}
	return strings.TrimSpace(name + " " + unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:]))
}

// field returns the value of the first line "key: value" or "key=value" of a file.
func field(path, key string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(text) {
		rest, ok := bytes.CutPrefix(line, []byte(key))
		if ok {
			return strings.TrimLeft(strings.TrimSpace(string(rest)), ":= \t")
		}
	}
	return ""
}

func memory() int {
	kib, err := strconv.Atoi(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"))
	if err != nil {
		return 0
	}
	return kib >> 10
}

func load() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	minute, _, _ := strings.Cut(string(text), " ")
	v, _ := strconv.ParseFloat(minute, 64) // 0 is what we say when we do not know
	return v
}

// filesystem names the type of the filesystem of a directory.
func filesystem(dir string) string {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return ""
	}
	names := map[int64]string{
		unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs",
		unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.F2FS_SUPER_MAGIC: "f2fs", unix.NFS_SUPER_MAGIC: "nfs",
		0x2fc12fc1: "zfs", 0x01021997: "9p",
	}
	if name, ok := names[s.Type]; ok {
		return name
	}
	return fmt.Sprintf("type %#x", s.Type)
}

// measureFsync appends to a file and makes it durable, again and again.
func measureFsync(dir string) (*distribution, error) {
	f, err := os.Create(filepath.Join(dir, "trunkbench-fsync"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(f.Name()) }() // a small file, in a directory of the bench
	defer f.Close()
	d := newDistribution(fineDigits)
	block := make([]byte, fsyncBytes)
	for range fsyncs {
		begin := time.Now()
		if _, err := f.Write(block); err != nil {
			return nil, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return nil, err
		}
		d.record(time.Since(begin))
	}
	return d, nil
}
