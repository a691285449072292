package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/driver/nodes"
)

// config is the configuration file of one server. A single server is not a cluster.
var config = template.Must(template.New("config").Parse(`server_name: {{.Name}}
listen: "127.0.0.1:{{.Client}}"
http: "127.0.0.1:{{.Monitor}}"
jetstream {
  store_dir: "{{.Store}}"
{{- if .Sync}}
  sync_interval: always
{{- end}}
}
{{- if .Routes}}
cluster {
  name: trunkbench
  listen: "127.0.0.1:{{.Route}}"
  routes: [{{range .Routes}}"nats://127.0.0.1:{{.}}", {{end}}]
}
{{- end}}
`))

// site is where one server is.
type site struct {
	Name                   string
	Client, Monitor, Route int // ports
	Routes                 []int
	Store                  string
	Sync                   bool
}

// boot starts the servers and waits until they are one healthy cluster.
func (s *system) boot(ctx context.Context, opts driver.Options) error {
	binary := serverBinary(opts.Binary)
	if err := installed(binary); err != nil {
		return err
	}
	sites, err := s.plan(opts)
	if err != nil {
		return err
	}
	var specs []nodes.Spec
	for i, at := range sites {
		dir := filepath.Join(s.dir, at.Name)
		file, err := at.write(dir)
		if err != nil {
			return err
		}
		srv := server{id: i + 1, addr: fmt.Sprintf("127.0.0.1:%d", at.Client)}
		s.servers = append(s.servers, srv)
		specs = append(specs, nodes.Spec{ID: srv.id, Addr: srv.addr, Dir: dir, Args: []string{binary, "-c", file}, Healthy: at.healthy})
	}
	if s.nodes, err = nodes.Up(ctx, specs); err != nil {
		return errors.Join(err, s.clear())
	}
	if err := united(ctx, sites); err != nil {
		return errors.Join(err, s.Close(ctx))
	}
	return nil
}

// plan gives each server a name, ports and a place.
func (s *system) plan(opts driver.Options) ([]site, error) {
	count := max(opts.Nodes, 1)
	ports, err := nodes.FreePorts(3 * count)
	if err != nil {
		return nil, err
	}
	sites := make([]site, count)
	for i := range sites {
		name := fmt.Sprintf("n%d", i+1)
		sites[i] = site{
			Name: name, Client: ports[3*i], Monitor: ports[3*i+1], Route: ports[3*i+2],
			Store: opts.Store(i+1, filepath.Join(s.dir, name, "store")), Sync: s.profile == fsyncAlways,
		}
		for j := 0; j < count && count > 1; j++ {
			sites[i].Routes = append(sites[i].Routes, ports[3*j+2])
		}
	}
	return sites, nil
}

func (at site) write(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("configuration of %s: %w", at.Name, err)
	}
	var text strings.Builder
	if err := config.Execute(&text, at); err != nil {
		return "", fmt.Errorf("configuration of %s: %w", at.Name, err)
	}
	file := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		return "", fmt.Errorf("configuration of %s: %w", at.Name, err)
	}
	return file, nil
}

// healthy asks /healthz, which is ok when the server is current with the meta leader and has recovered every stream and consumer.
func (at site) healthy(ctx context.Context) error {
	var answer struct {
		Status string `json:"status"`
		Error  string `json:"error"`
	}
	if err := at.ask(ctx, "healthz", &answer); err != nil {
		return err
	}
	if answer.Status != "ok" {
		return fmt.Errorf("%s is %s: %s", at.Name, answer.Status, answer.Error)
	}
	return nil
}

// meta is what a server knows of the Raft group that owns all streams.
type meta struct {
	Cluster *struct {
		Leader   string `json:"leader"`
		Replicas []struct {
			Current bool `json:"current"`
			Offline bool `json:"offline"`
		} `json:"replicas"` // as the leader sees them; others show none
	} `json:"meta_cluster"`
}

// united waits until the meta group has a leader that sees every other server current.
func united(ctx context.Context, sites []site) error {
	for len(sites) > 1 {
		for _, at := range sites {
			var m meta
			if err := at.ask(ctx, "jsz", &m); err == nil && m.complete(at.Name, len(sites)) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the JetStream meta group is not complete: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

func (m meta) complete(name string, size int) bool {
	if m.Cluster == nil || m.Cluster.Leader != name || len(m.Cluster.Replicas) != size-1 {
		return false
	}
	for _, r := range m.Cluster.Replicas {
		if !r.Current || r.Offline {
			return false
		}
	}
	return true
}

// ask reads JSON from the monitoring port, whatever the status of the answer.
func (at site) ask(ctx context.Context, path string, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/%s", at.Monitor, path), nil)
	if err != nil {
		return fmt.Errorf("ask %s for %s: %w", at.Name, path, err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask %s for %s: %w", at.Name, path, err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("ask %s for %s: %w", at.Name, path, err)
	}
	return nil
}

// clear removes what the servers stored.
func (s *system) clear() error {
	var errs []error
	for i := range s.servers {
		errs = append(errs, os.RemoveAll(filepath.Join(s.dir, fmt.Sprintf("n%d", i+1))))
	}
	return errors.Join(errs...)
}
