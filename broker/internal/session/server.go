package session

import (
	"context"
	"time"

	"github.com/trunkline/trunkline/broker/internal/transport"
)

// Server serves the connections of one or more listeners.
type Server struct {
	cfg Config
}

// NewServer returns a server that serves nothing yet.
func NewServer(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Server{cfg: cfg}, nil
}

// Serve accepts connections from src until ctx or the server ends. It does not close src.
func (s *Server) Serve(ctx context.Context, src transport.Source) error { return nil }

// Drain tells all clients that this broker leaves after grace and refuses new ones.
func (s *Server) Drain(grace time.Duration) {}

// Connections returns how many clients are connected.
func (s *Server) Connections() int { return 0 }

// Close ends all connections in an orderly way and waits for their goroutines.
func (s *Server) Close() {}
