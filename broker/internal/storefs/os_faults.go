//go:build faults

package storefs

import "github.com/trunkline/trunkline/broker/internal/failpoint"

// OS is the file system of the operating system, in which failpoints can make operations fail.
var OS = Faulty(osFS{}, func(op Op, name string) error { return failpoint.Error("fs."+string(op), name) })
