package meta

// answers remembers the answers of the last rememberedRequests requests in the order of the log, so that a request
// that was proposed twice is answered twice and executed once. At the bound the oldest is forgotten. The zero value
// is empty.
type answers struct {
	ring []answer // oldest at head once it is full
	head int
	by   map[uint64]int // request -> index in ring
}

type answer struct {
	request uint64
	kind    commandKind
	name    string
	result  result
}

func (a *answers) get(request uint64) (answer, bool) {
	i, ok := a.by[request]
	if !ok {
		return answer{}, false
	}
	return a.ring[i], true
}

// put remembers an answer to a request that get does not know.
func (a *answers) put(x answer) {
	if a.by == nil {
		a.by = make(map[uint64]int)
	}
	if len(a.ring) < rememberedRequests {
		a.by[x.request] = len(a.ring)
		a.ring = append(a.ring, x)
		return
	}
	delete(a.by, a.ring[a.head].request)
	a.ring[a.head] = x
	a.by[x.request] = a.head
	a.head = (a.head + 1) % len(a.ring)
}

// each calls f for every remembered answer, oldest first.
func (a *answers) each(f func(*answer)) {
	for i := range a.ring {
		f(&a.ring[(a.head+i)%len(a.ring)])
	}
}
