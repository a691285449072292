package chaos

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/chaos/worker"
	"github.com/trunkline/trunkline/bench/verify"
	"github.com/trunkline/trunkline/client"
)

func assigned(client int, activation uint64, from int64) worker.Report {
	return worker.Report{Client: client, What: worker.Assigned, Activation: activation, Offset: from}
}

func got(client int, offset int64) worker.Report {
	return worker.Report{Client: client, What: worker.Got, Offset: offset, Seq: uint64(offset)}
}

func committedUpTo(client int, below int64) worker.Report {
	return worker.Report{Client: client, What: worker.Committed, Offset: below}
}

var killed = worker.Report{Client: 1, What: worker.Gone, Text: "signal: killed"}

// testGroupBooks takes reports of one partition and returns what they break.
func testGroupBooks(reports ...worker.Report) (b *groupBooks, broken *[]string) {
	broken = new([]string)
	b = newGroupBooks(1, verify.NewLedger(1, 1), func(format string, args ...any) {
		*broken = append(*broken, fmt.Sprintf(format, args...))
	})
	for _, r := range reports {
		b.take(r)
	}
	return b, broken
}

// TestAKilledConsumersMessagesComeAgain: those that were not committed, to the next one.
func TestAKilledConsumersMessagesComeAgain(t *testing.T) {
	b, broken := testGroupBooks(
		assigned(1, 1, 0), got(1, 0), got(1, 1), committedUpTo(1, 1), got(1, 2), killed,
		assigned(2, 2, 1), got(2, 1), got(2, 2), got(2, 3))
	require.Empty(t, *broken)
	require.EqualValues(t, 1, b.killedMidBatch())
	require.NoError(t, b.orphaned())
	_, handovers := b.longest()
	require.Equal(t, 1, handovers)
}

func TestGroupBooksFind(t *testing.T) {
	for finding, reports := range map[string][]worker.Report{
		"committed was up to 2":             {assigned(1, 1, 0), got(1, 0), got(1, 1), committedUpTo(1, 2), killed, assigned(2, 2, 1)},
		"delivered up to 1":                 {assigned(1, 1, 0), got(1, 0), killed, assigned(2, 2, 2)},
		"0 was due":                         {assigned(1, 1, 0), got(1, 1)},
		"after acknowledgements up to 1":    {assigned(1, 1, 0), got(1, 0), committedUpTo(1, 1), got(1, 0)},
		"both told of activation 1":         {assigned(1, 1, 0), assigned(2, 1, 0)},
		"0 were delivered and not commit":   {assigned(1, 1, 0), got(1, 0), got(1, 0)},
		"committed up to 5, but only deliv": {assigned(1, 1, 0), got(1, 0), committedUpTo(1, 5)},
		"damaged":                           {assigned(1, 1, 0), {Client: 1, What: worker.Got, Text: "damaged"}},
	} {
		_, broken := testGroupBooks(reports...)
		require.NotEmpty(t, *broken, finding)
		require.Contains(t, strings.Join(*broken, "\n"), finding)
	}
}

func TestCursorsNeverGoBack(t *testing.T) {
	b, broken := testGroupBooks(assigned(1, 1, 0), got(1, 0), committedUpTo(1, 1))
	state := client.SubscriptionState{Cursor: 1, Active: "one", Activation: 1}
	b.cursors([]client.SubscriptionState{state}, b.known())
	require.Empty(t, *broken)
	state.Cursor, state.Active = 0, "two"
	b.cursors([]client.SubscriptionState{state}, b.known())
	require.Len(t, *broken, 2, "it went back, and the activation has two consumers")
}
