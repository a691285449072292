// Package planted is a message system inside the bench that breaks its promises on purpose: it shows that the bench's checks see
// it. Its profile "sound" breaks none, costs little, and measures the bench itself.
//
// A partition is a log in memory that one goroutine, its leader, appends to and answers from. A subscription has a cursor on each
// partition; a consumer takes what there is from any partition that nobody else is taking from. Nodes are imaginary: partition p is
// led by node p modulo nodes plus one, and while that node is down or paused the partition neither answers nor delivers.
//
// Each profile misbehaves with one in period messages of a partition, by count and not by chance. Reordering needs two messages of
// one producer that wait at the same time: it is made up for later where there are none, and never comes if there is one in flight.
//
// Bounds: maxWaiting messages without an answer a partition; maxBytes of stored payloads, and what does not fit is answered as not
// appended. What every subscription of a topic has had is dropped.
package planted
