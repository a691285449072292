package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// levelRow is what one broker says of levels.
type levelRow struct {
	Broker  uint64 `json:"broker"`
	Version string `json:"version"`
	Lowest  uint8  `json:"lowest"`
	Highest uint8  `json:"highest"`
	Error   string `json:"error,omitempty"`
}

// levelReport is the cluster's level and what it could be.
type levelReport struct {
	Level    uint8      `json:"level"`
	Raised   uint8      `json:"raised_from,omitempty"` // by this command
	Shared   uint8      `json:"shared"`                // highest that all that answer understand, and never below Level
	Newest   uint8      `json:"newest"`                // highest that some broker understands
	Holding  []string   `json:"holding"`               // sentences: what keeps the cluster from Newest, or from being asked
	Silent   bool       `json:"silent"`                // some broker does not answer: nothing can be raised
	Versions []string   `json:"versions"`
	Brokers  []levelRow `json:"brokers"`
}

func newLevelReport(brokers []client.BrokerStatus) levelReport {
	r := levelReport{Brokers: []levelRow{}, Holding: []string{}}
	by := map[string][]protocol.BrokerID{}
	for _, b := range brokers {
		row := levelRow{Broker: uint64(b.ID), Version: b.Version, Lowest: uint8(b.Levels.Lowest), Highest: uint8(b.Levels.Highest)}
		if b.Err != nil {
			row.Error, r.Silent = b.Err.Error(), true
			r.Holding = append(r.Holding, fmt.Sprintf("broker %d does not answer", b.ID))
		} else {
			by[b.Version] = append(by[b.Version], b.ID)
			r.Level, r.Newest = max(r.Level, uint8(b.Level)), max(r.Newest, row.Highest)
			r.Shared = min(cmp.Or(r.Shared, row.Highest), row.Highest)
		}
		r.Brokers = append(r.Brokers, row)
	}
	r.Shared = max(r.Shared, r.Level) // a broker that was just started anew may be behind
	for _, row := range r.Brokers {
		if row.Error == "" && row.Highest < r.Newest {
			r.Holding = append(r.Holding, fmt.Sprintf("broker %d runs release %s, which understands %s", row.Broker, row.Version,
				protocol.Levels{Lowest: protocol.Level(row.Lowest), Highest: protocol.Level(row.Highest)}))
		}
	}
	r.Versions = slices.Sorted(maps.Keys(by))
	return r
}

// due reports whether the cluster can be raised now.
func (r levelReport) due() bool { return !r.Silent && r.Shared > r.Level }

// standing says what the level is and why it is not higher.
func (r levelReport) standing() string {
	raised := ""
	if r.Raised != 0 {
		raised = fmt.Sprintf("Raised from level %d to level %d: brokers of a release that does not understand it are refused from now on. ", r.Raised, r.Level)
	}
	switch {
	case r.due() && r.Shared < r.Newest:
		return fmt.Sprintf("The cluster is at level %d; all brokers understand level %d. Level %d is held back: %s.", r.Level, r.Shared, r.Newest,
			strings.Join(r.Holding, "; "))
	case r.due():
		return fmt.Sprintf("The cluster is at level %d; all brokers understand level %d.", r.Level, r.Shared)
	case r.Newest > r.Level && len(r.Holding) > 0:
		return raised + fmt.Sprintf("The cluster stays at level %d. Level %d is held back: %s.", r.Level, r.Newest, strings.Join(r.Holding, "; "))
	case r.Silent:
		return fmt.Sprintf("The cluster is at level %d: %s.", r.Level, strings.Join(r.Holding, "; "))
	}
	return raised + fmt.Sprintf("The cluster is at level %d, the highest that its brokers understand.", r.Level)
}

// print says it for people.
func (r levelReport) print(w io.Writer) error {
	text := &strings.Builder{}
	if err := table(text, "BROKER\tRELEASE\tUNDERSTANDS", r.Brokers, func(row levelRow) string {
		if row.Error != "" {
			return fmt.Sprintf("%d\t-\tno answer", row.Broker)
		}
		return fmt.Sprintf("%d\t%s\t%s", row.Broker, row.Version,
			protocol.Levels{Lowest: protocol.Level(row.Lowest), Highest: protocol.Level(row.Highest)})
	}); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s\n%s\n", text, r.standing())
	return err
}

var errHeldBack = errors.New("nothing was changed: upgrade the brokers that hold it back, start what is down or decommission it, and run this again")

func clusterFinalize(contextFile *string) *cobra.Command {
	var dryRun, asJSON bool
	cmd := &cobra.Command{
		Use: "finalize", Short: "End an upgrade: let the brokers use what the new release brings", Args: cobra.NoArgs,
		Long: `End an upgrade: raise the level of the cluster to the highest that all brokers understand.

A new release writes and sends what the one before understands until this is run; until then every broker can be put back
to the release before. Afterwards there is no way back, and brokers of the release before are refused. Every broker must
run. The level is never lowered, and the command may be repeated.

The exit code is 0 if the cluster is at the highest level that any of its brokers understands, or could be in a dry run,
and 1 otherwise.`,
		Example: `  trunkline cluster finalize --dry-run    # who understands what, and what holds the cluster back
  trunkline cluster finalize`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withAdmin(cmd.Context(), *contextFile, func(ctx context.Context, a *client.Admin) error {
				r, err := finalize(ctx, a, dryRun)
				if err != nil {
					return err
				}
				if asJSON {
					err = printJSON(cmd.OutOrStdout(), r)
				} else {
					err = r.print(cmd.OutOrStdout())
				}
				if err == nil && !dryRun && r.Level < r.Newest || err == nil && dryRun && r.Shared < r.Newest || err == nil && r.Silent {
					return errHeldBack
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "change nothing: say who understands what, and what holds the cluster back")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// levelAdmin is the part of client.Admin that finalize uses.
type levelAdmin interface {
	ClusterStatus(context.Context) ([]client.BrokerStatus, error)
	RaiseLevel(context.Context, protocol.Level) (protocol.Level, error)
}

// finalize raises the level as far as can be, if it is no dry run, and returns how it is then.
func finalize(ctx context.Context, a levelAdmin, dryRun bool) (levelReport, error) {
	brokers, err := a.ClusterStatus(ctx)
	if err != nil {
		return levelReport{}, err
	}
	r := newLevelReport(brokers)
	if dryRun || !r.due() {
		return r, nil
	}
	level, err := a.RaiseLevel(ctx, protocol.Level(r.Shared))
	if err != nil {
		return r, err
	}
	r.Raised, r.Level = r.Level, uint8(level)
	return r, nil
}
