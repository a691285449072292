package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trunkline/trunkline/broker"
)

// probeText bounds how much of an answer is read: a reason is a line.
const probeText = 4 << 10

// brokerProbe asks a broker's admin endpoint, for health checks where there is nothing but this program.
func brokerProbe() *cobra.Command {
	var admin string
	var ready, caughtUp bool
	var limit time.Duration
	cmd := &cobra.Command{
		Use: "probe", Short: "Ask one broker, at its admin address, whether it is alive or serves", Args: cobra.NoArgs,
		Long: `Ask one broker, at its admin address, whether it is alive; with --ready whether it serves; with --caught-up whether
its replicas have everything too, so that another broker may be restarted. The exit code is 0 if so. Otherwise it is 1, and
the reason is printed.`,
		Example: `  trunkline broker probe
  trunkline broker probe --ready --admin 10.0.0.7:7402`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path := "/livez"
			switch {
			case caughtUp:
				path = "/readyz?caught-up"
			case ready:
				path = "/readyz"
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), limit)
			defer cancel()
			answer, err := probe(ctx, "http://"+admin+path)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), answer)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&admin, "admin", net.JoinHostPort("127.0.0.1", strconv.Itoa(broker.DefaultAdminPort)), "the broker's admin address")
	f.BoolVar(&ready, "ready", false, "ask whether it serves")
	f.BoolVar(&caughtUp, "caught-up", false, "ask whether it serves and its replicas lack nothing")
	f.DurationVar(&limit, "timeout", 10*time.Second, "wait so long for the answer")
	return cmd
}

// probe returns the answer, or what is wrong as an error.
func probe(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", fmt.Errorf("--admin: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("the broker does not answer: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, probeText))
	if err != nil {
		return "", fmt.Errorf("the broker's answer broke off: %w", err)
	}
	answer := strings.TrimSpace(string(text))
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", url, answer)
	}
	return answer, nil
}
