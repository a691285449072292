package broker

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	nap       = 20 * time.Millisecond
	napWindow = time.Second
	// A broker starves that overslept starvedAbove of two windows one after the other, until it overslept less than starvedBelow in each
	// of ten. On a machine that is merely full it is 0.02 to 0.16, with a tenth of a processor 0.84 to 0.96.
	starvedAbove, starvedBelow  = 0.7, 0.4
	starvedWindows, wellWindows = 2, 10
)

// watchProcessors finds out whether this broker runs when it could: a leader whose machine, virtual machine or control group gives it a
// tenth of a processor answers pings, and so stays the leader, while publishers wait for seconds. It says so to the others, which
// take its leaderships over and give it no others (package liveness). It goes by short naps: how much longer they took than they
// should is time in which this process could not run, whoever took it. A pause, however long, is one window and no starving.
func (b *Broker) watchProcessors() {
	share := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "trunkline_processor_overslept_ratio", Help: "Share of the last second in which this broker could not run though it wanted to.",
	})
	b.reg.MustRegister(share)
	var h hunger
	for b.ctx.Err() == nil {
		lost := oversleep(b.ctx)
		share.Set(lost)
		if !h.judge(lost) {
			continue
		}
		b.starved.Store(h.starved)
		if h.starved {
			b.log.Warn("this broker gets too little of the processors, others take its leaderships over", "overslept", lost)
		} else {
			b.log.Info("this broker gets processors again", "overslept", lost)
		}
	}
}

// oversleep naps for a window and returns which share of it was longer than the naps.
func oversleep(ctx context.Context) float64 {
	began, naps := time.Now(), time.Duration(0)
	for time.Since(began) < napWindow {
		if !pause(ctx, nap) {
			return 0
		}
		naps += nap
	}
	return 1 - float64(naps)/float64(time.Since(began))
}

// hunger is the judgement over windows.
type hunger struct {
	starved bool
	against int // windows in a row that speak against starved
}

// judge takes in a window and reports whether starved changed.
func (h *hunger) judge(lost float64) bool {
	against, enough := lost > starvedAbove, starvedWindows
	if h.starved {
		against, enough = lost < starvedBelow, wellWindows
	}
	if !against {
		h.against = 0
		return false
	}
	if h.against++; h.against < enough {
		return false
	}
	h.starved, h.against = !h.starved, 0
	return true
}
