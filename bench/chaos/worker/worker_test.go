package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// asClient makes this test binary a client that does what the variable names.
const asClient = "TRUNKBENCH_TEST_CLIENT"

func TestMain(m *testing.M) {
	switch os.Getenv(asClient) {
	case "":
		os.Exit(m.Run())
	case "chatter":
		chatter(os.NewFile(ReportsFD, "reports"))
	case "main":
		if Main(context.Background(), os.Stdin, os.NewFile(ReportsFD, "reports")) != nil {
			os.Exit(1)
		}
	}
}

// enoughReports is how many a chatter has written at least when it is killed.
const enoughReports = 200

// chatter reports a count for ever.
func chatter(out *os.File) {
	for n := uint64(0); report(out, Report{Client: os.Getpid(), What: Sent, Seq: n, Text: "some more bytes to be torn apart"}) == nil; n++ {
		fmt.Fprintln(os.Stderr, n) // into a file that says what was written for sure
	}
}

func testCrew(t *testing.T, mode string, on func(Report)) *Crew {
	t.Helper()
	t.Setenv(asClient, mode)
	self, err := os.Executable()
	require.NoError(t, err)
	c, err := NewCrew([]string{self}, on)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// TestKilledWritersLoseNothing kills processes that write all the time: what each has written must be read, whole and in order.
func TestKilledWritersLoseNothing(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	next := map[int]uint64{}
	crew := &Crew{on: func(r Report) {
		require.Equal(t, next[r.Client], r.Seq)
		next[r.Client]++
	}, read: r, write: w, done: make(chan struct{})}
	go func() { defer close(crew.done); crew.listen() }()
	self, err := os.Executable()
	require.NoError(t, err)
	written := map[int]uint64{}
	for range 4 {
		pid, n := killWriter(t, self, w)
		written[pid] = n
	}
	require.NoError(t, w.Close())
	<-crew.done
	require.NoError(t, crew.err)
	for pid, n := range written {
		require.Greater(t, n, uint64(enoughReports))
		require.GreaterOrEqual(t, next[pid], n, "written before the kill and not read")
		require.LessOrEqual(t, next[pid], n+1)
	}
}

// killWriter runs a chatter until it has written hundreds of reports, and returns how many it knows to have written.
func killWriter(t *testing.T, self string, w *os.File) (pid int, written uint64) {
	t.Helper()
	said, err := os.CreateTemp(t.TempDir(), "said")
	require.NoError(t, err)
	defer said.Close()
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), asClient+"=chatter")
	cmd.ExtraFiles, cmd.Stderr = []*os.File{w}, said
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool {
		info, err := said.Stat()
		return err == nil && info.Size() > 4*enoughReports
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	text, err := os.ReadFile(said.Name())
	require.NoError(t, err)
	for _, b := range text {
		if b == '\n' {
			written++
		}
	}
	return cmd.Process.Pid, written
}

func TestAClientThatCannotDoItsTaskSaysSo(t *testing.T) {
	var mu sync.Mutex
	var got []Report
	c := testCrew(t, "main", func(r Report) { mu.Lock(); got = append(got, r); mu.Unlock() })
	cl, err := c.Start(Task{Context: "/nowhere", Topic: "t", Consume: &Consume{}})
	require.NoError(t, err)
	<-cl.gone
	require.False(t, cl.Alive())
	require.NoError(t, cl.Kill(), "it is gone already")
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, got, 2)
	require.Equal(t, Failed, got[0].What)
	require.Contains(t, got[0].Text, "/nowhere")
	require.Equal(t, Report{Client: cl.Number(), What: Gone, Text: "exit status 1"}, got[1])
}

func TestACrewOfNoCommand(t *testing.T) {
	c, err := NewCrew([]string{"/nowhere/client"}, func(Report) {})
	require.NoError(t, err)
	_, err = c.Start(Task{})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, c.Close())
}

func TestLongReportsAreRefused(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	require.NoError(t, report(w, Report{Text: string(make([]byte, 10_000))}), "words are cut")
	next := make([]uint64, 2000)
	for i := range next {
		next[i] = 1 << 60
	}
	require.ErrorContains(t, report(w, Report{Next: next}), "4096")
	require.False(t, errors.Is(report(w, Report{}), os.ErrClosed))
}
