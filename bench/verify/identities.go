package verify

import "sync"

// Identities checks that names may come back and identities do not: that of a topic which is created, deleted and created again.
//
//	unique     an identity belongs to one creation, whatever its name is
//	ascending  a creation that began after another one was answered has a higher identity
//	sessions   whoever was told of a name's identity, or that it is gone, is never told of an older one
//
// Whether the answers fit together in real time is decided by package linear, by search; this is the part of it that needs none
// and holds over all names at once.
//
// Cost: constant. Memory: about 40 bytes for each creation, and the same for each session and name. Methods may be called from any
// goroutine; those of one session in the order of its events.
type Identities struct {
	mu      sync.Mutex
	created map[uint64]string    // by identity: the name; guarded by mu
	told    map[sessionName]view // guarded by mu
	highest uint64               // of answered creations; guarded by mu
	findings
}

type sessionName struct {
	session int
	name    string
}

// view is the newest that a session was told of a name.
type view struct {
	id   uint64
	gone bool // and that it is not there any more
}

// NewIdentities returns a checker that has seen nothing.
func NewIdentities() *Identities {
	return &Identities{created: map[uint64]string{}, told: map[sessionName]view{}}
}

// Began returns the highest identity that was given when a creation is about to begin.
func (i *Identities) Began() uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.highest
}

// Created judges the identity that a creation was answered with. floor is what Began returned for it.
func (i *Identities) Created(session int, name string, floor, id uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.checked.Add(1)
	if before, ok := i.created[id]; ok {
		i.note("identity %d was given to %q and again to %q", id, before, name)
	} else if id <= floor {
		i.note("%q got identity %d after identity %d was given", name, id, floor)
	}
	i.created[id] = name
	i.highest = max(i.highest, id)
	i.tell(session, name, id)
}

// Described judges what a session was told of a name.
func (i *Identities) Described(session int, name string, id uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.checked.Add(1)
	if other, ok := i.created[id]; ok && other != name {
		i.note("session %d was told that %q has identity %d, which belongs to %q", session, name, id, other)
	}
	i.tell(session, name, id)
}

// Absent notes that a session was told that a name is gone whose identity it knew.
func (i *Identities) Absent(session int, name string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.checked.Add(1)
	who := sessionName{session, name}
	if v, ok := i.told[who]; ok {
		v.gone = true
		i.told[who] = v
	}
}

// tell judges that a session's view of a name does not go back. i.mu is held.
func (i *Identities) tell(session int, name string, id uint64) {
	who := sessionName{session, name}
	switch v := i.told[who]; {
	case id < v.id:
		i.note("session %d was told that %q has identity %d, after identity %d", session, name, id, v.id)
	case id == v.id && v.gone:
		i.note("session %d was told that %q has identity %d, after its end", session, name, id)
	default:
		i.told[who] = view{id: id}
	}
}
