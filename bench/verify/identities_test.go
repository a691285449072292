package verify

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestIdentitiesFindWhatIsPlanted(t *testing.T) {
	for name, c := range map[string]struct {
		run     func(i *Identities)
		broken  int64
		because string
	}{
		"created, deleted, created": {func(i *Identities) {
			i.Created(0, "a", i.Began(), 1)
			i.Described(1, "a", 1)
			i.Absent(1, "a")
			i.Created(0, "a", i.Began(), 2)
			i.Described(1, "a", 2)
		}, 0, ""},
		"an identity again": {func(i *Identities) {
			i.Created(0, "a", i.Began(), 5)
			i.Created(0, "a", i.Began(), 5)
		}, 1, "given to \"a\" and again"},
		"that of another name": {func(i *Identities) {
			i.Created(0, "a", i.Began(), 5)
			i.Created(1, "b", i.Began(), 5)
		}, 1, "given to \"a\" and again to \"b\""},
		"a lower one": {func(i *Identities) {
			i.Created(0, "a", i.Began(), 5)
			i.Created(1, "b", i.Began(), 4)
		}, 1, "after identity 5 was given"},
		"side by side, in either order": {func(i *Identities) {
			x, y := i.Began(), i.Began()
			i.Created(0, "a", x, 5)
			i.Created(1, "b", y, 4)
		}, 0, ""},
		"a session is told of an older one": {func(i *Identities) {
			i.Created(0, "a", i.Began(), 1)
			i.Created(0, "a", i.Began(), 2)
			i.Described(1, "a", 2)
			i.Described(1, "a", 1)
		}, 1, "after identity 2"},
		"another session may be behind": {func(i *Identities) {
			i.Created(0, "a", i.Began(), 1)
			i.Created(0, "a", i.Began(), 2)
			i.Described(1, "a", 2)
			i.Described(2, "a", 1)
		}, 0, ""},
		"the creator is told of an older one": {func(i *Identities) {
			i.Created(0, "a", i.Began(), 1)
			i.Created(0, "a", i.Began(), 2)
			i.Described(0, "a", 1)
		}, 1, "after identity 2"},
		"the dead comes back": {func(i *Identities) {
			i.Described(1, "a", 1)
			i.Absent(1, "a")
			i.Described(1, "a", 1)
		}, 1, "after its end"},
		"gone before it was known": {func(i *Identities) {
			i.Absent(1, "a")
			i.Described(1, "a", 1)
		}, 0, ""},
		"the identity of another name": {func(i *Identities) {
			i.Created(0, "a", i.Began(), 5)
			i.Described(1, "b", 5)
		}, 1, "belongs to \"a\""},
	} {
		t.Run(name, func(t *testing.T) {
			i := NewIdentities()
			c.run(i)
			f := i.Findings()
			require.Equal(t, c.broken, f.Broken, "%v", f.Examples)
			require.Positive(t, f.Checked)
			if c.broken > 0 {
				require.Contains(t, f.Examples[0], c.because)
			}
		})
	}
}

// TestIdentitiesOfRandomHistories creates names one after the other while sessions follow at their own pace, and then gives one
// identity that was given before.
func TestIdentitiesOfRandomHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type creation struct {
			name string
			id   uint64
		}
		var log []creation
		sessions := make([]int, 3) // how much of the log each has seen
		i, id := NewIdentities(), uint64(0)
		for range rapid.IntRange(2, 60).Draw(t, "steps") {
			if rapid.IntRange(0, 2).Draw(t, "what") == 0 || len(log) == 0 {
				c := creation{fmt.Sprint(rapid.IntRange(0, 2).Draw(t, "name")), id + rapid.Uint64Range(1, 3).Draw(t, "grows")}
				id = c.id
				i.Created(9, c.name, i.Began(), c.id)
				log = append(log, c)
				continue
			}
			s := rapid.IntRange(0, 2).Draw(t, "session")
			sessions[s] = rapid.IntRange(sessions[s], len(log)-1).Draw(t, "sees")
			name := log[sessions[s]].name
			i.Described(s, name, log[sessions[s]].id)
		}
		f := i.Findings()
		require.Zero(t, f.Broken, "%v", f.Examples)

		again := rapid.SampledFrom(log).Draw(t, "again")
		i.Created(8, rapid.SampledFrom([]string{"0", "new"}).Draw(t, "as"), i.Began(), again.id)
		require.Equal(t, int64(1), i.Findings().Broken)
	})
}
