package main

import (
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/bench/drivers"
	"github.com/trunkline/trunkline/bench/report"
	"github.com/trunkline/trunkline/bench/results"
	"github.com/trunkline/trunkline/bench/workload"
	"github.com/trunkline/trunkline/broker"
)

func reportCommand() *cobra.Command {
	var page, plots, readme string
	cmd := &cobra.Command{
		Use:   "report RESULTS.json...",
		Short: "Print stored results as a table, and make the HTML report, the plots, or README's figures from them",
		Long: `Print stored results as a table, and make the HTML report, the plots, or README's figures from them.

Ratios count within one file, where systems took turns. Figures of several files stand side by side and are marked: they were
taken at different times.`,
		Example: `  trunkbench report trunkbench-out/results.json --html report.html --plots plots
  trunkbench report before.json after.json
  trunkbench report docs/bench/results.json --readme README.md`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, paths []string) error {
			var files []*results.File
			for _, path := range paths {
				f, err := results.Read(path)
				if err != nil {
					return err
				}
				files = append(files, f)
			}
			if readme != "" {
				return spliceReadme(readme, files)
			}
			if err := results.Compare(files...).Print(cmd.OutOrStdout()); err != nil {
				return err
			}
			return leaveReport(cmd.OutOrStdout(), page, plots, files)
		},
	}
	cmd.Flags().StringVar(&page, "html", "", "write the report to this file")
	cmd.Flags().StringVar(&plots, "plots", "", "write each plot as PNG into this directory")
	cmd.Flags().StringVar(&readme, "readme", "", "replace the figures in this file, between its how-fast marks")
	return cmd
}

func spliceReadme(path string, files []*results.File) error {
	if len(files) != 1 {
		return fmt.Errorf("--readme takes the figures of one results file, not of %d", len(files))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if text, err = report.Splice(text, report.Readme(files[0])); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, text, 0o644)
}

func workloadsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "workloads",
		Short: "List the named workloads; OMB's workload files can be given by path",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
			for _, l := range workload.Library() {
				fmt.Fprintf(w, "%s\t%s\n", l.Name, l.Doc)
			}
			return w.Flush()
		},
	}
}

func driversCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "drivers",
		Short: "List the systems that can be measured, their profiles, and whether they are installed here",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
			for _, d := range drivers.All() {
				state := "installed"
				if err := d.Installed(); err != nil {
					state = err.Error()
				}
				fmt.Fprintf(w, "%s\t\t%s\n", d.Name(), state)
				for _, p := range d.Profiles() {
					fmt.Fprintf(w, "\t%s:%s\t%s\n", d.Name(), p.Name, p.Doc)
				}
			}
			return w.Flush()
		},
	}
}

// version is the same for all programs of a build.
func version() string { return broker.Version }
