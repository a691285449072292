// Package blackbox holds the tests that start real binaries and look at them from outside, as a user would: clusters of
// broker processes, the SDK, the command line.
//
// Each test has a cluster of its own in a temporary directory and ends every process it started. It has no code
// for others.
package blackbox
