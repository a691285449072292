// Package demo proves from outside that killing leaders loses, repeats and reorders nothing.
//
// It starts three real broker processes, streams a real file through a replicated topic, kills the busiest leader again
// and again while publishing and consuming go on, and then compares every replica with what was acknowledged
// (package bench/trial).
package demo
