package chaos

import (
	"context"
	"os"
	"testing"

	"github.com/trunkline/trunkline/bench/chaos/worker"
)

// TestMain lets the test's program be the client process that faults start, as trunkbench is.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "chaos-client" {
		if worker.Main(context.Background(), os.Stdin, os.NewFile(worker.ReportsFD, "reports")) != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}
