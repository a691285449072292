// Package seglog stores one partition's record batches in append-only segment files.
package seglog
