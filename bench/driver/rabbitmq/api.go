package rabbitmq

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// apiTimeout bounds one question. A broker asks the others before it answers, and hangs with them for a while.
const apiTimeout = time.Second

// api asks the management plugin. It is safe for concurrent use.
type api struct{ http *http.Client }

func newAPI() *api { return &api{http: &http.Client{Transport: &http.Transport{}}} }

func (a *api) close() { a.http.CloseIdleConnections() }

func (a *api) get(ctx context.Context, b broker, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.api+path, nil)
	if err != nil {
		return fmt.Errorf("management of broker %d: %w", b.id, err)
	}
	req.SetBasicAuth(b.user, b.password)
	answer, err := a.http.Do(req)
	if err != nil {
		return fmt.Errorf("management of broker %d: %w", b.id, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		_, _ = io.Copy(io.Discard, answer.Body)
		return fmt.Errorf("management of broker %d: %s", b.id, answer.Status)
	}
	if err := json.NewDecoder(answer.Body).Decode(into); err != nil {
		return fmt.Errorf("management of broker %d: %w", b.id, err)
	}
	return nil
}

// nodeName returns the name of the broker's Erlang node.
func (a *api) nodeName(ctx context.Context, b broker) (string, error) {
	var overview struct{ Node string }
	err := a.get(ctx, b, "/api/overview?columns=node", &overview)
	return overview.Node, err
}

// running returns the names of the nodes that broker b sees running.
func (a *api) running(ctx context.Context, b broker) (map[string]bool, error) {
	var all []struct {
		Name    string
		Running bool
	}
	if err := a.get(ctx, b, "/api/nodes", &all); err != nil {
		return nil, err
	}
	out := make(map[string]bool)
	for _, n := range all {
		if n.Running {
			out[n.Name] = true
		}
	}
	return out, nil
}

// leaders returns the name of the node that leads each queue, as broker b knows it.
func (a *api) leaders(ctx context.Context, b broker) (map[string]string, error) {
	var all []struct{ Name, Leader string }
	if err := a.get(ctx, b, "/api/queues/"+url.PathEscape(b.vhost)+"?columns=name,leader", &all); err != nil {
		return nil, err
	}
	out := make(map[string]string, len(all))
	for _, q := range all {
		out[q.Name] = q.Leader
	}
	return out, nil
}
