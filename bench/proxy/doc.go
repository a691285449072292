// Package proxy stands between clients and brokers (UDP, QUIC inside) and between brokers (TCP, TLS inside), and does to what
// passes what a bad network does. It looks into nothing: what is inside is encrypted.
//
// A UDP and a TCP have one front, where others connect, and one target. What they do is one value of settings, which may be
// replaced at any time, and they count what they did (Counts).
//
// # UDP
//
//	clients --front socket--> fate --> [delayed] --back socket of the client--> target, and back the same way
//
// Each datagram is lost, damaged, doubled, delayed or overtaken by those behind it as a seeded source decides: the fate of the
// n-th datagram of the k-th client in one direction follows from the seed, k, n and the settings at that time, and from nothing else.
// Each client address has a socket towards the target, as behind a NAT. Rebind gives every client another port, or another
// address, in the middle of its connection; what the target still sends to the old one is lost, as it is behind a NAT.
// Without Reorder the order stays, also with jitter.
//
// # TCP
//
//	dialler --front--> read --chunks--> held until due, while stalled, for the rate --> write --> target, and back
//
// Nothing is lost here, since a stream has no gaps: bytes come later (delay, rate), not at all (stall), or the connection ends
// by RST (Cut). A delayed or stalled connection also delays or withholds its end. Refuse closes the front. While the target refuses
// connections the front is closed too, so that who dials through it sees a dead process as one that dials directly does. A
// front cannot see who dials it; TCPConfig.Who may say so (DialledBy finds it out on one machine), and
// TCPSettings.From then has settings by dialler.
//
// # What it is not
//
// A stall is not a black hole: kernels acknowledge the bytes that the proxy withholds, and new connections are accepted, so an
// endpoint learns of it by its own timeouts and not by TCP's. Shared rates are fair between connections and have no common queue. A
// UDP front stays open when its target's port is closed: nobody is told "port unreachable" through it.
//
// # Bounds
//
//	clients of a UDP          UDPConfig.MaxClients; the one idle longest is forgotten ("evicted"): its way back ends, and if
//	                          it sends again it is a new client with a new port
//	delayed datagrams         UDPConfig.QueueBytes; more are dropped ("overflowed")
//	connections of a TCP      TCPConfig.MaxConnections; more are reset ("surplus")
//	bytes held of a direction windowBytes, and less under a rate: what it passes in windowTime; then nothing is read any more, and
//	                          TCP makes the sender wait. A connection delayed by d thus carries windowBytes/d at most.
//	dials to the target       dialLimit
//
// All methods may be called from any goroutine. Close ends all goroutines and sockets, and waits for them. Linux only.
package proxy
