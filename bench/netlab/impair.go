package netlab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Way is the packets that go from some hosts to some others.
type Way struct {
	From, To []int  // hosts; Hub is one of them
	Proto    string // "tcp" or "udp"; "" is both and all others
	Percent  int    // how many of 100 are lost; 0 and 100 are all
}

func (w Way) String() string {
	s := fmt.Sprintf("from %v to %v", w.From, w.To)
	if w.Proto != "" {
		s = w.Proto + " " + s
	}
	return s
}

// Both returns the ways from a to b and from b to a.
func Both(a, b []int) []Way { return []Way{{From: a, To: b}, {From: b, To: a}} }

// Impairment is a loss of packets that lasts until it is healed or the laboratory is closed.
type Impairment struct {
	lab   *Lab
	table string
	ways  []Way

	healed bool    // guarded by lab.mu
	final  []int64 // guarded by lab.mu; what Dropped returns once it is healed
}

// Impair begins to lose packets, on all ways at the same moment.
func (l *Lab) Impair(ctx context.Context, ways ...Way) (*Impairment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, fmt.Errorf("impair %v: the laboratory is closed", ways)
	}
	if len(ways) == 0 {
		return nil, errors.New("impair: no way is named")
	}
	l.last++
	im := &Impairment{lab: l, table: fmt.Sprintf("impairment%d", l.last), ways: ways}
	text, err := l.table(im.table, ways)
	if err != nil {
		return nil, err
	}
	if _, err := run(ctx, text, "nft", "-f", "-"); err != nil {
		return nil, fmt.Errorf("impair %v: %w", ways, err)
	}
	l.hurting[im] = true
	return im, nil
}

// table writes an nft table. A packet passes one of the three hooks: forward between two hosts, input to the Hub, output from it.
func (l *Lab) table(name string, ways []Way) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "table bridge %s {\n\tchain judge {\n", name)
	for _, w := range ways {
		rule, err := l.rule(w)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "\t\t%s\n", rule)
	}
	b.WriteString("\t}\n")
	for _, hook := range []string{"forward", "input", "output"} {
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype filter hook %s priority 0;\n\t\tjump judge\n\t}\n", hook, hook)
	}
	b.WriteString("}\n")
	return b.String(), nil
}

func (l *Lab) rule(w Way) (string, error) {
	from, err := l.set(w.From)
	if err != nil {
		return "", fmt.Errorf("impair %v: %w", w, err)
	}
	to, err := l.set(w.To)
	if err != nil {
		return "", fmt.Errorf("impair %v: %w", w, err)
	}
	rule := "ip saddr " + from + " ip daddr " + to
	switch w.Proto {
	case "":
	case "tcp", "udp":
		rule += " ip protocol " + w.Proto
	default:
		return "", fmt.Errorf("impair %v: the protocol is tcp, udp or empty", w)
	}
	switch {
	case w.Percent < 0 || w.Percent > 100:
		return "", fmt.Errorf("impair %v: %d percent", w, w.Percent)
	case w.Percent > 0 && w.Percent < 100:
		rule += fmt.Sprintf(" numgen random mod 100 < %d", w.Percent)
	}
	return rule + " counter drop", nil
}

// set writes hosts as an nft set of their addresses.
func (l *Lab) set(hosts []int) (string, error) {
	if len(hosts) == 0 {
		return "", errors.New("it names no host")
	}
	addresses := make([]string, len(hosts))
	for i, h := range hosts {
		if h < Hub || h > len(l.hosts) {
			return "", fmt.Errorf("there is no host %d, only %d to %d", h, Hub, len(l.hosts))
		}
		addresses[i] = l.Address(h)
	}
	return "{ " + strings.Join(addresses, ", ") + " }", nil
}

// Ways returns what Impair was given.
func (im *Impairment) Ways() []Way { return im.ways }

// Dropped returns how many packets were lost on each of Ways, until now or until it was healed.
func (im *Impairment) Dropped(ctx context.Context) ([]int64, error) {
	im.lab.mu.Lock()
	defer im.lab.mu.Unlock()
	if im.healed {
		return im.final, nil
	}
	return im.count(ctx)
}

// count reads the counters of the rules, which nft lists in the order in which they were written.
func (im *Impairment) count(ctx context.Context) ([]int64, error) {
	text, err := run(ctx, "", "nft", "-j", "list", "chain", "bridge", im.table, "judge")
	if err != nil {
		return nil, err
	}
	var list struct {
		Nftables []struct {
			Rule *struct {
				Expr []struct {
					Counter *struct {
						Packets int64 `json:"packets"`
					} `json:"counter"`
				} `json:"expr"`
			} `json:"rule"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("nft counters: %w", err)
	}
	var dropped []int64
	for _, item := range list.Nftables {
		if item.Rule == nil {
			continue
		}
		for _, e := range item.Rule.Expr {
			if e.Counter != nil {
				dropped = append(dropped, e.Counter.Packets)
			}
		}
	}
	if len(dropped) != len(im.ways) {
		return nil, fmt.Errorf("nft lists %d counters of table %s, not %d: %s", len(dropped), im.table, len(im.ways), text)
	}
	return dropped, nil
}

// Heal ends the impairment. The second time it does nothing.
func (im *Impairment) Heal(ctx context.Context) error {
	im.lab.mu.Lock()
	defer im.lab.mu.Unlock()
	return im.undo(ctx)
}

func (im *Impairment) undo(ctx context.Context) error {
	if im.healed {
		return nil
	}
	final, err := im.count(ctx)
	if err != nil {
		return err
	}
	if _, err := run(ctx, "", "nft", "delete", "table", "bridge", im.table); err != nil {
		return err
	}
	im.healed, im.final = true, final
	delete(im.lab.hurting, im)
	return nil
}
