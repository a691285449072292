//go:build !faults

package storefs

// OS is the file system of the operating system.
var OS FS = osFS{}
