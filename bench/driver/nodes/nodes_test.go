package nodes_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/bench/driver/nodes"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a node that is healthy once it has written its file, with a child of its own.
func server(t *testing.T, id int) nodes.Spec {
	dir := filepath.Join(t.TempDir(), fmt.Sprint(id))
	return nodes.Spec{
		ID: id, Dir: dir, Args: []string{"sh", "-c", "echo started; sleep 60 & touch ready; wait"},
		Healthy: func(context.Context) error {
			_, err := os.Stat(filepath.Join(dir, "ready"))
			return err
		},
	}
}

// state is the letter that the kernel gives a process: T is stopped; empty if there is none.
func state(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	return strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))[0]
}

// TestLifeOfANode goes through all states; the child of a node shares its fate.
func TestLifeOfANode(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	n, err := nodes.Up(ctx, []nodes.Spec{server(t, 1), server(t, 2)})
	require.NoError(t, err)
	first := n.List()[0]
	require.NotZero(t, first.PID)
	require.ErrorContains(t, n.Start(ctx, 1), "runs already")
	require.ErrorContains(t, n.Kill(ctx, 3), "there is no node 3")

	require.NoError(t, n.Pause(1))
	require.Eventually(t, func() bool { return state(first.PID) == "T" }, 5*time.Second, time.Millisecond)
	require.NoError(t, n.Resume(1))
	require.NoError(t, n.Kill(ctx, 1))
	require.Empty(t, state(first.PID))
	require.Zero(t, n.List()[0].PID)
	require.ErrorContains(t, n.Pause(1), "does not run")

	require.NoError(t, n.Start(ctx, 1))
	require.NotEqual(t, first.PID, n.List()[0].PID)
	require.NoError(t, n.Stop(ctx, 2))
	group := n.List()[0].PID
	require.NoError(t, n.Down())
	require.NoError(t, n.Down())
	require.Eventually(t, func() bool { return !groupLives(group) }, 5*time.Second, 10*time.Millisecond, "the child outlived its parent")
}

// groupLives reports whether any process of a group is left.
func groupLives(group int) bool {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if fields[0] != "Z" && fields[2] == fmt.Sprint(group) {
			return true
		}
	}
	return false
}

// TestUpSaysWhyANodeEnded and leaves nothing behind.
func TestUpSaysWhyANodeEnded(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	bad := server(t, 2)
	bad.Args = []string{"sh", "-c", "echo 'the port is taken'; exit 1"}
	_, err := nodes.Up(ctx, []nodes.Spec{server(t, 1), bad})
	require.ErrorContains(t, err, "node 2 ended while starting")
	require.ErrorContains(t, err, "the port is taken")

	slow := server(t, 1)
	slow.Healthy = func(context.Context) error { return errors.New("no quorum yet") }
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	_, err = nodes.Up(short, []nodes.Spec{slow})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "no quorum yet")
}
