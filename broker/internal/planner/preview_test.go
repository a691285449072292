package planner

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/protocol"
)

func (s *sim) preview(calm time.Duration) Preview {
	f := s.facts()
	f.Calm = calm
	return foresee(s.meta.Image(), f, testLimits)
}

func TestPreviewShowsEverythingThatIsPending(t *testing.T) {
	s := cluster(t, 3, nowhere)
	s.topic("calls", 60, 3)
	require.Equal(t, Preview{}, s.preview(time.Hour), "nothing is to be done")

	s.register(4, "", false)
	require.Len(t, Plan(s.meta.Image(), s.facts(), testLimits), testLimits.PerBroker, "a plan is bounded")
	v := s.preview(time.Hour)
	begun := 0
	for _, a := range v.Actions {
		if a.Kind == Begin {
			begun++
			require.Equal(t, protocol.BrokerID(4), a.Add)
			require.NotEmpty(t, a.Reason)
		}
	}
	require.Equal(t, 45, begun, "a quarter of 180 replicas")
	require.Empty(t, v.Notes)

	early := s.preview(0)
	require.Equal(t, v.Actions, early.Actions, "what waits is shown too")
	require.Len(t, early.Notes, 1)
	require.Contains(t, early.Notes[0], "waits until all brokers have been alive for 1s")
}

func TestPreviewIsBounded(t *testing.T) {
	s := cluster(t, 3, nowhere)
	s.register(4, "", false)
	s.topic("calls", 600, 3)
	s.set(2, meta.Leaving)
	v := s.preview(time.Hour)
	require.Len(t, v.Actions, previewLimit)
	require.Equal(t, 150, v.LeftOut, "450 replicas; the vote in the metadata is looked at when they are gone")
}

func TestPreviewExplainsWhatWaits(t *testing.T) {
	s := cluster(t, 4, nowhere)
	s.topic("calls", 4, 3)
	s.dead[2] = 20 * time.Second
	v := s.preview(0)
	require.Empty(t, v.Actions)
	notes := strings.Join(v.Notes, "\n")
	require.Contains(t, notes, "Nothing is moved for balance while broker 2 is silent.")
	require.Contains(t, notes, "Broker 2 has been silent for 20s. Unless it comes back, its 3 replicas are made anew on others in 40s.")

	s.dead[2] = time.Hour
	v = s.preview(0)
	require.Len(t, v.Actions, 3)
	require.Len(t, v.Notes, 1)

	s.dead[3] = time.Hour
	notes = strings.Join(s.preview(0).Notes, "\n")
	require.Contains(t, notes, "Broker 3 is taken for dead, but 3 of its 3 replicas cannot be made anew")
}

func TestPreviewAwaitsNobodyWhoIsGivenUp(t *testing.T) {
	s := cluster(t, 4, nowhere)
	s.topic("calls", 4, 3)
	s.dead[2] = time.Hour
	require.Contains(t, strings.Join(s.preview(time.Hour).Notes, "\n"), "while broker 2 is silent")
	s.settle()
	require.Equal(t, Preview{}, s.preview(time.Hour))
}

func TestPreviewOfTooFewBrokers(t *testing.T) {
	s := cluster(t, 3, nowhere)
	s.register(4, "", false)
	s.topic("calls", 4, 3)
	s.set(4, meta.Leaving)
	s.dead[1] = time.Second
	require.Contains(t, strings.Join(s.preview(0).Notes, "\n"), "Broker 4 leaves, but")
}
