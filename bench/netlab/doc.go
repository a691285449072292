// Package netlab is a laboratory network on one machine: every host has a network namespace of its own, and what passes between
// two of them can be lost or slowed down.
//
//	namespace of the harness (Hub)                  namespace of host 1
//	  harness, clients --- br0 10.77.0.254            lo, eth0 10.77.0.1
//	                        |--- host1 ------veth-----/
//	                        |--- host2 ------veth---- namespace of host 2 ...
//	                    nft, family bridge
//
// The harness lives in a fresh namespace too (Isolate), which holds nothing of the machine's network: no rule, link or address of
// the machine is touched, none is reachable, and laboratories of several processes do not see each other.
//
// # Losing packets
//
// Impair drops packets by source, destination and protocol where the bridge takes them: both ends see silence, as behind a
// broken switch, and not the error that a rule in the sender's own namespace would give it. Each impairment is one nft table of
// its own, made and removed in one transaction. Rules count what they drop; that is the proof that an impairment was one.
// ARP always passes. Links carry no super-packets (gso_max_segs 1), so that a rule judges each packet as a wire would.
//
// A share of packets is drawn by the kernel (numgen random), which takes no seed: which packets are lost differs from run to
// run. Delay, reordering and corruption need netem or a proxy and are not done here.
//
// # States, failure and bounds
//
//	process --Isolate--> in a namespace of its own --New--> laboratory --Impair, Throttle, in any number--> --Close--> nothing left
//
//	no root, a tool is missing        *UnavailableError, with what to install
//	New fails half-way                what was made is removed again
//	Close with impairments            they end with it
//	the harness ends, however         its namespaces are held by its open files only; links and rules go with them. Processes that
//	                                  were started in hosts keep their host's namespace until they end: tie them to the harness
//	                                  (cluster.Spec.Tied)
//
// At most MaxHosts hosts. Nothing is retried. A Lab and what it returns may be used from any goroutine.
package netlab
