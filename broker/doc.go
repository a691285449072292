// Package broker assembles one Trunkline broker: configuration, start, drain and stop.
//
// It owns the order in which parts start and stop and nothing else; every mechanism lives in a package
// under internal. Open runs a whole broker inside the calling process, so a test or an embedding
// program gets exactly what the daemon runs.
//
// Start order (stop is the reverse):
//
//	identity  data directory locked, its marker checked against the configuration
//	pki       certificates found or, for development, made
//	raftnet   Raft listener bound, peers probed: a wiped or foreign directory is refused here
//	liveness  made, silent yet
//	raftnode  Dragonboat
//	meta      metadata shard, this broker registered
//	controller  replicas that metadata places here
//	session   QUIC listener, clients; only now the network and liveness begin to talk, and replicas start
//	admin     HTTP: health, metrics, profiles
//
// A Broker is safe for concurrent use. Close is idempotent and returns when every goroutine ended.
package broker
