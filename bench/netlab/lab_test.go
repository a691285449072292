package netlab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// victimVariable makes the test program a harness that is killed.
const victimVariable = "NETLAB_TEST_VICTIM"

// unavailable says why the tests that need a laboratory are skipped.
var unavailable error

// upAtStart tells whether loopback was up before any test ran.
var upAtStart bool

// TestMain runs all tests in a network namespace of their own.
func TestMain(m *testing.M) {
	code, inside, err := Isolate()
	var reason *UnavailableError
	switch {
	case errors.As(err, &reason):
		unavailable = err
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	case !inside:
		os.Exit(code)
	case os.Getenv(victimVariable) != "":
		os.Exit(victim())
	}
	lo, err := net.InterfaceByName("lo")
	upAtStart = err == nil && lo.Flags&net.FlagUp != 0
	os.Exit(m.Run())
}

// newLab makes a laboratory that ends with the test.
func newLab(t *testing.T, hosts int) *Lab {
	t.Helper()
	if unavailable != nil {
		t.Skip(unavailable)
	}
	l, err := New(t.Context(), hosts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close(context.Background())) })
	return l
}

const port = "7000"

// wire is what a probe is sent with and received by.
type wire struct {
	*Lab
	t    *testing.T
	ends map[int]net.PacketConn
	seq  int
}

// newWire opens a UDP socket on every host.
func newWire(t *testing.T, hosts int) *wire {
	w := &wire{Lab: newLab(t, hosts), t: t, ends: map[int]net.PacketConn{}}
	for h := Hub; h <= hosts; h++ {
		require.NoError(t, w.Do(h, func() (err error) {
			var config net.ListenConfig
			w.ends[h], err = config.ListenPacket(t.Context(), "udp4", net.JoinHostPort(w.Address(h), port))
			return err
		}))
		t.Cleanup(func() { require.NoError(t, w.ends[h].Close()) })
	}
	return w
}

// send sends n datagrams and returns how many arrive. Each must arrive or be counted as lost; none is under way when it returns.
func (w *wire) send(from, to, n int) (arrived int) {
	w.t.Helper()
	w.seq++
	mark := fmt.Sprintf("%d from %d to %d", w.seq, from, to)
	address, err := net.ResolveUDPAddr("udp4", net.JoinHostPort(w.Address(to), port))
	require.NoError(w.t, err)
	buffer := make([]byte, 100)
	before := w.dropped()
	for range n {
		_, err := w.ends[from].WriteTo([]byte(mark), address)
		require.NoError(w.t, err, "a lost packet is no error for its sender")
	}
	for end := time.Now().Add(10 * time.Second); ; {
		require.NoError(w.t, w.ends[to].SetReadDeadline(time.Now().Add(20*time.Millisecond)))
		size, _, err := w.ends[to].ReadFrom(buffer)
		if err == nil {
			require.Equal(w.t, mark, string(buffer[:size]))
			arrived++
		} else {
			require.ErrorIs(w.t, err, os.ErrDeadlineExceeded)
		}
		if arrived == n {
			return arrived
		}
		if err == nil {
			continue
		}
		lost := int(w.dropped() - before)
		if arrived+lost == n {
			return arrived
		}
		require.True(w.t, time.Now().Before(end), "of %d packets %d arrived and %d were counted as lost", n, arrived, lost)
	}
}

// dropped returns how many packets all impairments have lost.
func (w *wire) dropped() (sum int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for u := range w.hurting {
		if im, ok := u.(*Impairment); ok {
			counts, err := im.count(w.t.Context())
			require.NoError(w.t, err)
			for _, n := range counts {
				sum += n
			}
		}
	}
	return sum
}

// reach returns which hosts hear which, Hub first: "1 2" means that hosts 1 and 2 hear it.
func (w *wire) reach() []string {
	w.t.Helper()
	var out []string
	for from := range len(w.ends) {
		var heard []string
		for to := range len(w.ends) {
			if from != to && w.send(from, to, 1) == 1 {
				heard = append(heard, strconv.Itoa(to))
			}
		}
		out = append(out, strings.Join(heard, " "))
	}
	return out
}

// TestLoopbackIsUp also where there never was a laboratory.
func TestLoopbackIsUp(t *testing.T) {
	if unavailable != nil {
		t.Skip(unavailable)
	}
	require.True(t, upAtStart)
}

func TestHostsAreAloneAndConnected(t *testing.T) {
	w := newWire(t, 2)
	require.Equal(t, []string{"1 2", "0 2", "0 1"}, w.reach())
	require.NoError(t, Isolated())
	require.NoError(t, w.Do(1, func() error {
		links, err := net.Interfaces()
		require.Len(t, links, 2, "lo and eth0")
		return err
	}))
	require.NoError(t, w.Do(2, func() error { // loopback is up
		var config net.ListenConfig
		l, err := config.Listen(t.Context(), "tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp4", l.Addr().String())
		if err == nil {
			_ = c.Close()
		}
		return err
	}))
}

// TestEnterBecomesTheCommand: cluster must find its broker under the pid that it started.
func TestEnterBecomesTheCommand(t *testing.T) {
	l := newLab(t, 2)
	command := append(l.Enter(2), "sh", "-c", "echo $$; ip -4 -brief addr show eth0")
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	out, err := cmd.Output()
	require.NoError(t, err)
	pid, rest, _ := strings.Cut(string(out), "\n")
	require.Equal(t, strconv.Itoa(cmd.Process.Pid), pid)
	require.Contains(t, rest, "10.77.0.2/24")
}

func TestImpairments(t *testing.T) {
	w := newWire(t, 3)
	whole := []string{"1 2 3", "0 2 3", "0 1 3", "0 1 2"}
	require.Equal(t, whole, w.reach())
	for name, c := range map[string]struct {
		ways []Way
		want []string
	}{
		"partition":                {Both([]int{1}, []int{2, 3}), []string{"1 2 3", "0", "0 3", "0 2"}},
		"can send, not receive":    {[]Way{{From: []int{2, 3}, To: []int{1}}}, []string{"1 2 3", "0 2 3", "0 3", "0 2"}},
		"can receive, not send":    {[]Way{{From: []int{1}, To: []int{2, 3}}}, []string{"1 2 3", "0", "0 1 3", "0 1 2"}},
		"bridge":                   {Both([]int{1}, []int{3}), []string{"1 2 3", "0 2", "0 1 3", "0 2"}},
		"cut from the hub":         {Both([]int{Hub}, []int{1}), []string{"2 3", "2 3", "0 1 3", "0 1 2"}},
		"of the hub's UDP":         {[]Way{{From: []int{Hub}, To: []int{1}, Proto: "udp", Percent: 100}}, []string{"2 3", "0 2 3", "0 1 3", "0 1 2"}},
		"of TCP, which this isn't": {[]Way{{From: []int{Hub}, To: []int{1}, Proto: "tcp"}}, whole},
	} {
		t.Run(name, func(t *testing.T) {
			im, err := w.Impair(t.Context(), c.ways...)
			require.NoError(t, err)
			require.Equal(t, c.want, w.reach())
			dropped, err := im.Dropped(t.Context())
			require.NoError(t, err)
			require.Len(t, dropped, len(c.ways))
			for i, n := range dropped {
				require.Equal(t, c.ways[i].Proto != "tcp", n > 0, "%v: %d packets", c.ways[i], n)
			}
			require.NoError(t, im.Heal(t.Context()))
			require.NoError(t, im.Heal(t.Context()))
			require.Equal(t, whole, w.reach())
			after, err := im.Dropped(t.Context())
			require.NoError(t, err)
			require.Equal(t, dropped, after, "the proof outlives the impairment")
		})
	}
}

func TestImpairmentsAddUpAndHealAlone(t *testing.T) {
	w := newWire(t, 2)
	one, err := w.Impair(t.Context(), Both([]int{1}, []int{2})...)
	require.NoError(t, err)
	two, err := w.Impair(t.Context(), Both([]int{Hub}, []int{1})...)
	require.NoError(t, err)
	require.Equal(t, []string{"2", "", "0"}, w.reach())
	require.NoError(t, one.Heal(t.Context()))
	require.Equal(t, []string{"2", "2", "0 1"}, w.reach())
	require.NoError(t, two.Heal(t.Context()))
	require.Equal(t, []string{"1 2", "0 2", "0 1"}, w.reach())
}

// TestLossTakesItsShare: of n packets, lost with probability p, the number is within five standard deviations of its mean.
func TestLossTakesItsShare(t *testing.T) {
	w := newWire(t, 1)
	require.Equal(t, 1, w.send(Hub, 1, 1))
	for percent, bounds := range map[int][2]int{1: {3, 37}, 5: {66, 134}, 20: {337, 463}} {
		im, err := w.Impair(t.Context(), Way{From: []int{Hub}, To: []int{1}, Proto: "udp", Percent: percent})
		require.NoError(t, err)
		const n = 2000
		lost := 0
		for range n / 200 { // which a socket has room for
			lost += 200 - w.send(Hub, 1, 200)
		}
		require.GreaterOrEqual(t, lost, bounds[0], "%d percent", percent)
		require.LessOrEqual(t, lost, bounds[1], "%d percent", percent)
		dropped, err := im.Dropped(t.Context())
		require.NoError(t, err)
		require.Equal(t, []int64{int64(lost)}, dropped, "what is counted is what is missing")
		require.NoError(t, im.Heal(t.Context()))
	}
}

// TestSegmentsAreJudgedOneByOne: of a large write, packets of the link's size are lost, not super-packets, of which there were 16.
func TestSegmentsAreJudgedOneByOne(t *testing.T) {
	l := newLab(t, 1)
	im, err := l.Impair(t.Context(), Way{From: []int{1}, To: []int{Hub}, Proto: "tcp", Percent: 5})
	require.NoError(t, err)
	require.Equal(t, 1<<20, transfer(t, l, 1<<20))
	dropped, err := im.Dropped(t.Context())
	require.NoError(t, err)
	require.Greater(t, dropped[0], int64(10), "1 MiB is about 720 packets, of which 36 are lost")
}

func TestThrottleSlowsDown(t *testing.T) {
	l := newLab(t, 1)
	const size = 512 << 10
	timed := func() time.Duration {
		start := time.Now()
		require.Equal(t, size, transfer(t, l, size))
		return time.Since(start)
	}
	free := timed()
	throttle, err := l.Throttle(t.Context(), 1, 10_000_000)
	require.NoError(t, err)
	slow := timed()
	t.Logf("%d bytes: %v, throttled %v", size, free, slow)
	// 512 KiB at 10 Mbit/s take 420 ms, less the burst.
	require.Greater(t, slow, 350*time.Millisecond)
	delayed, err := throttle.Delayed(t.Context())
	require.NoError(t, err)
	require.Positive(t, delayed)
	require.NoError(t, throttle.Lift(t.Context()))
	require.NoError(t, throttle.Lift(t.Context()))
	require.Less(t, timed(), slow)
}

// transfer sends size bytes from host 1 to the Hub over TCP and returns how many arrive.
func transfer(t *testing.T, l *Lab, size int) int {
	t.Helper()
	var listener net.Listener
	require.NoError(t, l.Do(1, func() (err error) {
		var config net.ListenConfig
		listener, err = config.Listen(t.Context(), "tcp4", net.JoinHostPort(l.Address(1), port))
		return err
	}))
	defer listener.Close()
	go func() {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = c.Write(make([]byte, size)) // the other side counts
	}()
	c, err := (&net.Dialer{Timeout: 20 * time.Second}).DialContext(t.Context(), "tcp4", listener.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(30*time.Second)))
	n, buffer := 0, make([]byte, 64<<10)
	for n < size {
		k, err := c.Read(buffer)
		require.NoError(t, err)
		n += k
	}
	return n
}

func TestWhatMakesNoSense(t *testing.T) {
	l := newLab(t, 2)
	for want, w := range map[string]Way{
		"there is no host 3":  {From: []int{3}, To: []int{1}},
		"there is no host -1": {From: []int{1}, To: []int{-1}},
		"no host":             {From: []int{1}},
		"protocol":            {From: []int{1}, To: []int{2}, Proto: "ip; flush ruleset"},
		"101 percent":         {From: []int{1}, To: []int{2}, Percent: 101},
	} {
		_, err := l.Impair(t.Context(), w)
		require.ErrorContains(t, err, want)
	}
	_, err := l.Throttle(t.Context(), Hub, 1_000_000)
	require.ErrorContains(t, err, "no host 0")
	_, err = l.Throttle(t.Context(), 1, 1)
	require.ErrorContains(t, err, "bits a second")
	for _, n := range []int{0, MaxHosts + 1} {
		_, err = New(t.Context(), n)
		require.ErrorContains(t, err, "1 to 32 hosts")
	}
	_, err = New(t.Context(), 1)
	require.ErrorContains(t, err, bridge, "one laboratory at a time")
	_, err = net.InterfaceByName(bridge)
	require.NoError(t, err, "and the one that there is stays")
}

// TestCloseLeavesNothing: no link, no rule, no namespace; and there can be another laboratory.
func TestCloseLeavesNothing(t *testing.T) {
	if unavailable != nil {
		t.Skip(unavailable)
	}
	for range 2 {
		l, err := New(t.Context(), MaxHosts)
		require.NoError(t, err)
		im, err := l.Impair(t.Context(), Both([]int{1}, []int{MaxHosts})...)
		require.NoError(t, err)
		_, err = l.Throttle(t.Context(), 1, 1_000_000)
		require.NoError(t, err)
		require.NoError(t, l.Close(t.Context()))
		require.NoError(t, l.Close(t.Context()))
		require.NoError(t, im.Heal(t.Context()), "it is healed")
		_, err = l.Impair(t.Context(), Both([]int{1}, []int{2})...)
		require.ErrorContains(t, err, "closed")

		links, err := net.Interfaces()
		require.NoError(t, err)
		require.Len(t, links, 1, "%v", links)
		rules, err := run(t.Context(), "", "nft", "list", "ruleset")
		require.NoError(t, err)
		require.Empty(t, string(rules))
		require.Empty(t, namespacesHeld(t))
	}
}

// namespacesHeld returns the files of namespaces that this process holds open.
func namespacesHeld(t *testing.T) (held []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/self/fd/*")
	require.NoError(t, err)
	for _, f := range files {
		if target, err := os.Readlink(f); err == nil && strings.HasPrefix(target, "net:") {
			held = append(held, target)
		}
	}
	return held
}

// victim makes a laboratory with a process on each host, says where all of it is, and waits for its end. The processes are tied
// to it like brokers.
func victim() int {
	l, err := New(context.Background(), 2)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	var pids []string
	for h := 1; h <= 2; h++ {
		command := append(l.Enter(h), "sleep", "300")
		cmd := exec.Command(command[0], command[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		started := make(chan error)
		go func() { _ = onOwnThread(func() error { started <- cmd.Start(); select {} }) }()
		if err := <-started; err != nil {
			fmt.Println(err)
			return 1
		}
		pids = append(pids, strconv.Itoa(cmd.Process.Pid))
	}
	fmt.Println("pids", os.Getpid(), strings.Join(pids, " "))
	select {}
}

// TestKilledHarnessLeavesNothing: SIGKILL of the process that the user started ends the isolated one, what is on the hosts, and
// with them all namespaces.
func TestKilledHarnessLeavesNothing(t *testing.T) {
	newLab(t, 1) // or skip
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), victimVariable+"=1")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	fields := strings.Fields(line)
	require.Equal(t, "pids", fields[0], line)
	pids := fields[1:]
	require.Len(t, pids, 3)
	spaces := map[string]bool{}
	require.Eventually(t, func() bool { // nsenter goes there after it was started
		clear(spaces)
		for _, pid := range pids {
			space, err := os.Readlink("/proc/" + pid + "/ns/net")
			require.NoError(t, err)
			spaces[space] = true
		}
		return len(spaces) == 3
	}, 10*time.Second, 10*time.Millisecond, "each is in a namespace of its own")
	own, err := namespaceID()
	require.NoError(t, err)
	require.NotContains(t, spaces, own)

	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	require.Eventually(t, func() bool { return len(users(t, spaces)) == 0 }, 10*time.Second, 10*time.Millisecond, "%v", spaces)
}

// users returns the processes in one of the namespaces, zombies excepted.
func users(t *testing.T, spaces map[string]bool) (pids []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/ns/net")
	require.NoError(t, err)
	for _, path := range all {
		if space, err := os.Readlink(path); err == nil && spaces[space] {
			pids = append(pids, path)
		}
	}
	return pids
}

// TestSignalsAndExitCodePass: the user sees of the isolated process what he would see of the one he started.
func TestSignalsAndExitCodePass(t *testing.T) {
	for want, script := range map[int]string{
		0:                                     "exit 0",
		7:                                     "exit 7",
		9:                                     `trap "exit 9" TERM; kill -TERM $PPID; while :; do sleep 0.01; done`,
		killedBySignal + int(syscall.SIGKILL): "kill -KILL $$",
	} {
		code, err := runTied(exec.Command("sh", "-c", script))
		require.NoError(t, err)
		require.Equal(t, want, code, script)
	}
	_, err := runTied(exec.Command("/does/not/exist"))
	require.ErrorContains(t, err, "/does/not/exist")
}
