package report

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/results"
)

func TestReadmeSaysWhatWasMeasured(t *testing.T) {
	six := append(threeSystems, "kafka:default", "kafka:flush-every-message", "rabbitmq:default")
	f := sample(six, threeWorkloads, 3)
	for i := range f.Runs {
		if f.Runs[i].Workload == "half" {
			f.Runs[i].Offered = f.Runs[i].Maximum / 2
		}
	}
	f.Runs[4].Verdict, f.Runs[4].Reasons = results.Failed, []string{"lost"}
	f.NotMeasured = []results.NotMeasured{{System: "pulsar:default", Why: "not installed here"}}
	block := Readme(f)
	for i, line := range strings.Split(block, "\n") {
		require.LessOrEqual(t, len(line), readmeWidth, "line %d: %s", i+1, line)
		require.Regexp(t, "^[ -~]*$", line)
	}
	c := results.Compare(f)
	ours, peer := c.Blocks[0].Columns[0], c.Blocks[0].Columns[1]
	for _, want := range []string{
		"2026-11-22", "Synthetic CPU", f.Command, "not durable", "fdatasync", "publish pause p99", "pulsar:default` was not measured",
		results.PerSecond.Format(ours.Cells["publish_rate"].Median),
		results.PerSecond.Format(peer.Cells["publish_rate"].Median) + ", " + peer.Cells["publish_rate"].Ratio.String(),
		"1 of 3 rounds of publish on kafka:flush-every-message",
	} {
		require.Contains(t, strings.Join(strings.Fields(block), " "), want)
	}
	require.Regexp(t, `\| half +\| end-to-end p99 `, block)
	require.Contains(t, Readme(&results.File{}), "No run")
}

func TestSplice(t *testing.T) {
	readme := "# T\n\n" + BeginMark + "\nold\nolder\n" + EndMark + "\n\nrest\n"
	got, err := Splice([]byte(readme), "\nnew\n\n")
	require.NoError(t, err)
	require.Equal(t, "# T\n\n"+BeginMark+"\nnew\n"+EndMark+"\n\nrest\n", string(got))
	again, err := Splice(got, "new")
	require.NoError(t, err)
	require.Equal(t, string(got), string(again))
	for name, bad := range map[string]string{
		"no marks":  "# T\n",
		"no end":    BeginMark + "\n",
		"no begin":  EndMark + "\n",
		"reversed":  EndMark + "\n" + BeginMark + "\n",
		"twice":     readme + BeginMark + "\n",
		"not alone": "see " + BeginMark + "\n" + EndMark + "\n",
	} {
		_, err := Splice([]byte(bad), "new")
		require.Error(t, err, name)
	}
}
