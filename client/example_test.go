package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/client/internal/fakebroker"
)

// cluster starts a cluster for an example and connects to it. In a program that is one line:
//
//	c, err := client.Connect(ctx, []string{"localhost:7400"}, client.WithCA("trunkline-data/pki/ca.pem"))
func cluster(ctx context.Context, topic string, partitions int) (c *client.Client, stop func()) {
	fc, err := fakebroker.New(fakebroker.Config{Nodes: 3})
	if err != nil {
		log.Fatal(err)
	}
	fc.CreateTopic(topic, partitions)
	if c, err = client.Connect(ctx, fc.Addrs(), client.WithTLSConfig(fc.TLS())); err != nil {
		log.Fatal(err)
	}
	return c, func() {
		if err := c.Close(ctx); err != nil {
			log.Print(err)
		}
		fc.Close()
	}
}

func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, stop := cluster(ctx, "calls", 4)
	defer stop()

	p, err := c.Producer(ctx, "calls")
	if err != nil {
		log.Fatal(err)
	}
	for _, v := range []string{"ring", "answer", "hang up"} {
		if _, err := p.Publish(ctx, client.Record{Key: []byte("line 1"), Value: []byte(v)}); err != nil {
			log.Fatal(err)
		}
	}

	s, err := c.Subscribe(ctx, "calls", "billing")
	if err != nil {
		log.Fatal(err)
	}
	for range 3 {
		m, err := s.Receive(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %s\n", m.Key, m.Value)
		if err := s.Ack(m); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// line 1: ring
	// line 1: answer
	// line 1: hang up
}

// Send moves many records; results come back in order, one at a time per partition.
func ExampleProducer_Send() {
	ctx := context.Background()
	c, stop := cluster(ctx, "numbers", 1)
	defer stop()
	p, err := c.Producer(ctx, "numbers", client.WithCompression(client.S2), client.WithLinger(2*time.Millisecond))
	if err != nil {
		log.Fatal(err)
	}
	var failed, acked int
	for i := range 1000 {
		err := p.Send(ctx, client.Record{Value: fmt.Append(nil, i)}, func(_ client.Receipt, err error) {
			if err != nil {
				failed++
			} else {
				acked++
			}
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	if err := p.Flush(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(acked, failed)
	// Output: 1000 0
}

// An error of Publish tells what it means for the log.
func ExamplePublishError() {
	ctx := context.Background()
	c, stop := cluster(ctx, "calls", 1)
	defer stop()
	p, err := c.Producer(ctx, "calls")
	if err != nil {
		log.Fatal(err)
	}
	_, err = p.Publish(ctx, client.Record{Value: make([]byte, 8<<20)})
	var pe *client.PublishError
	if errors.As(err, &pe) && pe.Outcome == client.NotAppended {
		fmt.Println("not in the log:", errors.Is(err, client.ErrRecordTooLarge))
	}
	// Output: not in the log: true
}

// A named producer takes over from its predecessor and goes on where that one stopped.
func ExampleWithProducerName() {
	ctx := context.Background()
	c, stop := cluster(ctx, "ledger", 1)
	defer stop()
	input := []string{"a", "b", "c", "d"}

	first, err := c.Producer(ctx, "ledger", client.WithProducerName("importer"))
	if err != nil {
		log.Fatal(err)
	}
	for _, line := range input[:2] { // and then it is cut off
		if _, err := first.Publish(ctx, client.Record{Value: []byte(line)}); err != nil {
			log.Fatal(err)
		}
	}

	second, err := c.Producer(ctx, "ledger", client.WithProducerName("importer"))
	if err != nil {
		log.Fatal(err)
	}
	for _, line := range input[second.NextSequence(0):] {
		r, err := second.Publish(ctx, client.Record{Value: []byte(line)})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(line, r.Offset)
	}
	_, err = first.Publish(ctx, client.Record{Value: []byte("late")})
	fmt.Println(errors.Is(err, client.ErrFenced))
	// Output:
	// c 2
	// d 3
	// true
}

// Messages iterates; OnRebalance tells when partitions come and go.
func ExampleSubscription_Messages() {
	ctx := context.Background()
	c, stop := cluster(ctx, "calls", 1)
	defer stop()
	p, err := c.Producer(ctx, "calls")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := p.Publish(ctx, client.Record{Value: []byte("hello")}); err != nil {
		log.Fatal(err)
	}
	s, err := c.Subscribe(ctx, "calls", "audit", client.OnRebalance(func(r client.Rebalance) {
		fmt.Println(r.Kind, "partition", r.Partition)
	}))
	if err != nil {
		log.Fatal(err)
	}
	for m, err := range s.Messages(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", m.Value)
		if err := s.Ack(m); err != nil {
			log.Fatal(err)
		}
		break
	}
	if err := s.Close(ctx); err != nil { // commits what was acknowledged
		log.Fatal(err)
	}
	// Output:
	// assigned partition 0
	// hello
	// released partition 0
}

// A reader with StopAtEnd reads what there is and ends.
func ExampleClient_Reader() {
	ctx := context.Background()
	c, stop := cluster(ctx, "calls", 1)
	defer stop()
	p, err := c.Producer(ctx, "calls")
	if err != nil {
		log.Fatal(err)
	}
	for i := range 5 {
		if _, err := p.Publish(ctx, client.Record{Value: fmt.Append(nil, i)}); err != nil {
			log.Fatal(err)
		}
	}
	r, err := c.Reader(ctx, "calls", client.StartAt(client.AtOffset(2)), client.StopAtEnd())
	if err != nil {
		log.Fatal(err)
	}
	for m, err := range r.Messages(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Print(string(m.Value), " ")
	}
	// Output: 2 3 4
}

// Topics are created and looked at through Admin.
func ExampleAdmin_DescribeTopic() {
	ctx := context.Background()
	c, stop := cluster(ctx, "other", 1)
	defer stop()
	_, err := c.Admin().CreateTopic(ctx, "calls", client.TopicSpec{
		Partitions: 2, Replicas: 3, TopicConfig: client.TopicConfig{Retention: 24 * time.Hour},
	})
	if err != nil {
		log.Fatal(err)
	}
	d, err := c.Admin().DescribeTopic(ctx, "calls")
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range d.Partitions {
		fmt.Println("partition", p.Partition, "has a leader:", p.Leader != 0, "records:", p.Next-p.Start)
	}
	// Output:
	// partition 0 has a leader: true records: 0
	// partition 1 has a leader: true records: 0
}
