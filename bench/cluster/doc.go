// Package cluster runs a cluster of real broker processes on this machine: for trying Trunkline out
// (trunkline local), for the demonstration, for black-box tests and for fault injection.
//
// A cluster lives in one directory and outlasts the process that started it:
//
//	DIR/cluster.json   what was started: per broker its ID, process, addresses
//	DIR/context.json   how clients reach it (TRUNKLINE_CONTEXT)
//	DIR/pki/           development CA shared by the brokers
//	DIR/broker-N/      trunkline.yaml, data/ and log of broker N
//
// A process is identified by pid and kernel start time, so a pid that was used again is never signalled.
// A Cluster is safe for concurrent use, also from several processes.
package cluster
