//go:build !race

package raftnode

const raceFactor = 1
