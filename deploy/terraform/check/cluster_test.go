package check

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// deployed is a cluster that Terraform made of ../local.
type deployed struct {
	t             *testing.T
	data          string // Terraform's own
	dir           string // the cluster's
	state, binary string
	base          int // first port
}

// ports is how many numbers from base on belong to brokers 1 to 5.
const ports = 43

func deploy(t *testing.T) *deployed {
	t.Helper()
	tmp := t.TempDir()
	binary, err := filepath.Abs("../../../bin")
	if err != nil {
		t.Fatal(err)
	}
	d := &deployed{t: t, data: filepath.Join(tmp, "data"), dir: filepath.Join(tmp, "cluster"), state: filepath.Join(tmp, "state"), binary: binary, base: freePorts(t)}
	if out, err := terraform(t, "../local", d.data, "init", "-no-color"); err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	t.Cleanup(d.end)
	return d
}

// freePorts finds a range of ports that nobody has.
func freePorts(t *testing.T) int {
	t.Helper()
	for base := 20000 + os.Getpid()%10000; base < 60000; base += ports {
		if len(taken(base)) == 0 {
			return base
		}
	}
	t.Fatal("no free ports")
	return 0
}

// taken returns the ports of brokers 1 to 5 that somebody has.
func taken(base int) (busy []string) {
	for broker := range 5 {
		port := base + 10*broker
		if c, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
			busy = append(busy, err.Error())
		} else {
			_ = c.Close()
		}
		for _, p := range []int{port + 1, port + 2} {
			if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p)); err != nil {
				busy = append(busy, err.Error())
			} else {
				_ = l.Close()
			}
		}
	}
	return busy
}

// run is one command of Terraform with the cluster's variables; more are added.
func (d *deployed) run(verb string, more ...string) (string, error) {
	d.t.Helper()
	args := []string{verb, "-no-color", "-input=false", "-state=" + d.state, "-var", "directory=" + d.dir, "-var", fmt.Sprintf("base_port=%d", d.base), "-var", "wait=120"}
	return terraform(d.t, "../local", d.data, append(args, more...)...)
}

func (d *deployed) apply(more ...string) {
	d.t.Helper()
	began := time.Now()
	if out, err := d.run("apply", append([]string{"-auto-approve"}, more...)...); err != nil {
		d.t.Fatalf("apply %v: %v\n%s%s", more, err, out, d.logs())
	}
	d.t.Logf("apply %v: %.1f s", more, time.Since(began).Seconds())
}

// end destroys what a test that failed has left.
func (d *deployed) end() {
	if _, err := os.Stat(d.dir); err != nil {
		return
	}
	cmd := exec.Command("terraform", "-chdir=../local", "destroy", "-auto-approve", "-no-color", "-state="+d.state, "-var", "directory="+d.dir)
	cmd.Env = append(os.Environ(), "TF_DATA_DIR="+d.data, "TF_CLI_CONFIG_FILE="+os.DevNull)
	if out, err := cmd.CombinedOutput(); err != nil {
		d.t.Errorf("destroy: %v\n%s", err, out)
	}
}

// logs returns the last lines of every broker.
func (d *deployed) logs() string {
	var all strings.Builder
	files, _ := filepath.Glob(filepath.Join(d.dir, "broker-*", "log"))
	for _, f := range files {
		text, _ := os.ReadFile(f)
		lines := strings.Split(string(text), "\n")
		fmt.Fprintf(&all, "%s:\n%s\n", f, strings.Join(lines[max(0, len(lines)-20):], "\n"))
	}
	return all.String()
}

// ask runs trunkline with the context file that Terraform wrote.
func (d *deployed) ask(args ...string) string {
	d.t.Helper()
	cmd := exec.CommandContext(d.t.Context(), filepath.Join(d.binary, "trunkline"), append([]string{"--context", filepath.Join(d.dir, "context.json")}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		d.t.Fatalf("trunkline %v: %v\n%s%s", args, err, out.String(), errs.String())
	}
	return out.String()
}

// brokers returns "ID STATE" of every broker that the cluster knows.
func (d *deployed) brokers() (all []string) {
	for _, line := range strings.Split(d.ask("broker", "list"), "\n")[1:] {
		if f := strings.Fields(line); len(f) > 3 {
			all = append(all, f[0]+" "+f[2]) // the zone is empty
		}
	}
	return all
}

// stream publishes numbered lines at a steady rate until stopped.
type stream struct {
	cmd  *exec.Cmd
	out  bytes.Buffer
	stop chan struct{}
	sent chan int
}

func (d *deployed) publish(topic string) *stream {
	d.t.Helper()
	s := &stream{stop: make(chan struct{}), sent: make(chan int, 1)}
	s.cmd = exec.Command(filepath.Join(d.binary, "trunkline"), "--context", filepath.Join(d.dir, "context.json"), "pub", topic)
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	in, err := s.cmd.StdinPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	go s.feed(in)
	d.t.Cleanup(func() { _ = s.cmd.Process.Kill() }) // it has ended, unless the test failed
	return s
}

func (s *stream) feed(in io.WriteCloser) {
	defer func() { _ = in.Close() }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-s.stop:
			s.sent <- n
			return
		case <-tick.C:
			if _, err := fmt.Fprintln(in, n); err != nil { // the publisher has ended, which wait tells
				s.sent <- n
				return
			}
		}
	}
}

// wait ends the stream and returns how many lines were published; it fails if any was refused.
func (s *stream) wait(t *testing.T) int {
	t.Helper()
	close(s.stop)
	n := <-s.sent
	if err := s.cmd.Wait(); err != nil || !strings.Contains(s.out.String(), fmt.Sprintf(`{"acked":%d,"failed":0`, n)) {
		t.Fatalf("published %d: %v\n%s", n, err, s.out.String())
	}
	return n
}

// consumeAll checks that the topic holds the numbers below n, each once.
func (d *deployed) consumeAll(topic string, n int) {
	d.t.Helper()
	seen := make([]int, n)
	lines := bufio.NewScanner(strings.NewReader(d.ask("sub", topic, "--subscription", "check", "--from", "earliest", "--idle-exit", "2s")))
	for lines.Scan() {
		var i int
		if _, err := fmt.Sscan(lines.Text(), &i); err != nil || i < 0 || i >= n {
			d.t.Fatalf("never published: %q", lines.Text())
		}
		seen[i]++
	}
	for i, times := range seen {
		if times != 1 {
			d.t.Fatalf("of %d published lines, number %d was consumed %d times", n, i, times)
		}
	}
}
