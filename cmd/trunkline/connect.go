package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trunkline/trunkline/client"
)

// callLimit bounds one administrative call.
const callLimit = 15 * time.Second

// connect opens a client for a context file.
func connect(ctx context.Context, file string) (*client.Client, error) {
	if file == "" {
		return nil, errors.New("no cluster: give --context FILE or set TRUNKLINE_CONTEXT (`trunkline local up` prints one)")
	}
	cf, err := client.LoadContext(file)
	if err != nil {
		return nil, err
	}
	opts, err := cf.Options()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	c, err := client.Connect(ctx, cf.Brokers, append(opts, client.WithName("trunkline-cli"))...)
	if err != nil {
		return nil, fmt.Errorf("connect to %v: %w", cf.Brokers, err)
	}
	return c, nil
}

// withAdmin runs one bounded administrative call.
func withAdmin(ctx context.Context, file string, do func(context.Context, *client.Admin) error) (err error) {
	c, err := connect(ctx, file)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	defer func() { err = errors.Join(err, c.Close(ctx)) }()
	return do(ctx, c.Admin())
}
