//go:build faults

package failpoint

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// use puts a plan into force until the test ends.
func use(t *testing.T, text string) {
	t.Helper()
	require.NoError(t, set(text))
	t.Cleanup(func() { require.NoError(t, set("")) })
}

func TestMistakesAreRefused(t *testing.T) {
	use(t, "beforeApply=panic")
	for text, want := range map[string]string{
		"beforeApply":                         "POINT=ACTION",
		"beforeDawn=panic":                    "there is no point",
		"beforeApply=panic;beforeApply=panic": "a rule already",
		"beforeApply=explode":                 "none of panic, delay",
		"beforeApply=error:EIO":               "none of panic, delay",
		"fs.sync=error:EPERM":                 "error:ENOSPC",
		"fs.sync=delay:soon":                  "no duration",
		"fs.sync=delay:2m":                    "outside",
		"fs.sync=delay:-1s":                   "outside",
		"fs.sync=panic,count=0":               "from 1",
		"fs.sync=panic,after=-1":              "from 0",
		"fs.sync=panic,count=1,count=2":       "twice",
		"fs.sync=panic,often":                 "none of after",
		"fs.sync=panic,match=":                "part of a path",
		"beforeMoveStep=error:EIO":            "none of panic, delay",
		"beforeApply=panic,match=x":           "have a path",
		"clock=panic":                         "offset:DURATION",
		"clock=offset:9999h":                  "outside",
		"clock=offset:1h,count=1":             "no option",
		"bug.skip-dedupe=off":                 "or not named",
		strings.Repeat(" ", maxText+1):        "at most",
	} {
		require.ErrorContains(t, set(text), want, text)
	}
	require.Panics(t, func() { Hit("beforeApply") }, "a plan that is refused changes nothing")
}

func TestAfterCountAndMatch(t *testing.T) {
	use(t, " fs.sync=error:EIO,after=2,count=3,match=/wal- ;; fs.write=error:ENOSPC")
	var failed []int
	for i := range 10 {
		require.NoError(t, Error("fs.sync", "/data/other"), "it does not count as a pass")
		err := Error("fs.sync", "/data/wal-0/new-1")
		if err != nil {
			failed = append(failed, i)
			require.ErrorIs(t, err, syscall.EIO)
			require.ErrorContains(t, err, "failpoint fs.sync: /data/wal-0/new-1")
		}
	}
	require.Equal(t, []int{2, 3, 4}, failed)
	require.ErrorIs(t, Error("fs.write", ""), syscall.ENOSPC)
	require.NoError(t, Error("fs.read", ""))
}

func TestStepsAreMatched(t *testing.T) {
	use(t, "beforeMoveStep=panic,match=promote,after=1")
	Step("beforeMoveStep", "add")
	Step("beforeMoveStep", "promote")
	Step("beforeMoveStep", "remove")
	Step("afterMoveStep", "promote")
	require.Panics(t, func() { Step("beforeMoveStep", "promote") })
}

func TestPanicDelayBugAndClock(t *testing.T) {
	use(t, "beforeApply=panic,count=1;beforeRoll=delay:30ms;bug.skip-dedupe=on;clock=offset:-1h")
	require.PanicsWithValue(t, "failpoint beforeApply: panic", func() { Hit("beforeApply") })
	Hit("beforeApply")
	begun := time.Now()
	Hit("beforeRoll")
	require.GreaterOrEqual(t, time.Since(begun), 30*time.Millisecond)
	require.True(t, Bug("bug.skip-dedupe"))
	require.False(t, Bug("bug.reuse-offset"))
	require.InDelta(t, -time.Hour, time.Until(Clock()()), float64(time.Minute))
	require.Panics(t, func() { Hit("beforeDawn") })
	use(t, "")
	require.False(t, Bug("bug.skip-dedupe"))
	require.InDelta(t, 0, time.Until(Clock()()), float64(time.Minute))
}

func TestCountHoldsForManyGoroutines(t *testing.T) {
	use(t, "fs.read=error:EIO,count=7")
	var failed atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				if Error("fs.read", "x") != nil {
					failed.Add(1)
				}
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 7, failed.Load())
}

func TestHTTP(t *testing.T) {
	use(t, "")
	do := func(method, from, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/debug/failpoints", strings.NewReader(body))
		r.RemoteAddr = from
		w := httptest.NewRecorder()
		Handler().ServeHTTP(w, r)
		return w
	}
	points := func() report {
		var r report
		require.NoError(t, json.Unmarshal(do(http.MethodGet, "127.0.0.1:1", "").Body.Bytes(), &r))
		return r
	}
	before := points().Points["fs.stat"]
	require.Equal(t, http.StatusNoContent, do(http.MethodPut, "[::1]:1", "fs.stat=error:EIO,after=1").Code)
	require.NoError(t, Error("fs.stat", ""))
	require.True(t, errors.Is(Error("fs.stat", ""), syscall.EIO))
	r := points()
	require.Equal(t, "fs.stat=error:EIO,after=1", r.Plan)
	require.Equal(t, counts{Passed: before.Passed + 2, Acted: before.Acted + 1}, r.Points["fs.stat"])
	require.Len(t, r.Points, len(counters))

	bad := do(http.MethodPut, "127.0.0.1:1", "x=y")
	require.Equal(t, http.StatusBadRequest, bad.Code)
	require.Contains(t, bad.Body.String(), "there is no point")
	require.Equal(t, http.StatusBadRequest, do(http.MethodPut, "127.0.0.1:1", strings.Repeat("x", maxText+1)).Code)
	require.Equal(t, http.StatusForbidden, do(http.MethodPut, "10.0.0.1:1", "").Code)
	require.Equal(t, http.StatusForbidden, do(http.MethodGet, "junk", "").Code)
	t.Setenv(EnvName, "")
	require.Equal(t, http.StatusNoContent, do(http.MethodPut, "10.0.0.1:1", "").Code)
	require.Equal(t, http.StatusForbidden, do(http.MethodPut, "192.0.2.1:1", "").Code)
}

func TestStartReadsTheEnvironment(t *testing.T) {
	use(t, "")
	t.Setenv(EnvName, "fs.stat=error:EIO")
	require.NoError(t, Start())
	require.ErrorIs(t, Error("fs.stat", ""), syscall.EIO)
	t.Setenv(EnvName, "fs.stat=error")
	require.ErrorContains(t, Start(), EnvName)
}
