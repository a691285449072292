package netlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
)

// outerVariable tells a process that Isolate started which network namespace it must not be in.
const outerVariable = "TRUNKLINE_NETLAB_OUTER"

// killedBySignal is added to a signal's number to make an exit code of it, as shells do.
const killedBySignal = 128

// tools are what the laboratory is made with, and the Debian package of each.
var tools = []struct{ name, from string }{
	{"ip", "iproute2"}, {"tc", "iproute2"}, {"nsenter", "util-linux"}, {"nft", "nftables"},
}

// UnavailableError says why there can be no laboratory on this machine.
type UnavailableError struct{ Reason string }

func (e *UnavailableError) Error() string { return "no network laboratory here: " + e.Reason }

// Available returns an *UnavailableError where this process can make no laboratory. It does not ask whether it is isolated yet.
func Available() error {
	if runtime.GOOS != "linux" {
		return &UnavailableError{"network namespaces need Linux"}
	}
	if os.Geteuid() != 0 {
		return &UnavailableError{"network namespaces need root"}
	}
	for _, t := range tools {
		if _, err := exec.LookPath(t.name); err != nil {
			return &UnavailableError{fmt.Sprintf("%v: apt-get install -y %s", err, t.from)}
		}
	}
	return nil
}

// Isolate makes this program run in a network namespace of its own. In the process that the user started it runs the program
// again in a fresh one, with the same arguments, environment and standard files, passes on SIGINT, SIGTERM, SIGHUP and SIGQUIT,
// and returns its exit code when it ends; that process dies with this one, also by SIGKILL. In there loopback is brought up, since not
// all that runs there makes a laboratory, and it returns inside.
//
// It must be called before anything has been done that must not be done twice, and by one goroutine.
func Isolate() (code int, inside bool, err error) {
	own, err := namespaceID()
	if err != nil {
		return 0, false, err
	}
	if outer := os.Getenv(outerVariable); outer != "" && outer != own {
		_, err := run(context.Background(), "", "ip", "link", "set", "lo", "up")
		// Processes that this one starts are not meant to believe that they are isolated.
		return 0, true, errors.Join(err, os.Unsetenv(outerVariable))
	}
	if err := Available(); err != nil {
		return 0, false, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, false, err
	}
	cmd := exec.Command(self, os.Args[1:]...) //nolint:noctx // ended by the signals that are passed on
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), outerVariable+"="+own)
	// A process group of its own: else a terminal's signal would reach it twice, directly and passed on.
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL, Setpgid: true}
	code, err = runTied(cmd)
	return code, false, err
}

// runTied runs a command to its end and passes signals on to it.
func runTied(cmd *exec.Cmd) (code int, err error) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	// The kernel sends the death signal when the thread that forked ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("run %s in a network namespace: %w", cmd.Path, err)
	}
	ended := make(chan struct{})
	passing := make(chan struct{})
	go func() {
		defer close(passing)
		for {
			select {
			case s := <-signals:
				_ = cmd.Process.Signal(s) // it may have ended just now
			case <-ended:
				return
			}
		}
	}()
	err = cmd.Wait()
	close(ended)
	<-passing
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0, err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signal() >= 0 {
		return killedBySignal + int(status.Signal()), nil
	}
	return exit.ExitCode(), nil
}

// Isolated returns an *UnavailableError if this process can reach a network other than a laboratory's.
func Isolated() error {
	links, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("list of network links: %w", err)
	}
	var foreign []string
	for _, l := range links {
		ours := l.Name == bridge || strings.HasPrefix(l.Name, portPrefix)
		if l.Flags&net.FlagUp != 0 && l.Flags&net.FlagLoopback == 0 && !ours {
			foreign = append(foreign, l.Name)
		}
	}
	if len(foreign) > 0 {
		return &UnavailableError{fmt.Sprintf("this process is in the machine's network (%s): it must call netlab.Isolate first", strings.Join(foreign, ", "))}
	}
	return nil
}

// namespaceID names the network namespace of the calling thread.
func namespaceID() (string, error) {
	id, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return "", fmt.Errorf("network namespace: %w", err)
	}
	return id, nil
}
