package raftnode

import "github.com/lni/vfs"

// files is the file system of Dragonboat without preallocation. Its log store reserves 64 MiB of disk for each log file
// that it creates, one a replica and another at each restart: 200 partitions would take 13 GiB of every broker's
// disk while they are empty. It reserves only in files that it sees to be *os.File.
type files struct{ vfs.FS }

func (f files) Create(name string) (vfs.File, error) {
	file, err := f.FS.Create(name)
	if err != nil {
		return nil, err
	}
	return unreserved{file}, nil
}

// unreserved hides what kind of file it is.
type unreserved struct{ vfs.File }
