//go:build !race

package raftnet

const raceFactor = 1
