package broker

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPulseNamesThePartThatHangs: whoever feels it learns the part by its deadline, one goroutine alone is caught in that part, and
// when the part answers again all is well.
func TestPulseNamesThePartThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hangs atomic.Bool
		var asked atomic.Int32
		free := make(chan struct{})
		p := &pulse{parts: []vitalPart{
			{"the first", func() error { return nil }},
			{"the second", func() error {
				asked.Add(1)
				if hangs.Load() {
					<-free
				}
				return nil
			}},
		}}
		feel := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return p.feel(ctx)
		}
		require.NoError(t, feel())
		hangs.Store(true)
		require.EqualError(t, feel(), "the second has not answered for 1s")
		require.EqualError(t, feel(), "the second has not answered for 2s", "the same question")
		require.EqualValues(t, 2, asked.Load(), "nobody asked beside it")
		hangs.Store(false)
		close(free)
		synctest.Wait()
		require.NoError(t, feel())
	})
}

func TestPulseStopsAtTheFirstPartThatIsIll(t *testing.T) {
	p := &pulse{parts: []vitalPart{
		{"the disk", func() error { return errors.New("gone") }},
		{"the rest", func() error { t.Error("asked"); return nil }},
	}}
	require.EqualError(t, p.feel(t.Context()), "the disk: gone")
}

// TestABrokerIsAlive asks a real one, by itself and over HTTP; then one of which a part is ill.
func TestABrokerIsAlive(t *testing.T) {
	b := open(t, alone(t.TempDir()))
	require.NoError(t, b.Alive(t.Context()))
	code, body := get(t, b, "/livez")
	require.Equal(t, http.StatusOK, code, body)

	b.pulse.parts = append([]vitalPart{{"liveness", func() error { return notOlder("ping", 11*time.Second, pingsLate) }}}, b.pulse.parts...)
	code, body = get(t, b, "/livez")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Equal(t, "liveness: its ping is 11s old, and 10s is the limit\n", body)
}
