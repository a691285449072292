package journaltest

import (
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/plugin/tan"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/vfs"
)

// Tan is Dragonboat's own log storage, in memory. What it does is what Dragonboat was tested with.
func Tan() Subject {
	return Subject{KeepsTail: true, Fresh: func() Open {
		cfg := HostConfig(vfs.NewMem())
		return func() (raftio.ILogDB, error) { return tan.Factory.Create(cfg, nil, []string{"logdb"}, nil) }
	}}
}

// HostConfig is what a NodeHost with Workers step workers hands to a LogDB's factory.
func HostConfig(fs vfs.FS) config.NodeHostConfig {
	logdb := config.GetTinyMemLogDBConfig()
	logdb.KVWriteBufferSize = 64 << 10
	return config.NodeHostConfig{Expert: config.ExpertConfig{
		FS: fs, LogDB: logdb, Engine: config.EngineConfig{ExecShards: Workers},
	}}
}
