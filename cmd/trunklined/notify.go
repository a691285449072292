package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Times of what the service manager is told.
const (
	// beatEvery is the pause between two beats at most; a watchdog gets three in its time, and whoever waits for the start one a second.
	beatEvery = 10 * time.Second
	startBeat = time.Second
	// waitMore is how much longer the start may take, counted from each beat of a broker that is alive and waits.
	waitMore = time.Minute
)

// supervised is what of a broker the service manager is told.
type supervised interface {
	Ready() error
	Alive(context.Context) error
}

// notifier tells the service manager that started this process, with the messages of sd_notify(3), how the broker is:
//
//	before it is ready   EXTEND_TIMEOUT_USEC, as long as it is alive: a broker may wait long for the majority of a cluster, and to start
//	                     it again would not bring the others
//	once it is           READY=1
//	from then on         WATCHDOG=1, as long as it is alive, ready or not
//	at the end           STOPPING=1
//	always               STATUS, in words
//
// A broker that is not alive is told nothing of: the time that the manager gives it runs out. One goroutine runs it.
type notifier struct {
	broker   supervised
	tell     func(state string) error
	log      func(line string)
	watchdog time.Duration // how long the manager waits for a sign of life; 0: it does not
	ready    bool          // was told
	said     string        // last status
}

// supervise starts to notify the service manager, if there is one, until ctx ends. The caller must call wait when ctx has ended.
func supervise(ctx context.Context, b supervised) (wait func()) {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return func() {}
	}
	log := func(line string) { fmt.Fprintln(os.Stderr, "trunklined:", line) }
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log("there is no watchdog: " + err.Error())
	}
	n := &notifier{broker: b, log: log, watchdog: watchdog, tell: func(state string) error {
		_, err := daemon.SdNotify(false, state)
		return err
	}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.run(ctx)
	}()
	return func() { <-done }
}

func (n *notifier) run(ctx context.Context) {
	for {
		n.beat(ctx)
		select {
		case <-ctx.Done():
			n.send("draining, then closing", daemon.SdNotifyStopping)
			return
		case <-time.After(n.pause()):
		}
	}
}

func (n *notifier) pause() time.Duration {
	p := beatEvery
	if n.watchdog > 0 {
		p = min(p, n.watchdog/3)
	}
	if !n.ready {
		p = min(p, startBeat)
	}
	return p
}

// beat takes at most a pause.
func (n *notifier) beat(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, n.pause())
	defer cancel()
	alive, ready := n.broker.Alive(ctx), n.broker.Ready()
	switch {
	case alive != nil:
		n.send("not alive: " + alive.Error())
	case ready == nil && !n.ready:
		n.ready = true
		n.send("serves", daemon.SdNotifyReady, daemon.SdNotifyWatchdog)
	case ready == nil:
		n.send("serves", daemon.SdNotifyWatchdog)
	case n.ready:
		n.send("does not serve: "+ready.Error(), daemon.SdNotifyWatchdog)
	default:
		n.send("waits: "+ready.Error(), fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", waitMore.Microseconds()))
	}
}

// send says the status, and in the log too if it is another than before: what comes before a watchdog's signal must be found there.
func (n *notifier) send(status string, states ...string) {
	status = strings.ReplaceAll(status, "\n", "; ")
	if err := n.tell(strings.Join(append(states, "STATUS="+status), "\n")); err != nil {
		status += " (the service manager was not told: " + err.Error() + ")"
	}
	if status != n.said {
		n.said = status
		n.log(status)
	}
}
