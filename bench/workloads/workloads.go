// Package workloads is the library of workloads: one YAML file each, named after what it measures. Package workload explains
// the keys, reads the files and finds them by name.
package workloads

import "embed"

// FS holds the files.
//
//go:embed *.yaml
var FS embed.FS
