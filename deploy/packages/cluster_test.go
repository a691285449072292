//go:build packages

package packages_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestThreeMachines forms a cluster of three machines by the words of docs/deploy.md: the shipped configuration with all its lines, the
// certificates that it says how to make. One broker is stopped and one killed.
func TestThreeMachines(t *testing.T) {
	t.Parallel()
	root := debian(t, "_"+goarch+".deb")
	inside(t, root, "dpkg", "-i", "/root/trunkline.deb")
	certs := makeCertificates(t)
	netns := fmt.Sprintf("tl-packages-%d", os.Getpid())
	host(t, "ip", "netns", "add", netns)
	t.Cleanup(func() { host(t, "ip", "netns", "del", netns) })
	host(t, "ip", "-n", netns, "link", "set", "lo", "up")
	var machines []*machine
	for id := 1; id <= 3; id++ {
		machines = append(machines, member(t, id, root, netns, certs))
	}

	machines[0].run("systemctl", "start", "--no-block", "trunklined")
	require.Eventually(t, func() bool {
		unit := machines[0].unit()
		return unit["ActiveState"] == "activating" && strings.Contains(unit["StatusText"], "the metadata shard has no leader")
	}, commandLimit, pollEvery, "alone it waits, and says for what")
	for _, m := range machines[1:] {
		m.run("systemctl", "start", "--no-block", "trunklined")
	}
	for _, m := range machines {
		m.awaitState("active")
	}
	machines[0].trunkline("topic create calls --partitions 3 --replicas 3")
	machines[0].publish("calls", 1, 300)

	stopped := slices.Max(leaders(t, machines[0])) // one that leads
	rest := slices.DeleteFunc(slices.Clone(machines), func(m *machine) bool { return m == machines[stopped-1] })
	machines[stopped-1].run("systemctl", "stop", "trunklined")
	for _, leader := range leaders(t, rest[0]) {
		require.NotContains(t, []int{0, stopped}, leader, "its leaderships went before it did")
	}
	require.NotContains(t, machines[stopped-1].tail(), "drain is not complete")
	rest[0].publish("calls", 301, 600)
	machines[stopped-1].run("systemctl", "start", "trunklined")
	host := fmt.Sprintf("b%d.example:7402", stopped)
	require.Equal(t, "ok\n", machines[0].run("trunkline", "broker", "probe", "--ready", "--admin", host))

	killed := rest[0]
	before := killed.unit()
	killed.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", "trunklined")
	rest[1].publish("calls", 601, 900)
	killed.awaitOther(before["MainPID"])
	got := killed.consume("calls", "all", 900)
	slices.SortFunc(got, func(a, b string) int { return number(t, a) - number(t, b) })
	require.Equal(t, numbers(1, 900), got, "every record once")
}

// member boots a machine and configures it, as a person would with the shipped configuration.
func member(t *testing.T, id int, root, netns, certs string) *machine {
	m := boot(t, fmt.Sprintf("tl-%d", id), root, netns)
	m.write("/etc/hosts", "127.0.0.1 localhost\n127.0.0.11 b1.example\n127.0.0.12 b2.example\n127.0.0.13 b3.example\n")
	config := regexp.MustCompile(`(?m)^#(\w+:|  )`).ReplaceAllString(read(t, "trunkline.yaml"), "$1")
	m.write("/etc/trunkline/trunkline.yaml", strings.Replace(config, "\nbroker: 1\n", fmt.Sprintf("\nbroker: %d\n", id), 1))
	for file, from := range map[string]string{
		"ca.pem": "ca.pem", "broker.pem": fmt.Sprintf("b%d.pem", id), "broker-key.pem": fmt.Sprintf("b%d-key.pem", id),
	} {
		m.write("/etc/trunkline/tls/"+file, read(t, filepath.Join(certs, from)))
	}
	m.sh("chown root:trunkline /etc/trunkline/tls/* && chmod 640 /etc/trunkline/tls/broker-key.pem")
	return m
}

// makeCertificates runs the commands of docs/deploy.md and returns the directory of what they made.
func makeCertificates(t *testing.T) string {
	t.Helper()
	_, block, found := strings.Cut(read(t, "../../docs/deploy.md"), "<!-- tested: certificates -->\n```sh\n")
	require.True(t, found)
	script, _, _ := strings.Cut(block, "```")
	dir := t.TempDir()
	host(t, "sh", "-ec", "cd "+dir+"\n"+script)
	return dir
}

// leaders returns the leader of each partition of the topic calls, 0 where there is none.
func leaders(t *testing.T, m *machine) []int {
	t.Helper()
	var out []int
	for _, match := range regexp.MustCompile(`"leader": (\d+)`).FindAllStringSubmatch(m.trunkline("topic describe calls --json"), -1) {
		out = append(out, number(t, match[1]))
	}
	require.Len(t, out, 3)
	return out
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}
