package chaos

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/verify"
	"github.com/trunkline/trunkline/bench/verify/history"
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
	logs   map[protocol.TopicID][][]byte
	calls  int
}

func newTopics(bug string) *topics {
	return &topics{bug: bug, byName: map[string]protocol.TopicID{}, last: map[string]protocol.TopicID{}, logs: map[protocol.TopicID][][]byte{}}
}

func (s *topics) Publish(_ context.Context, name string, values [][]byte, opened func(), answered func(int, client.Receipt, error)) error {
	opened()
	s.mu.Lock()
	defer s.mu.Unlock()
	id, ok := s.byName[name]
	for i, v := range values {
		refuse := !ok || s.next%3 == 0
		if !refuse || s.bug == "a refused record" {
			s.logs[id] = append(s.logs[id], v)
		}
		if refuse {
			answered(i, client.Receipt{}, &client.PublishError{Outcome: client.NotAppended})
			continue
		}
		answered(i, client.Receipt{Offset: protocol.Offset(len(s.logs[id]) - 1)}, nil)
	}
	if s.bug == "a lost record" && len(s.logs[id]) > 0 {
		s.logs[id] = s.logs[id][:len(s.logs[id])-1]
	}
	return nil
}

func (s *topics) Read(_ context.Context, name string, each func(*client.Message)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, ok := s.byName[name]
	if !ok {
		return client.ErrTopicNotFound
	}
	for i, v := range s.logs[id] {
		m := &client.Message{Record: client.Record{Value: v}, Offset: protocol.Offset(i)}
		if s.bug == "a hole" && i > 3 {
			m.Offset++
		}
		each(m)
	}
	return nil
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
	if s.bug == "old records" {
		s.logs[id] = s.logs[s.last[name]]
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
	s := newTopics(bug)
	c := startChurn(t.Context(), nil, "churn", 1, 1, time.Now(), verify.NewIdentities())
	random := rand.New(rand.NewPCG(7, 7))
	for i := range 400 {
		c.start = c.start.Add(-time.Minute)
		c.step(t.Context(), s, i%churners, random)
	}
	c.stop()
	violations, counts, err := c.judge()
	require.NoError(t, err)
	return c, append(violations, c.ids.Findings().Examples...), counts
}

func TestChurnFindsWhatIsPlanted(t *testing.T) {
	_, violations, counts := churned(t, "")
	require.Empty(t, violations)
	for _, kind := range []string{"topic_create", "topic_delete", "topic_describe", "records_reads", "records_answered_ok", "records_answered_fail"} {
		require.Greater(t, counts[kind], int64(20), kind)
	}
	for bug, because := range map[string]string{
		"a name twice":            "not linearizable",
		"an identity again":       "again to",
		"a lost creation":         "not linearizable",
		"a deletion that is none": "not linearizable",
		"the dead come back":      "not linearizable",
		"old records":             "was published to incarnation",
		"a lost record":           "and is not there",
		"a refused record":        "was refused",
		"a hole":                  "offset 5 where 4 is due",
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
	s := newTopics("")
	c := startChurn(ctx, []churner{s, s, s}, "churn", 1, 1, time.Now(), verify.NewIdentities())
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

// TestRecordsOfIncarnations judges what no fake service can be made to do.
func TestRecordsOfIncarnations(t *testing.T) {
	const sent, made, read = 5 * time.Second, 7 * time.Second, 20 * time.Second
	record := verify.ID{Producer: 1, Seq: 9}
	for name, c := range map[string]struct {
		id       uint64 // that it was published to
		answered time.Duration
		class    history.Class
		there    []seen
		says     string
	}{
		"it is there":                               {2, read, history.OK, []seen{{record, 0}}, ""},
		"its incarnation was not known":             {0, read, history.OK, []seen{{record, 0}}, ""},
		"an unknown one is there":                   {2, read, history.Unknown, []seen{{record, 0}}, ""},
		"an unknown one is not":                     {2, sent, history.Unknown, nil, ""},
		"one that is acknowledged while it is read": {2, read - time.Second, history.OK, nil, ""},
		"it is not there":                           {2, read - leaderDoubt, history.OK, nil, "is not there"},
		"it stands elsewhere":                       {2, made, history.OK, []seen{{verify.ID{Producer: 1}, 0}, {record, 1}}, "is not there"},
		"it was answered before the creation":       {0, sent, history.OK, []seen{{record, 0}}, "answered before this incarnation was asked for"},
		"it is of another one":                      {1, read, history.Unknown, []seen{{record, 0}}, "was published to incarnation 1"},
		"nobody sent it":                            {1, read, history.OK, []seen{{verify.ID{Producer: churners}, 0}}, "was never sent there"},
	} {
		t.Run(name, func(t *testing.T) {
			in := newIncarnations()
			in.make(2, made)
			in.send(record, "a", c.id)
			in.answer(record, c.class, 0, c.answered)
			in.send(verify.ID{Producer: 1}, "a", 2)
			in.read("a", 2, read, c.there)
			if c.says == "" {
				require.Empty(t, in.verdict())
			} else {
				require.Contains(t, strings.Join(in.verdict(), "\n"), c.says)
			}
		})
	}
}

func TestChurnOfARunSaysWhatItFound(t *testing.T) {
	f := newChurning(1)
	f.note([]string{"a record came back"}, map[string]int64{"topic_create": 3})
	f.note(nil, map[string]int64{"topic_create": 4})
	f.ids.Created(0, "a", 0, 7)
	f.ids.Created(0, "b", 0, 7) // in another injection
	require.Equal(t, int64(7), f.Counts()["churn_topic_create"])
	require.Len(t, f.Violations(), 2)
}
