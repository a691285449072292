package chaos

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/protocol"
)

// replacing wipes the data directory of a broker and does what an operator has to do then.
//
//	SIGKILL, wiped -> start: refused, with the command -> another broker joins -> the lost one leaves (`broker replace`) -> retired
//	-> start: refused, as retired -> directory removed -> even
//
// That the new broker counts nowhere before it has caught up is what arrivals judge. Counts, each behind its name: wiped,
// refused, joined, replaced, replace_ms (the longest, from the join on), and those of operation.
type replacing struct{ operation }

func newReplacing(seed uint64) *replacing {
	return &replacing{operation: newOperation("replace", seed)}
}

func (*replacing) changesMembers() {}

func (r *replacing) Inject(ctx context.Context, c *cluster.Cluster, _ []int) error {
	return r.begin(ctx, c, r.replace)
}

func (r *replacing) replace(ctx context.Context) error {
	lost := r.any()
	if err := r.cluster.Kill(ctx, lost); err != nil {
		return err
	}
	if err := os.RemoveAll(brokerData(r.cluster.Dir(), lost)); err != nil {
		return err
	}
	r.count("wiped", 1)
	if err := r.refuses(ctx, lost, regexp.MustCompile(fmt.Sprintf("trunkline broker replace %d --with", lost))); err != nil {
		return err
	}
	begun := time.Now()
	if err := r.join(ctx); err != nil {
		return err
	}
	if err := r.restate(ctx, lost, protocol.BrokerLeaving); err != nil {
		return err
	}
	if err := r.retired(ctx, lost); err != nil {
		return err
	}
	r.most("replace_ms", time.Since(begun).Milliseconds())
	if err := r.refuses(ctx, lost, regexp.MustCompile("was retired")); err != nil {
		return err
	}
	if err := r.removed(lost); err != nil {
		return err
	}
	r.count("replaced", 1)
	return r.even(ctx)
}

// refuses starts a broker that must end by itself and say why.
func (r *replacing) refuses(ctx context.Context, id int, why *regexp.Regexp) error {
	said, err := refusedStart(ctx, r.cluster, id)
	if err != nil {
		r.violation("%v", err)
		return err
	}
	if !why.MatchString(said) {
		r.violation("broker %d refused to start and did not say %q but %s", id, why, strings.TrimSpace(said))
	}
	r.count("refused", 1)
	return nil
}
