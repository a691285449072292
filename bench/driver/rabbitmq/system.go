package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/trunkline/trunkline/bench/driver"
)

func (s *system) Nodes() []driver.Node {
	if s.nodes == nil {
		return nil
	}
	return s.nodes.List()
}

func (s *system) Kill(ctx context.Context, node int) error {
	if s.nodes == nil {
		return driver.ErrNotOurs
	}
	return s.nodes.Kill(ctx, node)
}

func (s *system) Stop(ctx context.Context, node int) error {
	if s.nodes == nil {
		return driver.ErrNotOurs
	}
	return s.nodes.Stop(ctx, node)
}

func (s *system) Pause(_ context.Context, node int) error {
	if s.nodes == nil {
		return driver.ErrNotOurs
	}
	return s.nodes.Pause(node)
}

func (s *system) Resume(_ context.Context, node int) error {
	if s.nodes == nil {
		return driver.ErrNotOurs
	}
	return s.nodes.Resume(node)
}

func (s *system) Start(ctx context.Context, node int) error {
	if s.nodes == nil {
		return driver.ErrNotOurs
	}
	return s.nodes.Start(ctx, node)
}

// Close ends the clients first, for they would only try to reconnect.
func (s *system) Close(ctx context.Context) error {
	var errs []error
	for _, c := range s.openClients() {
		errs = append(errs, c.Close(ctx))
	}
	s.api.close()
	if s.nodes != nil {
		errs = append(errs, s.nodes.Down())
	}
	if s.names != nil {
		errs = append(errs, s.names.Down(), s.tidy())
	}
	return errors.Join(errs...)
}

// tidy removes what the nodes stored.
func (s *system) tidy() error {
	var errs []error
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("remove the data of the nodes: %w", err)
	}
	for _, e := range entries {
		errs = append(errs, os.RemoveAll(filepath.Join(s.dir, e.Name())))
	}
	return errors.Join(errs...)
}

func (s *system) openClients() []closer {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []closer
	for c := range s.clients {
		out = append(out, c)
	}
	return out
}

func (s *system) opened(c closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients[c] = struct{}{}
}

func (s *system) closed(c closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, c)
}
