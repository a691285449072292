//go:build race

package raftnet

// raceFactor allows for the race detector.
const raceFactor = 4
