package failpoints

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	path         = "/debug/failpoints"
	requestLimit = 2 * time.Second
	maxAnswer    = 64 << 10
)

// Report is what a broker says about its failpoints.
type Report struct {
	Plan   string            `json:"plan"`
	Points map[string]Counts `json:"points"`
}

// Counts are those of one point since the process started.
type Counts struct {
	Passed int64 `json:"passed"`
	Acted  int64 `json:"acted"` // passes at which the plan did something
}

// Set replaces the plan of the broker whose admin address is admin; an empty one takes all harm back. A plan that ends the broker at
// once may make Set fail.
func Set(ctx context.Context, admin, plan string) error {
	_, err := request(ctx, http.MethodPut, admin, plan)
	return err
}

// Get returns what the broker says.
func Get(ctx context.Context, admin string) (Report, error) {
	var r Report
	body, err := request(ctx, http.MethodGet, admin, "")
	if err == nil {
		err = json.Unmarshal(body, &r)
	}
	if err != nil {
		return r, err
	}
	return r, nil
}

func request(ctx context.Context, method, admin, body string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+admin+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("%s has no failpoints: it is not the build that make faults makes", admin)
	case resp.StatusCode/100 != 2:
		return nil, fmt.Errorf("%s %s%s: %s", method, admin, path, strings.TrimSpace(string(answer)))
	}
	return answer, nil
}
