package report

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// browserFlags keep Chromium off the network and off the screen.
var browserFlags = []string{
	"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
	"--disable-component-update", "--disable-sync", "--remote-debugging-pipe", "--window-size=1360,900",
}

// browser is a Chromium without a screen with one page open, driven through the pipes of its debugging protocol.
type browser struct {
	t       *testing.T
	to      *os.File
	from    chan []byte
	last    int    // ID of the last request
	session string // of the page
}

// browse opens a page of a file in Chromium, which ends with the test. It skips the test where Chromium is not installed. Files
// that the page offers are saved in downloads.
func browse(t *testing.T, page, downloads string) *browser {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil && program == "" {
			program = found
		}
	}
	if program == "" {
		t.Skip("there is no Chromium to look at the page with")
	}
	b := &browser{t: t}
	// It is asked to end before the test's context would kill it without its children.
	b.start(exec.CommandContext(context.WithoutCancel(t.Context()), program, append(browserFlags, "--user-data-dir="+t.TempDir())...))
	var target struct{ TargetID string }
	b.call("Browser.setDownloadBehavior", map[string]any{"behavior": "allow", "downloadPath": downloads}, nil) //nolint:misspell // the protocol's own word
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	b.call("Page.enable", nil, nil)
	path, err := filepath.Abs(page)
	require.NoError(t, err)
	b.call("Page.navigate", map[string]any{"url": "file://" + path}, nil)
	b.await("Page.loadEventFired")
	return b
}

// start runs Chromium: it reads requests from its file 3 and writes answers to its file 4.
func (b *browser) start(cmd *exec.Cmd) {
	theirsIn, to, err := os.Pipe()
	require.NoError(b.t, err)
	from, theirsOut, err := os.Pipe()
	require.NoError(b.t, err)
	cmd.ExtraFiles = []*os.File{theirsIn, theirsOut}
	cmd.WaitDelay = 5 * time.Second
	require.NoError(b.t, cmd.Start())
	theirsIn.Close()
	theirsOut.Close()
	b.to, b.from = to, make(chan []byte, 1000)
	go func() {
		defer close(b.from)
		for in := bufio.NewReaderSize(from, 1<<20); ; {
			message, err := in.ReadBytes(0)
			if err != nil {
				return
			}
			b.from <- message[:len(message)-1]
		}
	}()
	b.t.Cleanup(func() {
		_, _ = b.to.Write([]byte("{\"id\": -1, \"method\": \"Browser.close\"}\x00"))
		for range b.from { // until it closes its end
		}
		to.Close()
		from.Close()
		_ = cmd.Wait() // whatever it thinks of its end
	})
}

// reply is an answer, or an event if it has a method.
type reply struct {
	ID     int
	Method string
	Error  *struct{ Message string }
	Result json.RawMessage
}

// call makes a request and takes its answer.
func (b *browser) call(method string, params map[string]any, result any) {
	b.t.Helper()
	b.last++
	request := map[string]any{"id": b.last, "method": method, "params": params}
	if params == nil {
		request["params"] = map[string]any{}
	}
	if b.session != "" {
		request["sessionId"] = b.session
	}
	data, err := json.Marshal(request)
	require.NoError(b.t, err)
	_, err = b.to.Write(append(data, 0))
	require.NoError(b.t, err)
	got := b.next(func(r reply) bool { return r.ID == b.last })
	require.Nil(b.t, got.Error, "%s: %s", method, data)
	if result != nil {
		require.NoError(b.t, json.Unmarshal(got.Result, result))
	}
}

// await waits for an event.
func (b *browser) await(event string) {
	b.t.Helper()
	b.next(func(r reply) bool { return r.Method == event })
}

// next takes the first message that is wanted and forgets those before it.
func (b *browser) next(wanted func(reply) bool) reply {
	b.t.Helper()
	patience := time.After(time.Minute)
	for {
		select {
		case data, open := <-b.from:
			require.True(b.t, open, "Chromium ended")
			var r reply
			require.NoError(b.t, json.Unmarshal(data, &r), "%s", data)
			if wanted(r) {
				return r
			}
		case <-patience:
			b.t.Fatal("Chromium does not answer")
		}
	}
}

// eval evaluates JavaScript in the page, waits for it if it is a promise, and takes its value.
func (b *browser) eval(script string, value any) {
	b.t.Helper()
	var got struct {
		Result    struct{ Value json.RawMessage }
		Exception *struct{ Text string } `json:"exceptionDetails"`
	}
	b.call("Runtime.evaluate", map[string]any{"expression": script, "awaitPromise": true, "returnByValue": true, "userGesture": true}, &got)
	require.Nil(b.t, got.Exception, "%s", script)
	if value != nil {
		require.NoError(b.t, json.Unmarshal(got.Result.Value, value), fmt.Sprintf("%s: %s", script, got.Result.Value))
	}
}
