// Package linear decides by search whether small histories are linearizable: topic metadata, and the committed positions of
// subscriptions (I12 of package verify). The search is porcupine's.
//
// It is for operations at a few a second. Keys (topic names, subscriptions with their partition) are searched one by one, at most
// maxOps operations each; what has more is refused, so the workload must stop recording a key before that. A history that is not
// decided within the cap is Undecided: neither sound nor broken, and a caller must not take it for sound.
//
// # Unknown operations
//
// An operation without an answer may take effect at any time after it was invoked. So its return is moved to the end of time and
// it gets a client of its own. One that failed for certain is left out.
//
// # Topics
//
// The state of a name is whether there is a topic, its identity, and the highest identity there ever was. Identities only grow. A
// creation that is unknown leaves a topic whose identity is not known until somebody is told of it.
//
//	create ok ID        there was none; there is ID, higher than all before
//	create fail         left out by the rule above, as an answer "it exists" to a race says nothing that a describe would not
//	delete ok ID        ID is gone: now, or it was before, and then its successor may have been taken instead
//	delete ok, ID 0     the worker did not know which: whatever there was may be gone
//	describe ok ID, 0   there is ID, or there is none
//
// A broker describes from its own image, which follows the others. So a describe may answer what was true up to Options.Stale before
// it was invoked, and not earlier.
//
// # Positions
//
// A committed position only moves forward. commit ok: it is at Offset or above. position ok: it is exactly Offset, and no later
// position is below it; that it is not above what was acknowledged is up to verify.Turns. An unknown commit says nothing: a client commits
// on its own too, so any position above the last known one is possible at any time. A leader that was replaced and does not know
// it yet answers from its own state, which Options.Stale allows for.
package linear
