package rabbitmq

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/driver/nodes"
)

// config is rabbitmq.conf of one node.
var config = template.Must(template.New("config").Parse(`listeners.tcp.1 = 127.0.0.1:{{.AMQP}}
management.tcp.ip = 127.0.0.1
management.tcp.port = {{.API}}
cluster_formation.peer_discovery_backend = classic_config
{{- range .Peers}}
cluster_formation.classic_config.nodes.{{.}} = tb{{.}}@localhost
{{- end}}
log.console = true
log.file = false
`))

// advanced is advanced.config of one node; the argument is what is set of the application rabbit.
const advanced = "[{rabbitmq_management_agent, [{disable_metrics_collector, true}]}, {rabbit, [%s]}].\n"

// wideCredit is flow control for throughput. As shipped, a channel is stopped at 32 commands that its queue has not committed; the
// guide to quorum queues says to raise that for few publishers. The credit is what RabbitMQ's own benchmarks of them set.
const wideCredit = "{quorum_commands_soft_limit, 512}, {credit_flow_default_credit, {5000, 2500}}"

func serverSettings(profile string) []driver.Setting {
	out := []driver.Setting{
		{Key: "rabbitmq_management", Value: "enabled", Why: "tells who leads a queue"},
		{Key: "rabbitmq_management_agent.disable_metrics_collector", Value: "true", Why: "the plugin costs nothing then"},
		{Key: "log.file", Value: "false", Why: "the log goes to the bench"},
	}
	if profile == moreCredit {
		out = append(out,
			driver.Setting{Key: "rabbit.quorum_commands_soft_limit", Value: "512", Why: "32 as shipped; more suits few publishers"},
			driver.Setting{Key: "rabbit.credit_flow_default_credit", Value: "{5000, 2500}", Why: "{400, 200} as shipped"})
	}
	return out
}

// site is where one node is.
type site struct {
	ID              int
	AMQP, Dist, API int // ports
	EPMD            int
	Peers           []int // IDs
	Dir, Data       string
	Cookie          string
	Credit          string
}

// boot starts the nodes and waits until they are one cluster.
func (s *system) boot(ctx context.Context, opts driver.Options) error {
	script := serverScript(opts.Binary)
	if err := installed(script); err != nil {
		return err
	}
	sites, err := s.plan(opts)
	if err != nil {
		return err
	}
	if s.names, err = bootNames(ctx, filepath.Join(s.dir, "epmd"), sites[0].EPMD); err != nil {
		return err
	}
	var specs []nodes.Spec
	for _, at := range sites {
		if err := at.write(); err != nil {
			return err
		}
		b := at.broker()
		s.brokers = append(s.brokers, b)
		specs = append(specs, nodes.Spec{
			ID: at.ID, Addr: b.addr, Dir: at.Dir, Args: []string{script}, Env: at.env(),
			Healthy: func(ctx context.Context) error { return s.healthy(ctx, b, len(sites)/2+1) },
		})
	}
	if s.nodes, err = nodes.Up(ctx, specs); err != nil {
		return err
	}
	return s.together(ctx)
}

// plan gives each node its ports and directory.
func (s *system) plan(opts driver.Options) ([]site, error) {
	n := max(opts.Nodes, 1)
	ports, err := nodes.FreePorts(3*n + 1)
	if err != nil {
		return nil, err
	}
	cookie, credit := rand.Text(), ""
	if s.profile == moreCredit {
		credit = wideCredit
	}
	var peers []int
	for i := range n {
		peers = append(peers, i+1)
	}
	var out []site
	for i := range n {
		dir := filepath.Join(s.dir, fmt.Sprintf("node%d", i+1))
		out = append(out, site{
			ID: i + 1, AMQP: ports[3*i], Dist: ports[3*i+1], API: ports[3*i+2], EPMD: ports[3*n], Peers: peers,
			Dir: dir, Data: opts.Store(i+1, filepath.Join(dir, "data")), Cookie: cookie, Credit: credit,
		})
	}
	return out, nil
}

// bootNames starts the cluster's own epmd in the foreground. Left alone, the first node would start one that outlives it.
func bootNames(ctx context.Context, dir string, port int) (*nodes.Nodes, error) {
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	return nodes.Up(ctx, []nodes.Spec{{
		ID: 1, Addr: addr, Dir: dir, Args: []string{"epmd", "-port", fmt.Sprint(port)}, Env: []string{"ERL_EPMD_ADDRESS=127.0.0.1"},
		Healthy: func(ctx context.Context) error {
			conn, err := dialer.DialContext(ctx, "tcp", addr)
			if err != nil {
				return err
			}
			return conn.Close()
		},
	}})
}

func (at site) broker() broker {
	return broker{
		id: at.ID, name: fmt.Sprintf("tb%d@localhost", at.ID), addr: fmt.Sprintf("127.0.0.1:%d", at.AMQP),
		url: fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d/", at.AMQP), api: fmt.Sprintf("http://127.0.0.1:%d", at.API),
		user: "guest", password: "guest", vhost: "/",
	}
}

// write makes the directory and the files that the node reads.
func (at site) write() error {
	if err := os.MkdirAll(at.Dir, 0o700); err != nil {
		return fmt.Errorf("directory of node %d: %w", at.ID, err)
	}
	var conf strings.Builder
	if err := config.Execute(&conf, at); err != nil {
		return fmt.Errorf("configuration of node %d: %w", at.ID, err)
	}
	for name, text := range map[string]string{
		"rabbitmq.conf": conf.String(), "advanced.config": fmt.Sprintf(advanced, at.Credit),
		"plugins": "[rabbitmq_management].\n", "env.conf": "", ".erlang.cookie": at.Cookie,
	} {
		if err := os.WriteFile(filepath.Join(at.Dir, name), []byte(text), 0o400); err != nil {
			return fmt.Errorf("configuration of node %d: %w", at.ID, err)
		}
	}
	return nil
}

// env is the environment of a node. Everything is in its directory and on 127.0.0.1.
func (at site) env() []string {
	in := func(name string) string { return filepath.Join(at.Dir, name) }
	return []string{
		// The script becomes the server instead of waiting for it: one process to signal, and one that dies with the bench.
		"RUNNING_UNDER_SYSTEMD=true",
		"HOME=" + at.Dir,
		"ERL_EPMD_ADDRESS=127.0.0.1", fmt.Sprintf("ERL_EPMD_PORT=%d", at.EPMD),
		"RABBITMQ_NODENAME=" + at.broker().name, fmt.Sprintf("RABBITMQ_DIST_PORT=%d", at.Dist),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
		"RABBITMQ_MNESIA_BASE=" + at.Data, "RABBITMQ_LOG_BASE=" + in("logs"),
		"RABBITMQ_CONFIG_FILE=" + in("rabbitmq.conf"), "RABBITMQ_CONFIG_FILES=" + in("conf.d"),
		"RABBITMQ_ADVANCED_CONFIG_FILE=" + in("advanced.config"), "RABBITMQ_CONF_ENV_FILE=" + in("env.conf"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + in("plugins"),
	}
}

// healthy returns nil if the node takes clients and is in a cluster with at least so many that run, itself included.
func (s *system) healthy(ctx context.Context, b broker, atLeast int) error {
	running, err := s.api.running(ctx, b)
	if err != nil {
		return err
	}
	if !running[b.name] || len(running) < atLeast {
		return fmt.Errorf("node %d sees %d nodes run", b.id, len(running))
	}
	conn, err := b.dial(ctx, "trunkbench health")
	if err != nil {
		return err
	}
	conn.close(ctx)
	return nil
}

// together waits until every node sees all of them run: two that started at once might each have begun a cluster.
func (s *system) together(ctx context.Context) error {
	for {
		var errs []error
		for _, b := range s.brokers {
			errs = append(errs, s.healthy(ctx, b, len(s.brokers)))
		}
		err := errors.Join(errs...)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the nodes did not find each other (%w): %w", ctx.Err(), err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}
