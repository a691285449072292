package chaos

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// topics is a sound metadata service, apart from one planted bug.
type topics struct {
	bug string

	mu     sync.Mutex
	next   protocol.TopicID
	byName map[string]protocol.TopicID
	last   map[string]protocol.TopicID // also of what is deleted
	calls  int
}

func (s *topics) CreateTopic(_ context.Context, name string, _ client.TopicSpec) (*client.Topic, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.byName[name]; ok && s.bug != "a name twice" {
		return nil, protocol.Errorf(protocol.CodeTopicExists, "it exists")
	}
	s.next++
	id := s.next
	if was := s.last[name]; was != 0 && s.bug == "an identity again" {
		id = was
	}
	if s.bug == "a lost creation" && s.next%5 == 0 {
		return &client.Topic{ID: id, Name: name}, nil
	}
	s.byName[name], s.last[name] = id, id
	if s.calls++; s.calls%4 == 0 {
		return nil, protocol.Errorf(protocol.CodeTimeout, "made, but who knows")
	}
	return &client.Topic{ID: id, Name: name}, nil
}

func (s *topics) DeleteTopic(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.byName[name]; !ok {
		return protocol.Errorf(protocol.CodeTopicNotFound, "none")
	}
	if s.bug != "a deletion that is none" {
		delete(s.byName, name)
	}
	return nil
}

func (s *topics) DescribeTopic(_ context.Context, name string) (*client.TopicDescription, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, ok := s.byName[name]
	if was := s.last[name]; !ok && was != 0 && s.bug == "the dead come back" && s.next%2 == 0 {
		id, ok = was, true
	}
	if !ok {
		return nil, protocol.Errorf(protocol.CodeTopicNotFound, "none")
	}
	return &client.TopicDescription{ID: id, Name: name}, nil
}

// churned does many steps without a pause; times are a second apart, so that no describe may be as old as a deletion.
func churned(t *testing.T, bug string) (*churn, []string, map[string]int64) {
	t.Helper()
	s := &topics{bug: bug, byName: map[string]protocol.TopicID{}, last: map[string]protocol.TopicID{}}
	c := startChurn(t.Context(), nil, 1, 1, time.Now())
	random := rand.New(rand.NewPCG(7, 7))
	for i := range 400 {
		c.start = c.start.Add(-time.Minute)
		c.step(t.Context(), s, i%churners, random)
	}
	c.stop()
	violations, counts, err := c.judge()
	require.NoError(t, err)
	return c, violations, counts
}

func TestChurnFindsWhatIsPlanted(t *testing.T) {
	_, violations, counts := churned(t, "")
	require.Empty(t, violations)
	for _, kind := range []string{"topic_create", "topic_delete", "topic_describe"} {
		require.Greater(t, counts[kind], int64(20), kind)
	}
	for bug, because := range map[string]string{
		"a name twice":            "not linearizable",
		"an identity again":       "again to",
		"a lost creation":         "not linearizable",
		"a deletion that is none": "not linearizable",
		"the dead come back":      "not linearizable",
	} {
		t.Run(bug, func(t *testing.T) {
			_, violations, _ := churned(t, bug)
			require.Contains(t, strings.Join(violations, "\n"), because)
		})
	}
}

func TestChurnTakesAnotherNameInTime(t *testing.T) {
	c, _, _ := churned(t, "")
	c.mu.Lock()
	c.uses["churn-2-0"] = churnPerKey
	c.mu.Unlock()
	require.Equal(t, "churn-2-1", c.name(2))
	require.Equal(t, "churn-2-1", c.name(2))
	require.Equal(t, "churn-1-0", c.name(1))
}

func TestChurnEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &topics{byName: map[string]protocol.TopicID{}, last: map[string]protocol.TopicID{}}
	c := startChurn(ctx, []metadata{s, s, s}, 1, 1, time.Now())
	for len(c.history()) == 0 {
		require.NoError(t, sleep(t.Context(), time.Millisecond))
	}
	cancel()
	c.stop()
	violations, _, err := c.judge()
	require.NoError(t, err)
	require.Empty(t, violations)
	require.NoError(t, c.clear(t.Context(), s))
	require.Empty(t, s.byName)
}
