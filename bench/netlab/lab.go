package netlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// Hub is the number of the host that the harness and its clients are on. Other hosts are numbered from 1.
	Hub = 0
	// MaxHosts bounds a laboratory, without the Hub.
	MaxHosts = 32

	subnet     = "10.77.0."
	hubAddress = 254 // last part of it
	bridge     = "br0"
	portPrefix = "host" // and a number: the Hub's end of a host's link
)

// Lab is a laboratory network.
type Lab struct {
	hosts []*os.File // the namespaces of hosts 1 to n

	mu      sync.Mutex      // held while something is changed or counted
	last    int             // guarded by mu; of the tables' numbers
	hurting map[undoer]bool // guarded by mu; what is not undone
	closed  bool            // guarded by mu
}

// undoer is what changes the network for a time.
type undoer interface {
	undo(ctx context.Context) error // with Lab.mu held; the second time it does nothing
}

// New makes a laboratory of hosts 1 to n. The process must be isolated, and can have one at a time.
func New(ctx context.Context, n int) (*Lab, error) {
	if n < 1 || n > MaxHosts {
		return nil, fmt.Errorf("a laboratory has 1 to %d hosts, not %d", MaxHosts, n)
	}
	if err := errors.Join(Available(), Isolated()); err != nil {
		return nil, err
	}
	if _, err := net.InterfaceByName(bridge); err == nil {
		return nil, fmt.Errorf("this process has a laboratory (link %s exists): close it first", bridge)
	}
	l := &Lab{hurting: map[undoer]bool{}}
	if err := l.build(ctx, n); err != nil {
		return nil, errors.Join(err, l.Close(context.WithoutCancel(ctx)))
	}
	return l, nil
}

func (l *Lab) build(ctx context.Context, n int) error {
	hub := []string{
		"link set lo up",
		"link add " + bridge + " type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
		"link set " + bridge + " gso_max_segs 1 up",
		fmt.Sprintf("addr add %s/24 dev %s", l.Address(Hub), bridge),
	}
	for id := 1; id <= n; id++ {
		space, err := newNamespace()
		if err != nil {
			return err
		}
		l.hosts = append(l.hosts, space)
		hub = append(hub,
			fmt.Sprintf("link add %s%d type veth peer name eth0 netns %s", portPrefix, id, l.path(id)),
			fmt.Sprintf("link set %s%d master %s gso_max_segs 1 up", portPrefix, id, bridge))
	}
	if _, err := run(ctx, strings.Join(hub, "\n"), "ip", "-batch", "-"); err != nil {
		return err
	}
	for id := 1; id <= n; id++ {
		host := fmt.Sprintf("link set lo up\nlink set eth0 gso_max_segs 1 up\naddr add %s/24 dev eth0\n", l.Address(id))
		if _, err := run(ctx, host, append(l.Enter(id), "ip", "-batch", "-")...); err != nil {
			return fmt.Errorf("host %d: %w", id, err)
		}
	}
	return nil
}

// Address returns the IP address of a host.
func (l *Lab) Address(host int) string {
	if host == Hub {
		host = hubAddress
	}
	return fmt.Sprint(subnet, host)
}

// Enter returns the beginning of a command that runs the rest of it on a host. It becomes that rest by exec, so that the process
// stays the same.
func (l *Lab) Enter(host int) []string { return []string{"nsenter", "--net=" + l.path(host)} }

func (l *Lab) path(host int) string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), l.hosts[host-1].Fd())
}

// Do calls f on a thread that is on a host: sockets that f opens belong to that host and stay there, also when f has returned;
// goroutines that f starts do not.
func (l *Lab) Do(host int, f func() error) error {
	if host == Hub {
		return f()
	}
	return onOwnThread(func() error {
		if err := unix.Setns(int(l.hosts[host-1].Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter host %d: %w", host, err)
		}
		return f()
	})
}

// Close heals everything and removes all links. A host's namespace lives on for as long as a process is on it, alone.
func (l *Lab) Close(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	var errs []error
	for u := range l.hurting {
		errs = append(errs, u.undo(ctx))
	}
	links, err := run(ctx, "", "ip", "-brief", "link")
	errs = append(errs, err)
	for line := range strings.Lines(string(links)) {
		name, _, _ := strings.Cut(line, " ")
		name, _, _ = strings.Cut(name, "@")
		if name == bridge || strings.HasPrefix(name, portPrefix) {
			_, err := run(ctx, "", "ip", "link", "delete", name)
			errs = append(errs, err)
		}
	}
	for _, h := range l.hosts {
		errs = append(errs, h.Close())
	}
	return errors.Join(errs...)
}

// newNamespace makes a network namespace that exists for as long as the file is open or a process is in it.
func newNamespace() (*os.File, error) {
	var space *os.File
	err := onOwnThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		space, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return space, err
}

// onOwnThread calls f on a thread that nothing else runs on, and that ends with it.
func onOwnThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			// The first thread never ends, and is what /proc shows of the process. While it is held here, f gets another one.
			defer runtime.UnlockOSThread()
			done <- onOwnThread(f)
			return
		}
		done <- f() // the thread ends, since it is never unlocked
	}()
	return <-done
}

// run runs a tool and returns what it prints. An error says what the tool said.
func run(ctx context.Context, stdin string, command ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.Bytes(), nil
}
