package chaos

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/chaos/worker"
	"github.com/trunkline/trunkline/bench/verify"
	"github.com/trunkline/trunkline/protocol"
)

func opened(client int, epoch protocol.ProducerEpoch, next uint64) worker.Report {
	return worker.Report{Client: client, What: worker.Opened, Epoch: epoch, Next: []uint64{next}}
}

func told(client int, what worker.What, seq uint64) worker.Report {
	return worker.Report{Client: client, What: what, Seq: seq, Offset: int64(seq)}
}

func fenced(client int, what worker.What, seq uint64) worker.Report {
	return worker.Report{Client: client, What: what, Seq: seq, Fenced: true}
}

// testNamedBooks takes reports of one partition, before each Opened a start, and returns what they break.
func testNamedBooks(t *testing.T, reports ...worker.Report) (b *namedBooks, l *verify.Ledger, broken []string) {
	t.Helper()
	l = verify.NewLedger(1, 1)
	b = newNamedBooks(1, l, func(format string, args ...any) { broken = append(broken, fmt.Sprintf(format, args...)) })
	for _, r := range reports {
		if r.What == worker.Opened {
			_, err := b.start(func() (int, error) { return r.Client, nil })
			require.NoError(t, err)
		}
		b.take(r)
	}
	return b, l, broken
}

// TestASuccessorGoesOn: it knows what was in the log and nobody had been told of; the predecessor is fenced.
func TestASuccessorGoesOn(t *testing.T) {
	b, l, broken := testNamedBooks(t,
		opened(1, 1, 0), told(1, worker.Sent, 0), told(1, worker.Acked, 0), told(1, worker.Sent, 1),
		opened(2, 2, 2), told(1, worker.Sent, 2), fenced(1, worker.Refused, 2), told(1, worker.Acked, 1),
		told(2, worker.Sent, 2), told(2, worker.Acked, 2))
	require.Empty(t, broken)
	require.Equal(t, map[string]int64{"resumed": 1, "zombie_sent": 1, "zombie_fenced": 1, "late_acks": 1}, b.counts())
	require.EqualValues(t, 3, l.Tally().Acked)
}

// TestASuccessorOwesWhatWasSentInVain: until it has sent that again nobody may ask what became of it.
func TestASuccessorOwesWhatWasSentInVain(t *testing.T) {
	b, _, broken := testNamedBooks(t, opened(1, 1, 0), told(1, worker.Sent, 0), told(1, worker.Sent, 1), opened(2, 2, 1))
	require.ErrorContains(t, b.owing(), "below 1, of 2")
	b.take(told(2, worker.Sent, 1))
	require.NoError(t, b.owing())

	_, err := b.start(func() (int, error) { return 3, nil })
	require.NoError(t, err)
	require.ErrorContains(t, b.owing(), "a successor of client 2 has not taken over yet", "client 2 may be dead, and message 1 not in the log")
	b.take(opened(3, 3, 1))
	require.ErrorContains(t, b.owing(), "below 1, of 2")
	require.Empty(t, broken)
}

// TestNamedBooksFind: each kind of lie.
func TestNamedBooksFind(t *testing.T) {
	begin := []worker.Report{opened(1, 1, 0), told(1, worker.Sent, 0), told(1, worker.Acked, 0)}
	for finding, reports := range map[string][]worker.Report{
		"goes on at message 0":                   {opened(2, 2, 0)},
		"goes on at message 9":                   {opened(2, 2, 9)},
		"epoch 3 after 0000000000000000 epoch 1": {opened(2, 3, 1)},
		"epoch 1 after 0000000000000000 epoch 1": {opened(2, 1, 1)},
		"has lost the name":                      {opened(2, 2, 1), told(1, worker.Sent, 1), told(1, worker.Acked, 1)},
		"message 1: refused":                     {told(1, worker.Sent, 1), told(1, worker.Refused, 1)},
		"where that one began at 1,":             {opened(2, 2, 1), told(1, worker.Sent, 1), told(1, worker.Unknown, 1)},
	} {
		_, _, broken := testNamedBooks(t, append(append([]worker.Report{}, begin...), reports...)...)
		require.NotEmpty(t, broken, finding)
		require.Contains(t, strings.Join(broken, "\n"), finding)
	}
}
