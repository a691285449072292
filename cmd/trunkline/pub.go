package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/client"
)

// maxLine bounds one line of standard input.
const maxLine = 16 << 20

type pubFlags struct {
	keyField    int
	fieldSep    string
	producer    string
	compression string
	timeout     time.Duration
}

func pubCommand(contextFile *string) *cobra.Command {
	var f pubFlags
	cmd := &cobra.Command{
		Use:   "pub TOPIC",
		Short: "Publish the lines of standard input",
		Long: `pub publishes each line of standard input as one record and waits until all are acknowledged: fsynced on a majority.
It exits with 0 only if every line was. The last line on standard error is JSON: published, acked, failed, seconds.`,
		Example: `  seq 1 1000 | trunkline pub calls
  trunkline pub calls --key-field 2 --field-sep , < calls.csv
  trunkline pub calls --producer exchange-7 < calls.csv    # fences an older exchange-7`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return publish(cmd.Context(), *contextFile, args[0], f, cmd.InOrStdin())
		},
	}
	cmd.Flags().IntVar(&f.keyField, "key-field", 0, "field of the line that is the record's key, counted from 1 (0: no key)")
	cmd.Flags().StringVar(&f.fieldSep, "field-sep", "", "what separates fields (default: white space)")
	cmd.Flags().StringVar(&f.producer, "producer", "", "publish as this named producer, fencing an older one of the name")
	cmd.Flags().StringVar(&f.compression, "compression", "none", "none, zstd or s2")
	cmd.Flags().DurationVar(&f.timeout, "timeout", time.Minute, "give up when one record is not acknowledged for so long")
	return cmd
}

// compressions are the values of --compression.
var compressions = map[string]client.Compression{"none": client.NoCompression, "zstd": client.Zstd, "s2": client.S2}

func (f pubFlags) options() ([]client.ProducerOption, error) {
	if f.keyField < 0 {
		return nil, fmt.Errorf("--key-field %d: fields are counted from 1", f.keyField)
	}
	kind, ok := compressions[f.compression]
	if !ok {
		return nil, fmt.Errorf("--compression %q is none of none, zstd, s2", f.compression)
	}
	opts := []client.ProducerOption{client.WithCompression(kind), client.WithDeliveryTimeout(f.timeout)}
	if f.producer != "" {
		opts = append(opts, client.WithProducerName(f.producer))
	}
	return opts, nil
}

// pubResult counts what became of the lines. Safe for concurrent use.
type pubResult struct {
	mu        sync.Mutex
	published int
	acked     int
	failed    int
	firstErr  error
}

func (r *pubResult) done(_ client.Receipt, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.acked++
		return
	}
	r.failed++
	if r.firstErr == nil {
		r.firstErr = err
	}
}

// report writes the JSON line and returns an error unless everything was acknowledged.
func (r *pubResult) report(w io.Writer, took time.Duration, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		err = r.firstErr
	}
	r.failed = r.published - r.acked
	if err != nil {
		fmt.Fprintln(w, "trunkline:", err)
	}
	text, jerr := json.Marshal(map[string]any{"published": r.published, "acked": r.acked, "failed": r.failed, "seconds": took.Seconds()})
	if jerr != nil {
		return jerr
	}
	fmt.Fprintln(w, string(text))
	if err != nil || r.failed > 0 {
		return errReported
	}
	return nil
}

// errReported ends the program with a failure that was told already.
var errReported = errors.New("")

func publish(ctx context.Context, contextFile, topic string, f pubFlags, in io.Reader) error {
	opts, err := f.options()
	if err != nil {
		return err
	}
	c, err := connect(ctx, contextFile)
	if err != nil {
		return err
	}
	res := &pubResult{}
	start := time.Now()
	err = pubLines(ctx, c, topic, f, opts, in, res)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	err = errors.Join(err, c.Close(closing))
	return res.report(os.Stderr, time.Since(start), err)
}

func pubLines(ctx context.Context, c *client.Client, topic string, f pubFlags, opts []client.ProducerOption, in io.Reader, res *pubResult) error {
	open, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	p, err := c.Producer(open, topic, opts...)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	for lines.Scan() && ctx.Err() == nil {
		value := bytes.Clone(lines.Bytes())
		res.mu.Lock()
		res.published++
		res.mu.Unlock()
		rec := client.Record{Value: value}
		if f.keyField > 0 {
			rec.Key = field(value, f.keyField, f.fieldSep)
		}
		if err := p.Send(ctx, rec, res.done); err != nil {
			return errors.Join(err, p.Close(canceled()))
		}
	}
	flush, cancel := context.WithTimeout(ctx, f.timeout+time.Second) // the records' own timeout comes first
	defer cancel()
	return errors.Join(lines.Err(), p.Flush(flush), p.Close(flush))
}

// field returns field n, counted from 1, or nil when the line has fewer.
func field(text []byte, n int, sep string) []byte {
	var fields [][]byte
	if sep == "" {
		fields = bytes.Fields(text)
	} else {
		fields = bytes.Split(text, []byte(sep))
	}
	if n > len(fields) {
		return nil
	}
	return fields[n-1]
}

// canceled returns a context that has ended, for closing without waiting.
func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
