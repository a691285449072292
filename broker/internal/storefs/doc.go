// Package storefs is the seam between Trunkline's storage packages and the file system.
//
// It owns the two interfaces FS and File, their implementation on the operating system (OS), and the two
// that tests put in its place: Mem, which forgets what was not synced when its power is cut, and Faulty,
// which makes chosen operations fail; in builds with the tag faults OS is one that failpoints control. It never buffers, retries or hides an error: above it a failed write or sync
// is final (fsyncgate: after a failed fsync the kernel may have dropped the dirty pages and report success next time).
//
// What is durable, on a real disk and in Mem alike:
//
//	Inv1  the bytes of a file, and its length, once its Sync or Datasync returned without error;
//	Inv2  the names in a directory (created, renamed, removed) once SyncDir of that directory did;
//	Inv3  everything else may be there after a crash, in whole or in part, in any order.
//
// A rename is atomic: after a crash the new name shows the old file or the new one, never a mixture.
//
// Concurrency: an FS and its Files may be used by any number of goroutines, except that Write (which moves the
// file's position) and Close belong to the goroutine that owns the File.
package storefs
