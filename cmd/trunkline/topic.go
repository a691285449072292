package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/broker"
	"github.com/trunkline/trunkline/client"
)

func topicCommand(contextFile *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "topic",
		Short: "Create, show, alter, delete, export and import topics",
		Example: `  trunkline topic create calls --partitions 8 --replicas 3 --retention 24h
  trunkline topic list
  trunkline topic describe calls --json
  trunkline topic alter calls --partitions 16
  trunkline topic delete calls`,
	}
	cmd.AddCommand(topicCreate(contextFile), topicList(contextFile), topicDescribe(contextFile), topicAlter(contextFile), topicDelete(contextFile),
		topicExport(contextFile), topicImport(contextFile), topicVerify())
	return cmd
}

// topicFlags are the settings that create and alter share.
type topicFlags struct {
	retention      time.Duration
	retentionBytes string
	segmentBytes   string
}

func (f *topicFlags) add(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&f.retention, "retention", 0, "remove records older than this (0: keep)")
	cmd.Flags().StringVar(&f.retentionBytes, "retention-bytes", "0", "remove the oldest records of a partition above this size (0: keep)")
	cmd.Flags().StringVar(&f.segmentBytes, "segment-bytes", "0", "size of a segment file (0: the broker's default)")
}

func (f *topicFlags) parse() (client.TopicConfig, error) {
	if f.retention < 0 {
		return client.TopicConfig{}, fmt.Errorf("--retention %v is negative", f.retention)
	}
	size, err := broker.ParseBytes(f.retentionBytes)
	if err != nil {
		return client.TopicConfig{}, fmt.Errorf("--retention-bytes: %w", err)
	}
	segment, err := broker.ParseBytes(f.segmentBytes)
	if err != nil {
		return client.TopicConfig{}, fmt.Errorf("--segment-bytes: %w", err)
	}
	return client.TopicConfig{Retention: f.retention, RetentionBytes: uint64(size), SegmentBytes: uint64(segment)}, nil
}

func topicCreate(contextFile *string) *cobra.Command {
	var partitions, replicas int
	var flags topicFlags
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a topic", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := flags.parse()
			if err != nil {
				return err
			}
			return withAdmin(cmd.Context(), *contextFile, func(ctx context.Context, a *client.Admin) error {
				if partitions < 1 || replicas < 1 {
					return fmt.Errorf("a topic needs at least 1 partition and 1 replica, not %d and %d", partitions, replicas)
				}
				t, err := a.CreateTopic(ctx, args[0], client.TopicSpec{Partitions: partitions, Replicas: replicas, TopicConfig: config})
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "created %s: %d partitions, %d replicas\n", t.Name, len(t.Partitions), replicas)
				return err
			})
		},
	}
	cmd.Flags().IntVar(&partitions, "partitions", 1, "number of partitions")
	cmd.Flags().IntVar(&replicas, "replicas", 1, "replicas of each partition, on distinct brokers")
	flags.add(cmd)
	return cmd
}

func topicAlter(contextFile *string) *cobra.Command {
	var partitions, replicas int
	var flags topicFlags
	cmd := &cobra.Command{
		Use: "alter NAME", Short: "Add partitions, change the number of replicas or retention", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := flags.parse()
			if err != nil {
				return err
			}
			var change client.TopicChange
			for flag, set := range map[string]func(){
				"partitions":      func() { change.Partitions = &partitions },
				"replicas":        func() { change.Replicas = &replicas },
				"retention":       func() { change.Retention = &config.Retention },
				"retention-bytes": func() { change.RetentionBytes = &config.RetentionBytes },
				"segment-bytes":   func() { change.SegmentBytes = &config.SegmentBytes },
			} {
				if cmd.Flags().Changed(flag) {
					set()
				}
			}
			if change == (client.TopicChange{}) {
				return fmt.Errorf("nothing to alter: give --partitions, --replicas, --retention, --retention-bytes or --segment-bytes")
			}
			return withAdmin(cmd.Context(), *contextFile, func(ctx context.Context, a *client.Admin) error {
				t, err := a.AlterTopic(ctx, args[0], change)
				if err != nil {
					return err
				}
				_, err = io.WriteString(cmd.OutOrStdout(), altered(t))
				return err
			})
		},
	}
	cmd.Flags().IntVar(&partitions, "partitions", 0, "new number of partitions; only more than now")
	cmd.Flags().IntVar(&replicas, "replicas", 0, "replicas wanted of each partition; they are added or removed one by one, see `trunkline cluster plan`")
	flags.add(cmd)
	return cmd
}

// altered says what a topic is now, and whether its replicas are not what it wants yet.
func altered(t *client.Topic) string {
	text := fmt.Sprintf("altered %s: %s, %s of each\n", t.Name, plural(len(t.Partitions), "partition"), plural(t.Replicas, "replica"))
	for _, p := range t.Partitions {
		if len(p.Replicas) != t.Replicas {
			return text + "they are added or removed one by one, without a pause: `trunkline cluster plan` shows how far that is\n"
		}
	}
	return text
}

func topicDelete(contextFile *string) *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Short: "Delete a topic and its data", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withAdmin(cmd.Context(), *contextFile, func(ctx context.Context, a *client.Admin) error {
				if err := a.DeleteTopic(ctx, args[0]); err != nil {
					return err
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "deleted %s\n", args[0])
				return err
			})
		},
	}
}

func topicList(contextFile *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List topics", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withAdmin(cmd.Context(), *contextFile, func(ctx context.Context, a *client.Admin) error {
				topics, err := a.ListTopics(ctx)
				if err != nil {
					return err
				}
				rows := make([]topicRow, 0, len(topics))
				for _, t := range topics {
					rows = append(rows, newTopicRow(t))
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), rows)
				}
				return table(cmd.OutOrStdout(), "TOPIC\tPARTITIONS\tREPLICAS\tRETENTION\tRETENTION BYTES", rows, func(r topicRow) string {
					return fmt.Sprintf("%s\t%d\t%d\t%s\t%d", r.Name, r.Partitions, r.Replicas, r.Retention, r.RetentionBytes)
				})
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

type topicRow struct {
	ID             uint64 `json:"id"`
	Name           string `json:"name"`
	Partitions     int    `json:"partitions"`
	Replicas       int    `json:"replicas"` // wanted of each partition
	Retention      string `json:"retention"`
	RetentionBytes uint64 `json:"retention_bytes"`
}

func newTopicRow(t client.Topic) topicRow {
	return topicRow{
		ID: uint64(t.ID), Name: t.Name, Partitions: len(t.Partitions), Replicas: t.Replicas,
		Retention: t.Config.Retention.String(), RetentionBytes: t.Config.RetentionBytes,
	}
}

type replicaRow struct {
	Broker  uint64 `json:"broker"`
	Start   uint64 `json:"start"`
	Next    uint64 `json:"next"`
	Bytes   uint64 `json:"bytes"`
	Applied uint64 `json:"applied"`
	Error   string `json:"error,omitempty"`
}

type partitionRow struct {
	Partition int          `json:"partition"`
	Leader    uint64       `json:"leader"`
	Epoch     uint64       `json:"epoch"`
	Replicas  []uint64     `json:"replicas"`
	Start     uint64       `json:"start"`
	Next      uint64       `json:"next"`
	Bytes     uint64       `json:"bytes"`
	States    []replicaRow `json:"states"`
}

func topicDescribe(contextFile *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "describe NAME", Short: "Show leaders, replicas and offsets of a topic's partitions", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withAdmin(cmd.Context(), *contextFile, func(ctx context.Context, a *client.Admin) error {
				t, err := a.DescribeTopic(ctx, args[0])
				if err != nil {
					return err
				}
				rows := make([]partitionRow, 0, len(t.Partitions))
				for _, p := range t.Partitions {
					rows = append(rows, newPartitionRow(p))
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), map[string]any{"id": t.ID, "name": t.Name, "retention": t.Config.Retention.String(),
						"retention_bytes": t.Config.RetentionBytes, "partitions": rows})
				}
				return table(cmd.OutOrStdout(), "PARTITION\tLEADER\tEPOCH\tREPLICAS\tSTART\tNEXT\tBYTES", rows, func(r partitionRow) string {
					return fmt.Sprintf("%d\t%d\t%d\t%v\t%d\t%d\t%d", r.Partition, r.Leader, r.Epoch, r.Replicas, r.Start, r.Next, r.Bytes)
				})
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newPartitionRow(p client.PartitionDescription) partitionRow {
	r := partitionRow{Partition: int(p.Partition), Leader: uint64(p.Leader), Epoch: uint64(p.Epoch),
		Start: uint64(p.Start), Next: uint64(p.Next), Bytes: p.Bytes}
	for _, b := range p.Replicas {
		r.Replicas = append(r.Replicas, uint64(b))
	}
	for _, s := range p.States {
		row := replicaRow{Broker: uint64(s.Broker), Start: uint64(s.Start), Next: uint64(s.Next), Bytes: s.Bytes, Applied: s.Applied}
		if s.Err != nil {
			row.Error = s.Err.Error()
		}
		r.States = append(r.States, row)
	}
	return r
}

// table prints rows under a tab-separated head.
func table[T any](w io.Writer, head string, rows []T, format func(T) string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	lines := []string{head}
	for _, r := range rows {
		lines = append(lines, format(r))
	}
	if _, err := io.WriteString(tw, strings.Join(lines, "\n")+"\n"); err != nil {
		return err
	}
	return tw.Flush()
}
