package blackbox

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// binaries is where TestMain built the commands.
var binaries string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "trunkline-binaries-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	out, err := exec.Command("go", "build", "-o", dir+"/", "../../cmd/trunklined", "../../cmd/trunkline", "../../cmd/trunkbench").CombinedOutput()
	if err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	binaries = dir
	return m.Run()
}

// env is a cluster and a client of it.
type env struct {
	*cluster.Cluster
	client *client.Client
}

// up starts a cluster that ends with the test. Its logs are shown if the test fails.
func up(t *testing.T, brokers int, config map[string]string) *env {
	t.Helper()
	return upAs(t, cluster.Spec{Brokers: brokers, Binary: filepath.Join(binaries, "trunklined"), Config: config})
}

// upAs starts a cluster in a directory of its own, as up does.
func upAs(t *testing.T, spec cluster.Spec) *env {
	t.Helper()
	spec.Dir, spec.Tied = filepath.Join(t.TempDir(), "cluster"), true
	c, err := cluster.Up(deadline(t, time.Minute), spec)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			showLogs(t, c)
		}
		stop, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := c.Down(stop); err != nil {
			t.Error(err)
		}
	})
	e := &env{Cluster: c}
	e.client = e.connect(t)
	return e
}

func showLogs(t *testing.T, c *cluster.Cluster) {
	for _, b := range c.Brokers() {
		text, _ := os.ReadFile(c.Log(b.ID))
		if len(text) > 8<<10 {
			text = text[len(text)-8<<10:]
		}
		t.Logf("broker %d:\n%s", b.ID, text)
	}
}

// connect opens one more client that ends with the test.
func (e *env) connect(t *testing.T) *client.Client {
	t.Helper()
	cf, err := client.LoadContext(e.Context())
	require.NoError(t, err)
	opts, err := cf.Options()
	require.NoError(t, err)
	c, err := client.Connect(deadline(t, 20*time.Second), cf.Brokers, append(opts, client.WithName(t.Name()))...)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = c.Close(ctx) // the cluster may be gone
	})
	return c
}

func (e *env) createTopic(t *testing.T, name string, partitions, replicas int) {
	t.Helper()
	_, err := e.client.Admin().CreateTopic(deadline(t, 20*time.Second), name, client.TopicSpec{Partitions: partitions, Replicas: replicas})
	require.NoError(t, err)
}

func (e *env) leader(t *testing.T, topic string, p protocol.Partition) int {
	t.Helper()
	var leader protocol.BrokerID
	eventually(t, 20*time.Second, func() error {
		d, err := e.client.Admin().DescribeTopic(deadline(t, 5*time.Second), topic)
		if err != nil {
			return err
		}
		if leader = d.Partitions[p].Leader; leader == 0 {
			return fmt.Errorf("no leader")
		}
		return nil
	})
	return int(leader)
}

func deadline(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls until check returns nil.
func eventually(t *testing.T, limit time.Duration, check func() error) {
	t.Helper()
	end := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %v: %v", limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// numbered makes the value of record n.
func numbered(n int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

func number(value []byte) int { return int(binary.BigEndian.Uint64(value)) }

// cli runs the trunkline command and returns its output.
func (e *env) cli(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	return trunkline(t, append([]string{"--context", e.Context()}, args...), stdin)
}

func trunkline(t *testing.T, args []string, stdin string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := exec.CommandContext(deadline(t, time.Minute), filepath.Join(binaries, "trunkline"), args...)
	cmd.Stdin = bytes.NewReader([]byte(stdin))
	cmd.Env = append(os.Environ(), "TRUNKLINE_CONTEXT=")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}
