// Command hello publishes a record and receives it.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/trunkline/trunkline/client"
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	where, err := client.LoadContext(os.Getenv("TRUNKLINE_CONTEXT"))
	if err != nil {
		return err
	}
	opts, err := where.Options()
	if err != nil {
		return err
	}
	c, err := client.Connect(ctx, where.Brokers, opts...)
	if err != nil {
		return err
	}
	defer c.Close(ctx)

	p, err := c.Producer(ctx, "calls")
	if err != nil {
		return err
	}
	// Publish returns when a majority of the replicas has the record on disk.
	at, err := p.Publish(ctx, client.Record{Key: []byte("+41-44"), Value: []byte("ring")})
	if err != nil {
		return err
	}
	fmt.Println("committed at partition", at.Partition, "offset", at.Offset)

	sub, err := c.Subscribe(ctx, "calls", "billing")
	if err != nil {
		return err
	}
	m, err := sub.Receive(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("received %s from %s\n", m.Value, m.Key)
	if err := sub.Ack(m); err != nil {
		return err
	}
	return sub.Close(ctx) // commits what was acknowledged
}
