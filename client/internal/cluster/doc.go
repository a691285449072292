// Package cluster is what a client knows of a cluster, and its connections: the newest metadata image,
// the leaders of all partitions, one connection per broker it needs, and the loop that keeps a stream
// on a partition's leader (Follow).
//
// It knows nothing of producers and subscriptions; those run as sessions inside Follow.
// All methods of Cluster may be called from any goroutine.
//
// Invariants:
//
//  1. An image is replaced only by one of the same or a higher version; a leader only by one of a
//     higher epoch. So it does not matter which broker a piece of news came from, or when.
//  2. Nobody waits for a connection without also hearing of a change of leader: a dead broker holds up
//     nothing that has moved away from it.
//  3. A connection that was needed once is dialled again for ever, with jittered backoff, until its
//     broker leaves the image or the cluster is closed.
//  4. While nothing is connected, or no broker is known yet, the seed addresses are tried as well.
//  5. News is pushed by every connected broker; while a partition is stuck they are asked as well.
//
// Bounds: one goroutine per broker, one for refreshing, and one for the seeds with one more per
// seed while it dials;
// retry delays first 0, then 10 ms growing to 250 ms, 1 s in long outages.
package cluster
