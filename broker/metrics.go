package broker

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// scope is a registerer that takes back what it registered. The registry may be that of a program which goes on, and opens
// the broker again.
type scope struct {
	prometheus.Registerer

	mu   sync.Mutex
	mine []prometheus.Collector // guarded by mu
}

// Register implements prometheus.Registerer.
func (s *scope) Register(c prometheus.Collector) error {
	if err := s.Registerer.Register(c); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mine = append(s.mine, c)
	return nil
}

// MustRegister implements prometheus.Registerer.
func (s *scope) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		if err := s.Register(c); err != nil {
			panic(err)
		}
	}
}

func (s *scope) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.mine {
		s.Unregister(c) // false for what its owner took back
	}
	s.mine = nil
	return nil
}
