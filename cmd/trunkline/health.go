package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// severity says how much a finding matters. Its value is the command's exit code: 1 is left to commands that do not succeed.
type severity int

const (
	info     severity = 0 // worth knowing
	warning  severity = 2 // somebody should do something before the next fault
	critical severity = 3 // something does not work
)

func (s severity) String() string {
	return map[severity]string{info: "info", warning: "warning", critical: "critical"}[s]
}

// MarshalText implements encoding.TextMarshaler.
func (s severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// finding is one thing about the cluster that is not as it should be, in sentences.
type finding struct {
	Severity severity `json:"severity"`
	Code     string   `json:"code"` // for programs; does not change
	Text     string   `json:"text"`
	ToDo     string   `json:"to_do,omitempty"`
}

// clusterFacts is what the findings are made of.
type clusterFacts struct {
	brokers []client.BrokerStatus
	topics  []client.Topic
	moves   int // under way
}

// readFacts asks the cluster.
func readFacts(ctx context.Context, a clusterAdmin) (*clusterFacts, error) {
	brokers, err := a.ClusterStatus(ctx)
	if err != nil {
		return nil, err
	}
	topics, err := a.ListTopics(ctx)
	if err != nil {
		return nil, err
	}
	moves, err := a.Moves(ctx)
	if err != nil {
		return nil, err
	}
	return &clusterFacts{brokers: brokers, topics: topics, moves: len(moves)}, nil
}

// clusterAdmin is the part of client.Admin that health and roll use.
type clusterAdmin interface {
	ClusterStatus(context.Context) ([]client.BrokerStatus, error)
	ListTopics(context.Context) ([]client.Topic, error)
	Moves(context.Context) ([]client.Move, error)
	SetBrokerState(context.Context, protocol.BrokerID, protocol.BrokerState) error
}

func clusterHealth(contextFile *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "health", Short: "Say what is wrong with the cluster and what to do", Args: cobra.NoArgs,
		Long: `Say what is wrong with the cluster and what to do.

The exit code is 0 if nothing is, 2 if somebody should do something before the next fault, 3 if something does not
work, and 1 if the cluster could not be asked.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			worst := info
			err := withAdmin(cmd.Context(), *contextFile, func(ctx context.Context, a *client.Admin) error {
				facts, err := readFacts(ctx, a)
				if err != nil {
					return err
				}
				found := facts.diagnose()
				for _, f := range found {
					worst = max(worst, f.Severity)
				}
				if asJSON {
					return printHealthJSON(cmd.OutOrStdout(), worst, found)
				}
				return printHealth(cmd.OutOrStdout(), facts, worst, found)
			})
			if err == nil && worst > info {
				return exitCode(worst)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printHealthJSON(w io.Writer, worst severity, found []finding) error {
	status := worst.String()
	if worst == info {
		status = "healthy"
	}
	return printJSON(w, map[string]any{"status": status, "findings": append([]finding{}, found...)})
}

func printHealth(w io.Writer, facts *clusterFacts, worst severity, found []finding) error {
	var text strings.Builder
	count := map[severity]int{}
	for _, f := range found {
		count[f.Severity]++
	}
	if worst == info {
		partitions := 0
		for _, t := range facts.topics {
			partitions += len(t.Partitions)
		}
		fmt.Fprintf(&text, "Healthy: %s, %s.\n", plural(len(facts.brokers), "broker"), plural(partitions, "partition"))
	} else {
		fmt.Fprintf(&text, "%d critical, %s.\n", count[critical], plural(count[warning], "warning"))
	}
	for _, f := range found {
		fmt.Fprintf(&text, "\n%s: %s\n", strings.ToUpper(f.Severity.String()), f.Text)
		if f.ToDo != "" {
			fmt.Fprintf(&text, "  %s\n", f.ToDo)
		}
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// diagnose returns what is found, the worst first.
func (c *clusterFacts) diagnose() []finding {
	var found []finding
	for _, look := range []func(*clusterFacts) []finding{
		(*clusterFacts).silentBrokers, (*clusterFacts).unready, (*clusterFacts).metadata, (*clusterFacts).stopped, (*clusterFacts).behind,
		(*clusterFacts).tooFewReplicas, (*clusterFacts).disks, (*clusterFacts).damage, (*clusterFacts).states, (*clusterFacts).versions,
		(*clusterFacts).level, (*clusterFacts).balance,
	} {
		found = append(found, look(c)...)
	}
	slices.SortStableFunc(found, func(a, b finding) int { return cmp.Compare(b.Severity, a.Severity) })
	return found
}

// answering returns the brokers that answered.
func (c *clusterFacts) answering() []client.BrokerStatus {
	return slices.DeleteFunc(slices.Clone(c.brokers), func(b client.BrokerStatus) bool { return b.Err != nil })
}

// present reports whether a broker answers, here or the others: this program may be cut off from one that serves.
func (c *clusterFacts) present(id protocol.BrokerID) bool {
	if b := find(c.brokers, id); b != nil && b.Err == nil {
		return true
	}
	o := c.opinionOf(id)
	return 2*o.missing < o.asked
}

// names names partitions, the first five of them.
func (c *clusterFacts) names(all []protocol.TopicPartition) string {
	const most = 5
	topics := map[protocol.TopicID]string{0: metadataName}
	for _, t := range c.topics {
		topics[t.ID] = t.Name
	}
	words := make([]string, 0, most)
	for _, tp := range all[:min(len(all), most)] {
		words = append(words, place(topics[tp.Topic], uint32(tp.Partition)))
	}
	list := strings.Join(words, ", ")
	if left := len(all) - most; left > 0 {
		list += fmt.Sprintf(" and %d more", left)
	}
	return list
}

// brokerNames names brokers, as in "broker 3" and "brokers 2, 3".
func brokerNames[T ~uint64 | ~uint32](ids []T) string {
	words := make([]string, 0, len(ids))
	for _, id := range ids {
		words = append(words, fmt.Sprint(uint64(id)))
	}
	if len(words) == 1 {
		return "broker " + words[0]
	}
	return "brokers " + strings.Join(words, ", ")
}
