package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// flushRecords is how many records are written out and acknowledged together at most.
const flushRecords = 1000

type subFlags struct {
	subscription string
	consumer     string
	from         string
	count        int
	idleExit     time.Duration
	format       string
	replica      uint64
	stopAtEnd    bool
}

func (f *subFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.from, "from", "earliest", "where to start: earliest, latest, an offset, or a time (RFC 3339)")
	cmd.Flags().IntVar(&f.count, "count", 0, "exit after so many records (0: no limit)")
	cmd.Flags().DurationVar(&f.idleExit, "idle-exit", 0, "exit when no record came for so long (0: never)")
	cmd.Flags().StringVar(&f.format, "format", "value", "value (one line each) or json")
}

func subCommand(contextFile *string) *cobra.Command {
	var f subFlags
	cmd := &cobra.Command{
		Use:   "sub TOPIC",
		Short: "Receive the records of a durable subscription",
		Long: `sub joins a durable subscription and writes its records to standard output. A record is acknowledged after it was
written out. Several sub of one subscription share the partitions. --from counts only while the subscription is new.`,
		Example: `  trunkline sub calls --subscription billing --from earliest
  trunkline sub calls --subscription billing --count 100 --format json
  trunkline sub calls --subscription audit --from 2026-01-02T15:04:05Z --idle-exit 5s`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return subscribe(cmd.Context(), *contextFile, args[0], f, cmd.OutOrStdout())
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.subscription, "subscription", "", "name of the subscription (required)")
	cmd.Flags().StringVar(&f.consumer, "consumer", "", "name of this consumer, unique in the subscription (default: random)")
	if err := cmd.MarkFlagRequired("subscription"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

func readCommand(contextFile *string) *cobra.Command {
	var f subFlags
	cmd := &cobra.Command{
		Use:   "read TOPIC",
		Short: "Read records without a subscription",
		Example: `  trunkline read calls --stop-at-end
  trunkline read calls --replica 2 --stop-at-end --format json    # what broker 2 holds`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return read(cmd.Context(), *contextFile, args[0], f, cmd.OutOrStdout())
		},
	}
	f.add(cmd)
	cmd.Flags().Uint64Var(&f.replica, "replica", 0, "read from this broker's replicas, led there or not")
	cmd.Flags().BoolVar(&f.stopAtEnd, "stop-at-end", false, "exit at the end that there was at the start")
	return cmd
}

// start parses --from.
func (f subFlags) start() (client.Start, error) {
	switch f.from {
	case "earliest":
		return client.Earliest(), nil
	case "latest":
		return client.Latest(), nil
	}
	if n, err := strconv.ParseUint(f.from, 10, 64); err == nil {
		return client.AtOffset(protocol.Offset(n)), nil
	}
	t, err := time.Parse(time.RFC3339, f.from)
	if err != nil {
		return client.Start{}, fmt.Errorf("--from %q is neither earliest, latest, an offset nor a time like 2026-01-02T15:04:05Z", f.from)
	}
	return client.AtTime(t), nil
}

func (f subFlags) check() error {
	if f.format != "value" && f.format != "json" {
		return fmt.Errorf("--format %q is neither value nor json", f.format)
	}
	if f.count < 0 {
		return fmt.Errorf("--count %d is negative", f.count)
	}
	return nil
}

func subscribe(ctx context.Context, contextFile, topic string, f subFlags, out io.Writer) (err error) {
	start, err := f.start()
	if err = errors.Join(err, f.check()); err != nil {
		return err
	}
	c, err := connect(ctx, contextFile)
	if err != nil {
		return err
	}
	opts := []client.SubscribeOption{client.StartAt(start)}
	if f.consumer != "" {
		opts = append(opts, client.WithConsumerName(f.consumer))
	}
	open, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	sub, err := c.Subscribe(open, topic, f.subscription, opts...)
	if err != nil {
		return errors.Join(err, c.Close(canceled()))
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		last := sub.Close(closing) // commits what was acknowledged
		if errors.Is(last, client.ErrPartitionLost) {
			last = nil // another consumer has these records again
		}
		err = errors.Join(err, last, c.Close(closing))
	}()
	return copyOut(ctx, sub.Receive, sub.Ack, f, out)
}

func read(ctx context.Context, contextFile, topic string, f subFlags, out io.Writer) (err error) {
	start, err := f.start()
	if err = errors.Join(err, f.check()); err != nil {
		return err
	}
	c, err := connect(ctx, contextFile)
	if err != nil {
		return err
	}
	opts := []client.ReaderOption{client.StartAt(start)}
	if f.replica != 0 {
		opts = append(opts, client.FromReplica(protocol.BrokerID(f.replica)))
	}
	if f.stopAtEnd {
		opts = append(opts, client.StopAtEnd())
	}
	open, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	r, err := c.Reader(open, topic, opts...)
	if err != nil {
		return errors.Join(err, c.Close(canceled()))
	}
	defer func() { err = errors.Join(err, r.Close(canceled()), c.Close(canceled())) }()
	return copyOut(ctx, r.Receive, func(...*client.Message) error { return nil }, f, out)
}

// copyOut writes records until count, idle time, the end or the context says stop, and acknowledges what was written.
func copyOut(ctx context.Context, receive func(context.Context) (*client.Message, error), ack func(...*client.Message) error, f subFlags, out io.Writer) error {
	w := bufio.NewWriterSize(out, 64<<10)
	var written []*client.Message
	flush := func() error {
		if err := w.Flush(); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		err := ack(written...)
		written = written[:0]
		if errors.Is(err, client.ErrPartitionLost) {
			return nil // another consumer has these records again
		}
		return err
	}
	for n := 0; f.count == 0 || n < f.count; n++ {
		m, err := next(ctx, receive, f.idleExit, flush)
		switch {
		case errors.Is(err, errIdle), errors.Is(err, io.EOF), ctx.Err() != nil:
			return flush()
		case err != nil:
			return errors.Join(err, flush())
		}
		if err := writeMessage(w, m, f.format); err != nil {
			return err
		}
		if written = append(written, m); len(written) >= flushRecords {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

var errIdle = errors.New("idle")

// next receives one record. When none is at hand at once it writes out what is buffered before it waits.
func next(ctx context.Context, receive func(context.Context) (*client.Message, error), idle time.Duration, flush func() error) (*client.Message, error) {
	m, err := receive(canceled())
	if !errors.Is(err, context.Canceled) {
		return m, err
	}
	if err := flush(); err != nil {
		return nil, err
	}
	if idle <= 0 {
		return receive(ctx)
	}
	waiting, cancel := context.WithTimeout(ctx, idle)
	defer cancel()
	m, err = receive(waiting)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, errIdle
	}
	return m, err
}

type messageRow struct {
	Partition uint64            `json:"partition"`
	Offset    uint64            `json:"offset"`
	Epoch     uint64            `json:"epoch"`
	Key       *string           `json:"key"`
	Value     string            `json:"value"`
	Headers   map[string]string `json:"headers,omitempty"`
	Timestamp time.Time         `json:"timestamp"`
	Producer  string            `json:"producer"`
	Sequence  uint64            `json:"sequence"`
}

func writeMessage(w io.Writer, m *client.Message, format string) error {
	if format == "value" {
		_, err := fmt.Fprintf(w, "%s\n", m.Value)
		return err
	}
	row := messageRow{Partition: uint64(m.Partition), Offset: uint64(m.Offset), Epoch: uint64(m.Epoch), Value: string(m.Value),
		Timestamp: m.Timestamp.UTC(), Producer: m.ProducerID.String(), Sequence: uint64(m.Sequence)}
	if m.Key != nil {
		key := string(m.Key)
		row.Key = &key
	}
	for _, h := range m.Headers {
		if row.Headers == nil {
			row.Headers = map[string]string{}
		}
		row.Headers[h.Key] = string(h.Value)
	}
	return json.NewEncoder(w).Encode(row)
}
