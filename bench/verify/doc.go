// Package verify decides from outside whether a message broker kept its promises: it compares what a load program was told
// (acknowledgements, refusals) with what consumers were given, what every replica holds, and what brokers say of themselves.
//
// It is pure: values in, findings out; no clock, no I/O. A checker is fed while the run goes on and keeps no operations, so that
// runs of tens of millions of messages can be judged. n is the number of events in this table:
//
//	     invariant                              decided by                      cost    memory                 bad histories in
//	I1   every acknowledged record is there     Ledger, then Trail per replica  O(n)    4 bits + 8 B a message ledger_test, trail_test
//	I2   nothing is there that was not sent     Ledger, Trail                   O(n)    the same               ledger_test, trail_test
//	I3   one offset, one value                  Trail                           O(n)    the same               trail_test
//	I4   order of each producer                 Ledger                          O(n)    the same               ledger_test
//	I5   no record twice                        Ledger                          O(n)    the same               ledger_test
//	I6   offsets are dense                      Trail per replica               O(n)    the same               trail_test
//	I7   delivery goes on where it was          Turns                           O(n)    1.3 KB a partition     turns_test
//	I8   order in real time                     RealTime                        O(n)    8 B a partition        realtime_test
//	I9   nothing seen disappears                Progress meanwhile, Trail after O(n)    1.6 KB a partition     progress_test, trail_test
//	I10  replicas are equal                     bench/chaos, byte for byte      O(bytes)  one batch            bench/chaos
//	I11  replicas do not go back                Progress                        O(n)    64 B a replica         progress_test
//	I12  metadata and positions, linearizable   package linear, Identities      search  2000 operations a key  linear, identities_test
//	I13  the system goes on                     Liveness                        O(n)    0.5 KB a partition     liveness_test
//	I14  as good as before                      Hygiene                         O(n)    24 B a process         hygiene_test
//	I15  time until it is whole                 Recovery                        O(n)    8 B a fault            recovery_test
//	     memory does not grow                   Level                           O(n log n)  the series         level_test
//	I16  what had to happen has happened        Show                            O(n)    none                   evidence_test
//
// I1 to I6 for a run of a few thousand records that is kept as a whole: Replicas and Delivery. What a failing run leaves of its
// operations, and the first violation among its neighbours, is package history.
//
// Each checker has tests of two kinds: every history that breaks it in one way, written by hand; and random histories, of which
// those that are sound are accepted, and the same ones changed in one place in a forbidden way are rejected.
//
// # Terms
//
//	lost        an acknowledged record is not at its acknowledged place
//	duplicated  one record stands at two places, or was delivered twice
//	reordered   records of one producer stand or were delivered in another order than they were sent
//	phantom     a record that was never sent, or whose publish was answered "definitely not"
//	gap         offsets of a replica are not dense
//	diverged    two replicas hold different records at one offset
//
// # Misuse and bounds
//
// What a checker is told in the wrong order (an answer to what was never sent, a turn after a later one) is a violation: a harness
// that mixes up its events must not pass. Partition, producer and subscription numbers beyond those that a checker was made for
// panic. Every map and list has its bound in the comment of its type. Examples are bounded by maxExamples; counts are not.
package verify
