package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// movingRow is a move under way.
type movingRow struct {
	ID        uint64 `json:"id"`
	Topic     string `json:"topic"`
	Partition uint32 `json:"partition"`
	Add       uint64 `json:"add"`
	Remove    uint64 `json:"remove"`
	Undo      bool   `json:"undo"`
	Leader    uint64 `json:"leader"`
	Step      string `json:"step"`
	SinceMS   int64  `json:"since_ms"`
	Entries   uint64 `json:"entries"`
	Copied    uint64 `json:"entries_copied"`
	Bytes     uint64 `json:"bytes"`
	BytesHere uint64 `json:"bytes_copied"`
}

// stepRow is something that comes next.
type stepRow struct {
	Action    string `json:"action"`
	Topic     string `json:"topic,omitempty"`
	Partition uint32 `json:"partition"`
	Add       uint64 `json:"add"`
	Remove    uint64 `json:"remove"`
	Broker    uint64 `json:"broker"`
	Reason    string `json:"reason"`
}

type planReport struct {
	Moves   []movingRow `json:"moves"`
	Next    []stepRow   `json:"next"`
	LeftOut int         `json:"left_out"`
	Notes   []string    `json:"notes"`
	Planner uint64      `json:"planner"`
	Guessed bool        `json:"guessed"`
	Silent  []uint64    `json:"silent"`
}

func clusterPlan(contextFile *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "plan", Short: "Show the moves of replicas that are under way, what comes next, and why other things wait", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withAdmin(cmd.Context(), *contextFile, func(ctx context.Context, a *client.Admin) error {
				plan, err := a.ClusterPlan(ctx)
				if err != nil {
					return err
				}
				names, err := topicNames(ctx, a)
				if err != nil {
					return err
				}
				r := newPlanReport(plan, names)
				if asJSON {
					return printJSON(cmd.OutOrStdout(), r)
				}
				return r.print(cmd.OutOrStdout())
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// topicNames returns the name of each topic, and of what stands for the cluster's metadata.
func topicNames(ctx context.Context, a *client.Admin) (map[protocol.TopicID]string, error) {
	topics, err := a.ListTopics(ctx)
	if err != nil {
		return nil, err
	}
	names := map[protocol.TopicID]string{0: metadataName}
	for _, t := range topics {
		names[t.ID] = t.Name
	}
	return names, nil
}

// metadataName stands for the shard of the cluster's metadata where a topic is named.
const metadataName = "(metadata)"

func newPlanReport(p *client.Plan, names map[protocol.TopicID]string) planReport {
	r := planReport{Moves: []movingRow{}, Next: []stepRow{}, LeftOut: p.LeftOut, Notes: p.Notes, Planner: uint64(p.Planner), Guessed: p.Guessed}
	for _, m := range p.Moves {
		r.Moves = append(r.Moves, movingRow{
			ID: m.ID, Topic: names[m.Topic], Partition: uint32(m.Partition), Add: uint64(m.Add), Remove: uint64(m.Remove), Undo: m.Undo,
			Leader: uint64(m.Leader), Step: m.Step, SinceMS: m.Since.Milliseconds(),
			Entries: m.Last, Copied: m.Match, Bytes: m.Bytes, BytesHere: m.Copied,
		})
	}
	for _, s := range p.Next {
		row := stepRow{s.Action, s.Topic, uint32(s.Partition), uint64(s.Add), uint64(s.Remove), uint64(s.Broker), s.Reason}
		if row.Topic == "" && s.Action != "retire" {
			row.Topic = metadataName
		}
		r.Next = append(r.Next, row)
	}
	for _, b := range p.Silent {
		r.Silent = append(r.Silent, uint64(b))
	}
	return r
}

// print writes the report for people.
func (r planReport) print(w io.Writer) error {
	var text strings.Builder
	text.WriteString("Under way: ")
	if len(r.Moves) == 0 {
		text.WriteString("nothing moves.\n")
	} else {
		fmt.Fprintf(&text, "%s.\n", plural(len(r.Moves), "move"))
		if err := table(&text, "MOVE\tPARTITION\tTO\tFROM\tENTRIES\tBYTES\tFOR\tSTEP", r.Moves, movingRow.line); err != nil {
			return err
		}
	}
	text.WriteString("\nNext: ")
	if len(r.Next) == 0 {
		text.WriteString("nothing is to be done.\n")
	}
	for i, s := range r.Next {
		if i == 0 {
			text.WriteString("in this order, a few at a time (moves.concurrent, moves.per_broker):\n")
		}
		fmt.Fprintf(&text, "  %s, because %s\n", s.sentence(), s.Reason)
	}
	if r.LeftOut > 0 {
		fmt.Fprintf(&text, "  and at least %d more\n", r.LeftOut)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&text, "\n%s\n", n)
	}
	if r.Guessed {
		fmt.Fprintf(&text, "\nThe leader of the metadata, which decides, did not answer: what comes next is what broker %d makes of it.\n", r.Planner)
	}
	if len(r.Silent) > 0 {
		fmt.Fprintf(&text, "\nNo answer from %s: how far the moves are that they lead is not known.\n", brokerNames(r.Silent))
	}
	_, err := io.WriteString(w, text.String())
	return err
}

func (r movingRow) line() string {
	entries, bytes, since, step := "?", "?", "?", "its leader did not answer"
	if r.Leader != 0 {
		entries, bytes = "-", "-"
		if r.Add != 0 {
			entries = fmt.Sprintf("%d of %d", r.Copied, r.Entries)
			bytes = fmt.Sprintf("%v of %v", size(r.BytesHere), size(r.Bytes))
		}
		since, step = (time.Duration(r.SinceMS) * time.Millisecond).Round(time.Second).String(), r.Step
	}
	if r.Undo {
		step = "is taken back: " + step
	}
	return fmt.Sprintf("%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s", r.ID, place(r.Topic, r.Partition), orNone(r.Add), orNone(r.Remove), entries, bytes, since, step)
}

// sentence says what the step does.
func (s stepRow) sentence() string {
	at := place(s.Topic, s.Partition)
	switch {
	case s.Action == "retire":
		return fmt.Sprintf("broker %d is retired", s.Broker)
	case s.Action == "prefer":
		return fmt.Sprintf("%s is led by broker %d", at, s.Broker)
	case s.Action == "undo" && s.Add == 0:
		return fmt.Sprintf("the removal of %s from broker %d is taken back", at, s.Remove)
	case s.Action == "undo":
		return fmt.Sprintf("the move of %s to broker %d is taken back", at, s.Add)
	case s.Remove == 0:
		return fmt.Sprintf("%s gets a replica on broker %d", at, s.Add)
	case s.Add == 0:
		return fmt.Sprintf("%s loses its replica on broker %d", at, s.Remove)
	}
	return fmt.Sprintf("%s moves from broker %d to broker %d", at, s.Remove, s.Add)
}

// place names a partition, or the metadata.
func place(topic string, partition uint32) string {
	if topic == metadataName {
		return topic
	}
	return fmt.Sprintf("%s/%d", topic, partition)
}

// plural counts things, as in "1 move" and "3 moves".
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// size prints bytes in the largest unit that leaves a number above 10, without fractions.
func size(n uint64) string {
	for _, u := range []struct {
		name string
		unit uint64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= 10*u.unit {
			return fmt.Sprintf("%d %s", n/u.unit, u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}
