// Package journaltest checks Raft log storages from outside.
package journaltest
