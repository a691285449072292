//go:build faults

package failpoint

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Bounds of a plan.
const (
	maxText   = 4 << 10
	maxDelay  = time.Minute
	maxOffset = 1000 * time.Hour
)

// plan is a text that was understood. It does not change, but for the passes that its rules have counted.
type plan struct {
	text  string
	rules map[string]*rule // by point
}

// rule is what happens at one point.
type rule struct {
	panics bool
	errno  syscall.Errno // 0: no error
	delay  time.Duration // of a point, or the offset of the clock
	match  string        // paths, or kinds of steps, that contain it

	after, count int64 // passes after < n <= after+count are hit; count 0: all from there on
	passes       atomic.Int64
}

func (r *rule) meets(path string) bool { return strings.Contains(path, r.match) }

// due counts a pass and tells whether it is hit.
func (r *rule) due() bool {
	n := r.passes.Add(1) - r.after
	return n > 0 && (r.count == 0 || n <= r.count)
}

// parse reads a plan.
func parse(text string) (*plan, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("the plan has %d bytes, at most %d are allowed", len(text), maxText)
	}
	p := &plan{text: text, rules: map[string]*rule{}}
	for part := range strings.SplitSeq(text, ";") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		point, rest, ok := strings.Cut(part, "=")
		if !ok {
			return nil, fmt.Errorf("%q: a rule is POINT=ACTION", part)
		}
		if counters[point] == nil {
			return nil, fmt.Errorf("%q: there is no point %q; GET lists all", part, point)
		}
		if p.rules[point] != nil {
			return nil, fmt.Errorf("%q: point %s has a rule already", part, point)
		}
		r, err := parseRule(point, strings.Split(rest, ","))
		if err != nil {
			return nil, fmt.Errorf("%q: %w", part, err)
		}
		p.rules[point] = r
	}
	return p, nil
}

func parseRule(point string, words []string) (*rule, error) {
	r := &rule{}
	if err := r.action(point, words[0]); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		if seen[key] {
			return nil, fmt.Errorf("option %s is given twice", key)
		}
		seen[key] = true
		if err := r.option(point, key, value); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// action reads what is to happen.
func (r *rule) action(point, word string) (err error) {
	verb, arg, _ := strings.Cut(word, ":")
	isClock, isBug, isFile := point == clockPoint, strings.HasPrefix(point, "bug."), strings.HasPrefix(point, "fs.")
	switch {
	case isClock && verb == "offset":
		r.delay, err = duration(arg, -maxOffset, maxOffset)
	case isClock:
		return fmt.Errorf("the clock takes offset:DURATION, not %q", word)
	case isBug && word == "on":
	case isBug:
		return fmt.Errorf("a planted bug is \"on\" or not named, not %q", word)
	case word == "panic":
		r.panics = true
	case verb == "delay":
		r.delay, err = duration(arg, 0, maxDelay)
	case isFile && word == "error:EIO":
		r.errno = syscall.EIO
	case isFile && word == "error:ENOSPC":
		r.errno = syscall.ENOSPC
	case isFile:
		return fmt.Errorf("action %q is none of panic, delay:DURATION, error:EIO, error:ENOSPC", word)
	default:
		return fmt.Errorf("action %q is none of panic, delay:DURATION", word)
	}
	return err
}

func duration(arg string, low, high time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(arg)
	if err != nil {
		return 0, fmt.Errorf("%q is no duration like 50ms or +1h", arg)
	}
	if d < low || d > high {
		return 0, fmt.Errorf("%v is outside %v to %v", d, low, high)
	}
	return d, nil
}

func (r *rule) option(point, key, value string) (err error) {
	switch {
	case point == clockPoint:
		return fmt.Errorf("the clock takes no option %s", key)
	case key == "after":
		r.after, err = number(key, value, 0)
	case key == "count":
		r.count, err = number(key, value, 1)
	case key == "match" && !strings.HasPrefix(point, "fs.") && !strings.HasSuffix(point, "Step"):
		return fmt.Errorf("only the points fs.* have a path to match, and *Step a kind")
	case key == "match" && value == "":
		return fmt.Errorf("match= needs a part of a path or kind")
	case key == "match":
		r.match = value
	default:
		return fmt.Errorf("option %q is none of after, count, match", key)
	}
	return err
}

func number(key, value string, low int64) (int64, error) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < low || n > 1<<40 {
		return 0, fmt.Errorf("%s=%s: a number from %d to 2^40 is needed", key, value, low)
	}
	return n, nil
}
