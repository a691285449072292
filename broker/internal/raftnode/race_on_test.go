//go:build race

package raftnode

// raceFactor allows for what the race detector keeps beside each object.
const raceFactor = 2
