// Package liveness knows which brokers are alive.
package liveness
