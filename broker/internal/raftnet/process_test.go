package raftnet

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/pki"
	"github.com/trunkline/trunkline/protocol"
)

// helperEnv makes the test binary run one broker's Network until it is killed.
const helperEnv = "TRUNKLINE_RAFTNET_HELPER"

type helperSpec struct {
	Dir   string
	Self  protocol.BrokerID
	Boot  byte
	Addrs map[protocol.BrokerID]string
}

func runHelper(text string) {
	var s helperSpec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		panic(err)
	}
	source, err := newTestSource(s.Dir, pki.BrokerName(s.Self))
	if err != nil {
		panic(err)
	}
	n, err := New(Config{
		ClusterID: testCluster, Self: s.Self, BootID: bootID(s.Self, s.Boot), DirID: dirID(s.Self), Listen: s.Addrs[s.Self],
		Peers: s.Addrs, TLS: source,
	})
	if err != nil {
		panic(err)
	}
	n.Start()
	for range time.Tick(time.Millisecond) {
		up := true
		for _, p := range *n.book.Load() {
			for _, l := range p.links {
				up = up && l.up.Load()
			}
		}
		if up {
			fmt.Println("up")
			select {}
		}
	}
}

func (c *cluster) process(self protocol.BrokerID, boot byte) *exec.Cmd {
	c.t.Helper()
	if l := c.first[self]; l != nil {
		require.NoError(c.t, l.Close())
		delete(c.first, self)
	}
	spec, err := json.Marshal(helperSpec{Dir: c.dir, Self: self, Boot: boot, Addrs: c.addrs})
	require.NoError(c.t, err)
	exe, err := os.Executable()
	require.NoError(c.t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), helperEnv+"="+string(spec))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(c.t, err)
	require.NoError(c.t, cmd.Start())
	c.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(c.t, err)
	require.Equal(c.t, "up\n", line)
	return cmd
}

func TestARealKillIsSeenWithinMilliseconds(t *testing.T) {
	c := newCluster(t, 2)
	one := c.start(c.config(1, 1))
	for life := byte(1); life <= 5; life++ {
		cmd := c.process(2, life)
		for want := fmt.Sprintf("up 2.%d", life); recv(t, one.events) != want; {
			continue
		}
		c.waitLinks(one)
		began := time.Now()
		require.NoError(t, cmd.Process.Kill())
		one.expect(t, fmt.Sprintf("down 2.%d", life))
		took := time.Since(began)
		t.Logf("noticed after %v", took)
		require.Less(t, took, 50*time.Millisecond*raceFactor)
		_ = cmd.Wait()
	}
}

func TestAStoppedProcessIsNoDeath(t *testing.T) {
	c := newCluster(t, 2)
	one := c.start(c.config(1, 1))
	cmd := c.process(2, 1)
	for recv(t, one.events) != "up 2.1" {
		continue
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP))
	// Even when every connection breaks meanwhile: the kernel accepts, nobody answers.
	one.Network.mu.Lock()
	for s := range one.conns {
		_ = s.(*net.TCPConn).Close()
	}
	one.Network.mu.Unlock()
	eventually(t, func() bool { return !one.peer(2).links[laneLiveness].up.Load() })
	require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
	c.waitLinks(one)
	one.quiet(t)
}
