package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/bench/cluster"
)

// startLimit bounds how long brokers may take to become ready.
const startLimit = 60 * time.Second

func localCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "local",
		Short: "Run a cluster of real broker processes on this machine",
		Example: `  trunkline local up --dir /tmp/tl --brokers 3
  trunkline local kill 2 --dir /tmp/tl     # SIGKILL
  trunkline local start 2 --dir /tmp/tl
  trunkline local join --dir /tmp/tl       # one more broker
  trunkline local down --dir /tmp/tl       # stop all and remove the directory`,
	}
	cmd.PersistentFlags().StringVar(&dir, "dir", "", "directory of the cluster (required)")
	if err := cmd.MarkPersistentFlagRequired("dir"); err != nil {
		panic(err) // the flag is defined one line above
	}
	cmd.AddCommand(localUp(&dir), localJoin(&dir), localStatus(&dir), localDown(&dir))
	for _, a := range localActions {
		cmd.AddCommand(a.command(&dir))
	}
	return cmd
}

// localAction does one thing to one broker.
type localAction struct {
	name, short string
	do          func(context.Context, *cluster.Cluster, int) error
}

var localActions = []localAction{
	{"kill", "end a broker with SIGKILL", func(ctx context.Context, c *cluster.Cluster, id int) error { return c.Kill(ctx, id) }},
	{"stop", "drain and end a broker (SIGTERM)", func(ctx context.Context, c *cluster.Cluster, id int) error { return c.Stop(ctx, id) }},
	{"pause", "freeze a broker (SIGSTOP)", func(_ context.Context, c *cluster.Cluster, id int) error { return c.Pause(id) }},
	{"resume", "let a frozen broker go on (SIGCONT)", func(_ context.Context, c *cluster.Cluster, id int) error { return c.Resume(id) }},
	{"start", "start a broker that does not run and wait until it is ready", func(ctx context.Context, c *cluster.Cluster, id int) error {
		ctx, cancel := context.WithTimeout(ctx, startLimit)
		defer cancel()
		return c.Start(ctx, id)
	}},
	{"forget", "remove the directory of a broker that was decommissioned and has ended", func(_ context.Context, c *cluster.Cluster, id int) error {
		return c.Remove(id)
	}},
}

func (a localAction) command(dir *string) *cobra.Command {
	return &cobra.Command{
		Use: a.name + " ID", Short: strings.ToUpper(a.short[:1]) + a.short[1:], Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.Atoi(args[0])
			if err != nil {
				return fmt.Errorf("%q is not a broker ID", args[0])
			}
			c, err := cluster.Open(*dir)
			if err != nil {
				return err
			}
			return a.do(cmd.Context(), c, id)
		},
	}
}

func localUp(dir *string) *cobra.Command {
	var brokers int
	var set []string
	cmd := &cobra.Command{
		Use: "up", Short: "Start a cluster and wait until it is ready", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			binary, err := daemonBinary()
			if err != nil {
				return err
			}
			config := map[string]string{}
			for _, kv := range set {
				key, value, ok := strings.Cut(kv, "=")
				if !ok {
					return fmt.Errorf("--set %q: write key=value", kv)
				}
				config[key] = value
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), startLimit)
			defer cancel()
			c, err := cluster.Up(ctx, cluster.Spec{Dir: *dir, Brokers: brokers, Binary: binary, Config: config})
			if err != nil {
				return err
			}
			return printLocal(cmd.OutOrStdout(), c)
		},
	}
	cmd.Flags().IntVar(&brokers, "brokers", 3, "number of brokers")
	cmd.Flags().StringArrayVar(&set, "set", nil, "key=value for the configuration of every broker (repeatable)")
	return cmd
}

func localJoin(dir *string) *cobra.Command {
	return &cobra.Command{
		Use: "join", Short: "Add a broker to the running cluster and wait until it is ready", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := cluster.Open(*dir)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), startLimit)
			defer cancel()
			if _, err := c.Join(ctx); err != nil {
				return err
			}
			return printLocal(cmd.OutOrStdout(), c)
		},
	}
}

func localStatus(dir *string) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the cluster's processes as JSON (pid 0: does not run)", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := cluster.Open(*dir)
			if err != nil {
				return err
			}
			return printLocal(cmd.OutOrStdout(), c)
		},
	}
}

func localDown(dir *string) *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Stop all brokers and remove the directory", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := cluster.Open(*dir)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), 15*time.Second)
			defer cancel()
			return c.Down(ctx)
		},
	}
}

func printLocal(w io.Writer, c *cluster.Cluster) error {
	type row struct {
		ID     int    `json:"id"`
		PID    int    `json:"pid"`
		Listen string `json:"listen"`
		Admin  string `json:"admin"`
	}
	out := struct {
		Context string `json:"context"`
		Brokers []row  `json:"brokers"`
	}{Context: c.Context()}
	for _, b := range c.Brokers() {
		out.Brokers = append(out.Brokers, row{b.ID, b.PID, b.Listen, b.Admin})
	}
	return printJSON(w, out)
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// daemonBinary finds trunklined beside this program or in PATH.
func daemonBinary() (string, error) {
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), "trunklined")
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath("trunklined")
	if err != nil {
		return "", fmt.Errorf("trunklined is neither beside this program nor in PATH: build it with `make build`")
	}
	return path, nil
}
