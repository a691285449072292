package raftnode

import (
	"crypto/md5"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	pb "github.com/lni/dragonboat/v4/raftpb"
)

// Dragonboat puts everything below a directory named after the host and refuses to start when the host's name has
// changed since, as it does with every new container. The name means nothing to us: brokers are told apart by their
// ID. So the directory is always hostDir, a symbolic link gives it today's name, and the name recorded in Dragonboat's
// flag file is brought up to date before it looks.
const (
	hostDir  = "host"
	flagFile = "dragonboat.ds"
	// flagSumBytes is the length of the checksum at the head of the flag file: the last 8 bytes of the MD5 of the rest.
	flagSumBytes = 8
)

// pinHostname prepares dir for a NodeHost whatever the host's name is now.
func pinHostname(dir string) error {
	name, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, hostDir), 0o755); err != nil {
		return err
	}
	link := filepath.Join(dir, name)
	if name != hostDir {
		if err := os.Symlink(hostDir, link); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if to, err := os.Readlink(link); err != nil || to != hostDir {
			return fmt.Errorf("%s is not a link to %s", link, hostDir)
		}
	}
	return renameHost(filepath.Join(dir, flagFile), name)
}

// renameHost sets the host name in a flag file, if there is one.
func renameHost(file, name string) error {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var status pb.RaftDataStatus
	if len(b) < flagSumBytes || status.Unmarshal(b[flagSumBytes:]) != nil {
		return fmt.Errorf("%s: damaged", file)
	}
	if status.Hostname == name {
		return nil
	}
	status.Hostname = name
	body, err := status.Marshal()
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	sum := md5.Sum(body)
	return replaceFile(file, append(sum[len(sum)-flagSumBytes:], body...))
}

// replaceFile replaces a file in one step that survives a crash.
func replaceFile(file string, b []byte) error {
	tmp := file + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, file); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
