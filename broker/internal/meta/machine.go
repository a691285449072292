package meta

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/lni/dragonboat/v4/statemachine"

	"github.com/trunkline/trunkline/protocol"
)

// Machine is the state machine of the metadata shard as Dragonboat drives it. A process has one; it is empty until
// the shard's log has been replayed.
type Machine struct {
	mu      sync.Mutex
	state   *state        // guarded by mu
	image   *Image        // published; guarded by mu
	changed chan struct{} // closed when image is replaced; guarded by mu
}

var _ statemachine.IStateMachine = (*Machine)(nil)

// NewMachine returns an empty machine.
func NewMachine() *Machine {
	st := newState()
	return &Machine{state: st, image: st.image, changed: make(chan struct{})}
}

// Image returns the newest image.
func (m *Machine) Image() *Image {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.image
}

// Changed returns a channel that is closed when the image is replaced. Take it before Image, so that no change is
// missed in between.
func (m *Machine) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// publish makes the state's image the public one.
func (m *Machine) publish() {
	if m.image == m.state.image {
		return
	}
	m.image = m.state.image
	close(m.changed)
	m.changed = make(chan struct{})
}

// Update applies one command. It fails only for a command of another version, which stops the broker.
func (m *Machine) Update(e statemachine.Entry) (statemachine.Result, error) {
	data, ok, err := m.Apply(e.Cmd)
	if err != nil {
		return statemachine.Result{}, fmt.Errorf("apply metadata entry %d: %w", e.Index, err)
	}
	value := uint64(0)
	if ok {
		value = 1
	}
	return statemachine.Result{Value: value, Data: data}, nil
}

// Apply executes one encoded command and returns the encoded answer, and whether it was done. A command that cannot
// be read is refused by every broker alike; one of another version is an error, and so is a level that is not understood here.
func (m *Machine) Apply(cmd []byte) (answer []byte, ok bool, err error) {
	c, err := decodeCommand(cmd)
	if errors.Is(err, errNewerCommand) || errors.Is(err, errOlderCommand) {
		return nil, false, err
	}
	var r result
	if err != nil {
		r = refuse(protocol.Errorf(protocol.CodeInvalidRequest, "%v", err))
	} else {
		if r, err = m.apply(c); err != nil {
			return nil, false, err
		}
	}
	return r.encode(), r.code == 0, nil
}

func (m *Machine) apply(c *command) (result, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.state.apply(c)
	if err := m.state.checkLevel(); err != nil {
		return result{}, err
	}
	m.publish()
	return r, nil
}

// Lookup returns the newest *Image, whatever the query.
func (m *Machine) Lookup(any) (any, error) { return m.Image(), nil }

// SaveSnapshot writes the whole state. Dragonboat does not call Update meanwhile.
func (m *Machine) SaveSnapshot(w io.Writer, _ statemachine.ISnapshotFileCollection, stop <-chan struct{}) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return saveSnapshot(w, m.state, stop)
}

// RecoverFromSnapshot replaces the state by a saved one. After an error the state is what it was.
func (m *Machine) RecoverFromSnapshot(r io.Reader, _ []statemachine.SnapshotFile, stop <-chan struct{}) error {
	st, err := loadSnapshot(r, stop)
	if err != nil {
		return err
	}
	if err := st.checkLevel(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = st
	m.publish()
	return nil
}

// Close does nothing: the image stays readable.
func (m *Machine) Close() error { return nil }
