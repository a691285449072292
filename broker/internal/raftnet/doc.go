// Package raftnet connects brokers: Raft messages, snapshots and liveness pings over TCP with mutual TLS.
package raftnet
