// Package pki makes the certificates of a development cluster and loads certificates of any origin for TLS.
//
// It owns the files of a certificate directory (ca.pem, ca-key.pem, NAME.pem, .lock) and what TLS configurations say.
// It never dials or listens, and never overwrites an authority that exists.
//
// Invariants:
//
//	Inv1  a directory gets one authority in its life, however many processes start at once on it.
//	Inv2  NAME.pem holds certificate and key together and is replaced by a rename: a reader sees a pair that fits.
//	Inv3  ca.pem appears after ca-key.pem; an authority cut short by a crash is made anew, nobody has seen it.
//	Inv4  a Source always has a pair that fits: files it cannot load leave the loaded ones in place.
//
// EnsureCA and Issue may be called from any number of goroutines and processes; a Source from any goroutine.
package pki
