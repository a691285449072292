package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/broker"
	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/client/archive"
	"github.com/trunkline/trunkline/protocol"
)

// withClient runs something that takes as long as it takes; whatever in it has to be bounded it bounds itself.
func withClient(ctx context.Context, file string, do func(*client.Client) error) (err error) {
	c, err := connect(ctx, file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close(canceled())) }()
	return do(c)
}

func topicExport(contextFile *string) *cobra.Command {
	var out, until, throttle string
	var partitions []uint
	var pack, salvage bool
	cmd := &cobra.Command{
		Use:   "export NAME --out DIR",
		Short: "Copy the records of a topic into a directory",
		Long: `export copies of each partition the batches from the oldest record to the end that it has now, exactly as they are stored, and
the positions of all subscriptions. Interrupted, it goes on when it is run again with the same directory. The export is complete
when the directory holds manifest.json. An end given with --until that lies within a batch takes the whole batch.

--salvage is for partitions whose majority is gone for good, so that they have no leader: they are copied from the replica that has
most of them. What the lost replicas had acknowledged beyond that is lost; the manifest says for each partition where it ends. Do not
use it while the other brokers may come back: start them instead.`,
		Example: `  trunkline topic export calls --out /backup/calls
  trunkline topic export calls --out /backup/calls-0-3 --partitions 0,3 --until 0=120000,3=80000 --throttle 20MiB`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o := archive.ExportOptions{Pack: pack, Salvage: salvage}
			var err error
			if o.Until, err = parseUntil(until); err != nil {
				return err
			}
			if o.BytesPerSecond, err = parseThrottle(throttle); err != nil {
				return err
			}
			for _, p := range partitions {
				if p >= protocol.MaxPartitions {
					return fmt.Errorf("--partitions %d is above %d", p, protocol.MaxPartitions-1)
				}
				o.Partitions = append(o.Partitions, protocol.Partition(p))
			}
			return withClient(cmd.Context(), *contextFile, func(c *client.Client) error {
				m, err := archive.Export(cmd.Context(), c, args[0], out, o)
				if err != nil {
					return err
				}
				return printManifest(cmd.OutOrStdout(), "exported", m)
			})
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "directory, made if missing (required)")
	cmd.Flags().UintSliceVar(&partitions, "partitions", nil, "only these partitions (default: all)")
	cmd.Flags().StringVar(&until, "until", "now", "where to end: now, or offsets like 0=1200,3=800 for those partitions")
	cmd.Flags().BoolVar(&pack, "compress", false, "compress with zstd")
	cmd.Flags().BoolVar(&salvage, "salvage", false, "copy partitions without a leader from the best replica that is left; records may be lost")
	cmd.Flags().StringVar(&throttle, "throttle", "0", "bytes a second, like 20MiB (0: no bound)")
	if err := cmd.MarkFlagRequired("out"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

// parseUntil reads "now" or a list of PARTITION=OFFSET.
func parseUntil(s string) (map[protocol.Partition]protocol.Offset, error) {
	if s == "now" {
		return nil, nil
	}
	ends := map[protocol.Partition]protocol.Offset{}
	for _, part := range strings.Split(s, ",") {
		p, o, ok := strings.Cut(part, "=")
		partition, err := strconv.ParseUint(p, 10, 32)
		offset, err2 := strconv.ParseUint(o, 10, 64)
		if !ok || err != nil || err2 != nil {
			return nil, fmt.Errorf("--until %q is neither now nor a list of PARTITION=OFFSET like 0=1200,3=800", s)
		}
		ends[protocol.Partition(partition)] = protocol.Offset(offset)
	}
	return ends, nil
}

func parseThrottle(s string) (int, error) {
	n, err := broker.ParseBytes(s)
	if err != nil {
		return 0, fmt.Errorf("--throttle: %w", err)
	}
	return int(n), nil
}

func printManifest(w io.Writer, what string, m *archive.Manifest) error {
	_, err := fmt.Fprintf(w, "%s %s: %d records in %d partitions, %d bytes, export %s\n",
		what, m.Topic.Name, m.Records(), len(m.Partitions), m.Bytes(), m.ID)
	if m.CursorsLost {
		_, werr := fmt.Fprintln(w, "the positions of the subscriptions are not in it: a leader was missing")
		err = errors.Join(err, werr)
	}
	for _, p := range m.Partitions {
		if s := p.Salvaged; s != nil {
			_, werr := fmt.Fprintf(w, "partition %d: salvaged from broker %d, which had applied index %d of epoch %d; records from offset %d on that were acknowledged are lost\n",
				p.Partition, s.Broker, s.Applied, s.Epoch, p.End)
			err = errors.Join(err, werr)
		}
		for _, g := range p.Gaps {
			_, werr := fmt.Fprintf(w, "partition %d: offsets %d to %d were removed by retention before they were read\n", p.Partition, g.From, g.To-1)
			err = errors.Join(err, werr)
		}
	}
	return err
}

func topicVerify() *cobra.Command {
	return &cobra.Command{
		Use: "verify DIR", Short: "Check every byte of an export, without a cluster", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := archive.Verify(args[0])
			if err != nil {
				return err
			}
			return printManifest(cmd.OutOrStdout(), "good:", m)
		},
	}
}

func topicImport(contextFile *string) *cobra.Command {
	var o archive.ImportOptions
	var throttle, compression string
	cmd := &cobra.Command{
		Use:   "import DIR",
		Short: "Write the records of an export into a topic",
		Long: `import checks the whole export, creates the topic in the shape that it had if there is none, and writes every record to the
partition that it was in, in order and once: an import that is interrupted goes on when it is run again, and one that is complete
does nothing. Offsets, append times and producers are new; keys, values, headers and timestamps are kept.`,
		Example: `  trunkline topic import /backup/calls
  trunkline topic import /backup/calls --topic calls-restored --subscriptions`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var ok bool
			if o.Compression, ok = compressions[compression]; !ok {
				return fmt.Errorf("--compression %q is none of none, zstd, s2", compression)
			}
			var err error
			if o.BytesPerSecond, err = parseThrottle(throttle); err != nil {
				return err
			}
			return withClient(cmd.Context(), *contextFile, func(c *client.Client) error {
				r, err := archive.Import(cmd.Context(), c, args[0], o)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "imported into %s: %d records, %d of them by an earlier run; %d cursors placed\n",
					r.Topic, r.Records, r.Before, r.Cursors)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&o.Topic, "topic", "", "topic to write to (default: the name it had)")
	cmd.Flags().IntVar(&o.Replicas, "replicas", 0, "replicas of a topic that is created (default: as many as it had)")
	cmd.Flags().BoolVar(&o.Subscriptions, "subscriptions", false, "create the subscriptions, behind the records that they had acknowledged; needs a topic without other records")
	cmd.Flags().StringVar(&compression, "compression", "none", "of the batches that are written: none, zstd or s2")
	cmd.Flags().StringVar(&throttle, "throttle", "0", "bytes a second, like 20MiB (0: no bound)")
	return cmd
}
