// Package program has what the three programs share beside their work: which build one is, and its manual pages. It holds no state.
package program

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/trunkline/trunkline/broker"
)

// revision is the commit; the build of a release sets it.
var revision string

// Version says which build this is: the release, the commit, the compiler and the platform. Without a revision the commit is what the
// compiler noted down of the work tree, if it did.
func Version() string {
	return fmt.Sprintf("%s (%s, %s %s/%s)", broker.Version, commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func commit() string {
	if revision != "" {
		return "commit " + revision
	}
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return "no commit"
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	switch rev := settings["vcs.revision"]; {
	case rev == "":
		return "no commit"
	case settings["vcs.modified"] == "true":
		return "commit " + rev + ", modified"
	default:
		return "commit " + rev
	}
}

// ManualCommand returns a hidden command that writes the manual pages of the program it is added to, one for each command, into an
// existing directory. section is 1 for programs that people use and 8 for daemons. The pages depend on the program alone, if
// SOURCE_DATE_EPOCH says the date and no variable of the environment gives a flag its default.
func ManualCommand(section string) *cobra.Command {
	return &cobra.Command{
		Use: "manual DIR", Short: "Write the manual pages", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("manual: %w", err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			for _, c := range root.Commands() {
				if c.Name() == "completion" { // cobra's own, the same in every program
					c.Hidden = true
				}
			}
			header := &doc.GenManHeader{Section: section, Source: "Trunkline " + broker.Version, Manual: "Trunkline"}
			if err := doc.GenManTree(root, header, args[0]); err != nil {
				return fmt.Errorf("manual: %s: %w", filepath.Clean(args[0]), err)
			}
			return nil
		},
	}
}
