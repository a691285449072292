package workload

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// small is the least that a file must say.
const small = `
topics: 1
partitionsPerTopic: 2
messageSize: 100
producersPerTopic: 1
duration: 10s
`

// omb has every key of the OpenMessaging Benchmark, in its manner.
const omb = `
name: 4 producers / 2 consumers on 1 topic

topics: 1
partitionsPerTopic: 16
keyDistributor: "KEY_ROUND_ROBIN"
messageSize: 1024
payloadFile: "payload/one.data"
useRandomizedPayloads: false
randomBytesRatio: 0.5
randomizedPayloadPoolSize: 100
subscriptionsPerTopic: 1
consumerPerSubscription: 2
producersPerTopic: 4

# a comment
producerRate: 50000
consumerBacklogSizeGB: 100
backlogDrainRatio: 0.99
testDurationMinutes: 15
warmupDurationMinutes: 3
`

func TestFileOfOMB(t *testing.T) {
	w, err := Parse([]byte(omb), "omb.yaml")
	require.NoError(t, err)
	require.Equal(t, "4 producers / 2 consumers on 1 topic", w.Name)
	require.Equal(t, 16, w.PartitionsPerTopic)
	require.Equal(t, KeyRoundRobin, w.KeyDistributor)
	require.Equal(t, 2, w.ConsumerPerSubscription)
	require.InDelta(t, 50_000, w.ProducerRate, 0)
	require.InDelta(t, 100, w.ConsumerBacklogSizeGB, 0)
	require.InDelta(t, 0.99, w.BacklogDrainRatio, 0)
	require.Equal(t, 15*time.Minute, w.Measured())
	require.Equal(t, 3*time.Minute, w.WarmupTime())
	require.Equal(t, Open, w.Loop)
	require.False(t, w.Searches())
}

func TestDefaults(t *testing.T) {
	w, err := Parse([]byte(small), "some/folder/small.yaml")
	require.NoError(t, err)
	require.Equal(t, &Workload{
		Name: "small", Topics: 1, PartitionsPerTopic: 2, MessageSize: 100, ProducersPerTopic: 1, Duration: 10 * time.Second,
		KeyDistributor: NoKey, BacklogDrainRatio: 1, WarmupDurationMinutes: 1, Loop: Open, RateFraction: 0.95, Replicas: 3, Nodes: 3,
	}, w)
	require.Equal(t, time.Minute, w.WarmupTime())
	require.True(t, w.Verified())
	require.True(t, w.Searches())
}

func TestDefaultsThatDependOnOtherKeys(t *testing.T) {
	for _, c := range []struct {
		keys string
		ok   func(w *Workload) bool
	}{
		{"maxInFlight: 1", func(w *Workload) bool { return w.Loop == Closed && !w.Searches() }},
		{"maxInFlight: 1\nproducerRate: 10", func(w *Workload) bool { return w.Loop == Open }},
		{"maxInFlight: 1\nloop: open", func(w *Workload) bool { return w.Loop == Open }},
		{"nodes: 1", func(w *Workload) bool { return w.Replicas == 1 }},
		{"nodes: 5", func(w *Workload) bool { return w.Replicas == 3 }},
		{"warmup: 0s", func(w *Workload) bool { return w.WarmupTime() == 0 }},
		{"warmup: 3s\nwarmupDurationMinutes: 2", func(w *Workload) bool { return w.WarmupTime() == 3*time.Second }},
		{"testDurationMinutes: 2", func(w *Workload) bool { return w.Measured() == 10*time.Second }},
		{"verify: false", func(w *Workload) bool { return !w.Verified() }},
		{"payloadFile:", func(w *Workload) bool { return w.PayloadFile == "" && w.Notes == nil }},
		{"faults: [{kind: kill, at: 1s}]", func(w *Workload) bool {
			return w.Faults[0] == Fault{At: time.Second, Kind: Kill, Hold: 2 * time.Second, Repeat: 1}
		}},
		{"faults: [&a {kind: pause, hold: 1s, repeat: 2, every: 1s}, *a]", nil},
		{"faults: [{kind: pause, hold: 1s, repeat: 2, every: 500ms}]", func(w *Workload) bool {
			return w.FaultsLast() == 2500*time.Millisecond
		}},
	} {
		w, err := Parse([]byte(small+c.keys), "w.yaml")
		if c.ok == nil {
			require.ErrorContains(t, err, "w.yaml: faults[1].at: 0s is before the faults above are over", c.keys)
			continue
		}
		require.NoError(t, err, c.keys)
		require.True(t, c.ok(w), "%s: %+v", c.keys, w)
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct{ keys, want string }{
		{"produceRate: 5", "produceRate: there is no such key"},
		{"payload: x", "payload: there is no such key"},
		{"-: x", "-: there is no such key"},
		{"topics: 2", "topics: is given twice"},
		{"maxInFlight: 1.5", `maxInFlight: "1.5" is not a whole number`},
		{"maxInFlight: many", `maxInFlight: "many" is not a whole number`},
		{"maxInFlight: 99999999999999999999", `is not a whole number`},
		{"warmup: 10", `warmup: "10" is not a duration like 10s`},
		{"producerRate: .nan", "producerRate: NaN is not between 0 and 1e+09"},
		{"producerRate: -1", "producerRate: -1 is not between"},
		{"producerRate: fast", `producerRate: "fast" is not a number`},
		{"verify: perhaps", `verify: "perhaps" is not true or false`},
		{"doc: [a]", `doc: "" is not text`},
		{`doc: "a\nb"`, "doc: is not one line"},
		{`name: ""`, "name: is empty"},
		{"keyDistributor: RANDOM", `keyDistributor: "RANDOM" is none of [NO_KEY KEY_ROUND_ROBIN RANDOM_NANO]`},
		{"loop: round", `loop: "round" is none of [open closed]`},
		{"loop: closed\nproducerRate: 10", "producerRate: must be 0 in a closed loop"},
		{"rateFraction: 0", "rateFraction: 0 is not above 0 and at most 1"},
		{"rateFraction: 1.1", "rateFraction: 1.1 is not above 0"},
		{"replicas: 5", "replicas: 5 replicas need more than 3 nodes"},
		{"nodes: 0", "nodes: 0 is not between 1 and 7"},
		{"nodes: 8", "nodes: 8 is not between 1 and 7"},
		{"warmupDurationMinutes: -1", "warmupDurationMinutes: -1 is not between"},
		{"warmup: -1s", "warmup: -1s is not between"},
		{"subscriptionsPerTopic: 1", "consumerPerSubscription: must be at least 1"},
		{"useRandomizedPayloads: true", "randomizedPayloadPoolSize: 0 is not between 1 and 10737418"},
		{"useRandomizedPayloads: true\nrandomizedPayloadPoolSize: 9\npayloadFile: x", "payloadFile: contradicts useRandomizedPayloads"},
		{"randomBytesRatio: 2", "randomBytesRatio: 2 is not between 0 and 1"},
		{"stopProducersAtBacklog: true", "stopProducersAtBacklog: there is no backlog"},
		{"consumerBacklogSizeGB: 1", "consumerBacklogSizeGB: a backlog needs a subscription"},
		{"consumerBacklogSizeGB: 1\nsubscriptionsPerTopic: 1\nconsumerPerSubscription: 1", "cannot be searched while a backlog grows"},
		{"faults: kill", "faults: is not a list"},
		{"faults: [kill]", "faults[0]: is not a fault"},
		{"faults: [{kind: kill, when: 1s}]", "faults[0].when: there is no such key"},
		{"faults: [{kind: burn}]", `faults[0].kind: "burn" is none of [kill pause restart]`},
		{"faults: [{at: 1s}]", `faults[0].kind: "" is none of`},
		{"faults: [{kind: kill, node: 4}]", "faults[0].node: 4 is not between 0 and 3"},
		{"faults: [{kind: kill, hold: 0s}]", "faults[0].hold: 0s is not between 1ms"},
		{"faults: [{kind: kill, repeat: 0}]", "faults[0].repeat: 0 is not between 1"},
		{"faults: [{kind: kill, every: -1s}]", "faults[0].every: -1s is not between 0s"},
		{"faults: [{kind: kill, at: 9s}]", "faults: take 11s or longer, but the measured part only 10s"},
		{"faults: [" + strings.Repeat("{kind: kill},", 101) + "]", "faults: has more than 100 entries"},
	} {
		_, err := Parse([]byte(small+c.keys), "w.yaml")
		require.ErrorContains(t, err, c.want, c.keys)
		require.NotContains(t, err.Error(), "\n", "%s: one reason", c.keys)
		require.True(t, strings.HasPrefix(err.Error(), "w.yaml: "), err)
	}
}

func TestRefusedAsAWhole(t *testing.T) {
	for text, want := range map[string]string{
		"":                                      "w.yaml: empty",
		"# nothing":                             "w.yaml: empty",
		"just words":                            "w.yaml: not a list of keys",
		"a: [":                                  "w.yaml: not YAML",
		small + "---\ntopics: 1\n":              "w.yaml: more than one YAML document",
		small + strings.Repeat("# long\n", 1e4): "w.yaml: larger than",
	} {
		_, err := Parse([]byte(text), "w.yaml")
		require.ErrorContains(t, err, want)
	}
}

func TestAllReasonsAtOnce(t *testing.T) {
	_, err := Parse([]byte("partitionsPerTopic: 2000000\nmessageSize: 8\nspeed: 9\ntopics: no\n"), "bad.yaml")
	require.EqualError(t, err, `bad.yaml: speed: there is no such key
bad.yaml: topics: "no" is not a whole number
bad.yaml: partitionsPerTopic: 2000000 is not between 1 and 1000000
bad.yaml: messageSize: 8 is too small: the bench itself writes 32 bytes into each message
bad.yaml: producersPerTopic: 0 is not between 1 and 10000
bad.yaml: duration: must be above 0 (or testDurationMinutes): a run ends`)

	_, err = Parse([]byte(strings.ReplaceAll(small, "topics: 1", "topics: 600000")), "bad.yaml")
	require.EqualError(t, err, "bad.yaml: partitionsPerTopic: 600000 topics of 2 partitions are more than 1000000")
}

func TestValidateAfterAChange(t *testing.T) {
	w, err := Parse([]byte(small), "w.yaml")
	require.NoError(t, err)
	require.NoError(t, w.Validate())
	w.MessageSize = HeaderBytes
	require.NoError(t, w.Validate())
	w.MessageSize--
	require.EqualError(t, w.Validate(), "messageSize: 31 is too small: the bench itself writes 32 bytes into each message")
	_, err = w.Payloads(1)
	require.Error(t, err)
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "here.yaml")
	_, err := Load(path)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(path, []byte(small), 0o600))
	for _, load := range []func(string) (*Workload, error){Load, Find} {
		w, err := load(path)
		require.NoError(t, err)
		require.Equal(t, "here", w.Name)
	}
	require.NoError(t, os.WriteFile(path, []byte("speed: 1\n"), 0o600))
	_, err = Load(path)
	require.ErrorContains(t, err, path+": speed: there is no such key\n"+path+": topics: 0 is not")
}

func TestJSONHasTheKeysOfTheFile(t *testing.T) {
	w, err := Parse([]byte(small+"payloadFile: none.data\nfaults: [{kind: kill, at: 1500ms}]"), "w.yaml")
	require.NoError(t, err)
	text, err := json.Marshal(w)
	require.NoError(t, err)
	var got map[string]any
	require.NoError(t, json.Unmarshal(text, &got))
	require.Equal(t, "10s", got["duration"])
	require.InDelta(t, 2, got["partitionsPerTopic"], 0)
	require.Equal(t, "1.5s", got["faults"].([]any)[0].(map[string]any)["at"])
	require.Equal(t, []any{w.Notes[0]}, got["notes"])
	require.NotContains(t, got, "payload")
}
