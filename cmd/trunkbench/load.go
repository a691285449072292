package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/load"
	"github.com/trunkline/trunkline/client"
)

func loadCommand() *cobra.Command {
	o := load.Options{}
	var contextFile string
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Publish as fast as a cluster acknowledges, and print rate and latency as JSON",
		Example: `  trunkbench load --size 256 --producers 4 --partitions 8
  trunkbench load --window 1 --producers 1            # one record in flight
  trunkbench load --context /tmp/tl/context.json --duration 5m`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			o.Progress = cmd.ErrOrStderr()
			if contextFile == "" {
				down, file, err := ownCluster(cmd.Context())
				if err != nil {
					return err
				}
				defer down()
				contextFile = file
			}
			res, err := load.Run(cmd.Context(), connector(contextFile), o)
			if err != nil {
				return err
			}
			if err := json.NewEncoder(cmd.OutOrStdout()).Encode(res); err != nil {
				return err
			}
			if res.Failed > 0 {
				return errors.New("publishes failed: " + res.FirstError)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&contextFile, "context", "", "cluster to load (default: three brokers of its own in a temporary directory)")
	f.StringVar(&o.Topic, "topic", "load", "topic, created if missing")
	f.IntVar(&o.Producers, "producers", 4, "producers, each with its own client")
	f.IntVar(&o.Partitions, "partitions", 8, "partitions of the topic")
	f.IntVar(&o.Replicas, "replicas", 3, "replicas of each partition")
	f.IntVar(&o.Size, "size", 256, "bytes of a record")
	f.IntVar(&o.Window, "window", 10_000, "records one producer may have unacknowledged (0: what the SDK buffers)")
	f.DurationVar(&o.Warmup, "warmup", 3*time.Second, "time before measuring")
	f.DurationVar(&o.Duration, "duration", 15*time.Second, "time of measuring")
	return cmd
}

// ownCluster starts three brokers; down stops them and removes everything.
func ownCluster(ctx context.Context) (down func(), contextFile string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	dir, err := os.MkdirTemp("", "trunkline-load-")
	if err != nil {
		return nil, "", err
	}
	up, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c, err := cluster.Up(up, cluster.Spec{Dir: filepath.Join(dir, "cluster"), Brokers: 3, Binary: filepath.Join(filepath.Dir(self), "trunklined")})
	if err != nil {
		return nil, "", errors.Join(err, os.RemoveAll(dir))
	}
	down = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		_ = c.Down(ctx) // the result is out; what is left is in the temporary directory
		_ = os.RemoveAll(dir)
	}
	return down, c.Context(), nil
}

// connector returns a function that opens a client of its own each time.
func connector(contextFile string) func(context.Context) (*client.Client, error) {
	return func(ctx context.Context) (*client.Client, error) {
		cf, err := client.LoadContext(contextFile)
		if err != nil {
			return nil, err
		}
		opts, err := cf.Options()
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
		defer cancel()
		return client.Connect(ctx, cf.Brokers, append(opts, client.WithName("trunkbench"))...)
	}
}
