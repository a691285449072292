package broker

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/planner"
)

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trunkline.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestLoadWithoutAnythingIsASingleBroker(t *testing.T) {
	c, err := Load("", nil, nil)
	require.NoError(t, err)
	require.Len(t, c.Members, 1)
	require.Equal(t, "127.0.0.1:7400", c.Listen)
	require.Equal(t, "127.0.0.1:7401", c.RaftListen)
	require.Equal(t, "127.0.0.1:7402", c.AdminListen)
}

func TestLoadPrecedenceIsFileEnvironmentFlags(t *testing.T) {
	path := writeConfig(t, "cluster: file\nlog: {level: warn, format: json}\nlimits: {max_batch: 2MiB}\n")
	c, err := Load(path, []string{"TRUNKLINE_CLUSTER=env", "TRUNKLINE_LOG_LEVEL=error", "HOME=/x", "TRUNKLINE_CONTEXT=c"},
		map[string]string{"cluster": "flag"})
	require.NoError(t, err)
	require.Equal(t, "flag", c.Cluster)
	require.Equal(t, "error", c.Log.Level)
	require.Equal(t, "json", c.Log.Format)
	require.Equal(t, Bytes(2<<20), c.Limits.MaxBatch)
}

func TestJoinIsLoaded(t *testing.T) {
	c, err := Load("", []string{"TRUNKLINE_JOIN=[\"a:7401\", \"b:7401\"]", "TRUNKLINE_ZONE=hall-2"},
		map[string]string{"broker": "4", "moves.concurrent": "3", "moves.repair_after": "1m"})
	require.NoError(t, err)
	require.Equal(t, []string{"a:7401", "b:7401"}, c.Join)
	require.Equal(t, "hall-2", c.Zone)
	require.Empty(t, founders(c), "it founds nothing")
	require.Equal(t, planner.Limits{Concurrent: 3, PerBroker: 2, RepairAfter: time.Minute, CalmAfter: 10 * time.Second}, c.Moves.limits())
	self, ok := c.Self()
	require.True(t, ok)
	require.EqualValues(t, 4, self.ID)
}

func TestPrintedConfigurationLoadsBack(t *testing.T) {
	c, err := Load("", []string{`TRUNKLINE_MEMBERS=[{id: 1, listen: "a:1", raft: "a:2", admin: "a:3"}, {id: 2, listen: "b:1", raft: "b:2", admin: "b:3"}]`},
		map[string]string{"raft.tick": "100ms", "limits.disk_reserve": "1GB"})
	require.NoError(t, err)
	text, err := c.YAML()
	require.NoError(t, err)
	again, err := Load(writeConfig(t, string(text)), nil, nil)
	require.NoError(t, err)
	require.Equal(t, c, again)
}

// TestMistakesNameTheKeyAndTheReason holds what a new user may get wrong: each message must name the key.
func TestMistakesNameTheKeyAndTheReason(t *testing.T) {
	two := `members: [{id: 1, listen: "a:1", raft: "a:2", admin: "a:3"}, {id: 2, listen: "b:1", raft: "b:2", admin: "b:3"}]`
	for name, tc := range map[string]struct {
		file string
		env  string
		want []string
	}{
		"unknown key":             {file: "data_dirr: x", want: []string{"data_dirr", "not found", "line 1"}},
		"unknown nested key":      {file: "log: {levle: x}", want: []string{"levle", "not found"}},
		"wrong type":              {file: "broker: many", want: []string{"cannot use", "many"}},
		"not yaml":                {file: "a: [", want: []string{"yaml"}},
		"unknown variable":        {env: "TRUNKLINE_DATADIR=x", want: []string{"TRUNKLINE_DATADIR", "names no key"}},
		"bad variable":            {env: "TRUNKLINE_BROKER=x", want: []string{"TRUNKLINE_BROKER", "broker"}},
		"bad level":               {file: "log: {level: loud}", want: []string{"log.level", "loud"}},
		"bad format":              {file: "log: {format: xml}", want: []string{"log.format", "xml"}},
		"bad size":                {file: "limits: {max_batch: big}", want: []string{"big", "not a size"}},
		"record above batch":      {file: "limits: {max_record: 8MiB}", want: []string{"limits.max_record", "limits.max_batch"}},
		"self is no member":       {file: two + "\nbroker: 3", want: []string{"members", "broker 3 is not among them"}},
		"same ID twice":           {file: strings.Replace(two, "id: 2", "id: 1", 1), want: []string{"members[1].id", "twice"}},
		"same address twice":      {file: strings.Replace(two, `"b:2"`, `"a:2"`, 1), want: []string{"members[1].raft", "also an address of broker 1"}},
		"address without port":    {file: strings.Replace(two, `"b:2"`, `"b"`, 1), want: []string{"members[1].raft", "host:port"}},
		"wildcard is advertised":  {file: strings.Replace(two, `"b:2"`, `"0.0.0.0:2"`, 1), want: []string{"members[1].raft", "cannot be dialled"}},
		"certificate without key": {file: "tls: {ca: a, cert: b}", want: []string{"tls", "belong together"}},
		"own and development":     {file: "tls: {ca: a, cert: b, key: c, dev_dir: d}", want: []string{"tls.dev_dir", "contradicts"}},
		"silent after election":   {file: "raft: {silent_after: 3s}", want: []string{"raft.silent_after", "election"}},
		"negative handshakes":     {file: "limits: {handshake_rate: -1}", want: []string{"limits.handshake_rate", "negative"}},
		"bad duration":            {file: "raft: {tick: fast}", want: []string{"fast"}},
		"join without a host":     {file: "join: [\":7401\"]", want: []string{"join[0]", "cannot be dialled"}},
		"join at port 0":          {file: "join: [\"a:0\"]", want: []string{"join[0]", "port 0"}},
		"join without a port":     {file: "join: [a]", want: []string{"join[0]", "host:port"}},
		"joiner at port 0":        {file: "members: [{id: 1, listen: \"a:1\", raft: \"a:0\", admin: \"a:3\"}]\njoin: [\"c:2\"]", want: []string{"members[0].raft", "port 0"}},
		"join and members":        {file: two + "\njoin: [\"c:2\"]", want: []string{"join", "contradicts members"}},
		"long zone":               {file: "zone: " + strings.Repeat("z", 65), want: []string{"zone", "64 bytes"}},
		"negative moves":          {file: "moves: {concurrent: -1}", want: []string{"moves.concurrent", "-1"}},
		"too many moves":          {file: "moves: {concurrent: 513}", want: []string{"moves.concurrent", "1 to 512"}},
		"no moves of a broker":    {file: "moves: {per_broker: -2}", want: []string{"moves.per_broker", "above 0"}},
		"hasty repair":            {file: "moves: {repair_after: 10ms}", want: []string{"moves.repair_after", "every restart"}},
		"negative calm":           {file: "moves: {calm_after: -1s}", want: []string{"moves.calm_after", "negative"}},
		"slow moves":              {file: "moves: {rate: 1KiB}", want: []string{"moves.rate", "below 1MiB"}},
		"bad cluster name":        {file: "cluster: a b", want: []string{"cluster", "not a name"}},
	} {
		t.Run(name, func(t *testing.T) {
			var env []string
			if tc.env != "" {
				env = append(env, tc.env)
			}
			_, err := Load(writeConfig(t, tc.file), env, nil)
			require.Error(t, err)
			for _, want := range tc.want {
				require.Contains(t, err.Error(), want)
			}
			require.NotContains(t, err.Error(), "broker.")
		})
	}
}

func TestForeignDataDirectoryIsRefused(t *testing.T) {
	c := Config{DataDir: t.TempDir()}.WithDefaults()
	d, err := openDataDir(c)
	require.NoError(t, err)

	_, err = openDataDir(c)
	require.ErrorContains(t, err, "in use by another broker process")
	id := d.id.DirID
	require.NoError(t, d.close())

	d, err = openDataDir(c)
	require.NoError(t, err)
	require.Equal(t, id, d.id.DirID)
	require.NoError(t, d.close())

	other := c
	other.Cluster = "other"
	_, err = openDataDir(other)
	require.ErrorContains(t, err, `belongs to cluster "trunkline"`)

	other = c
	other.Broker = 2
	_, err = openDataDir(other)
	require.ErrorContains(t, err, "belongs to broker 1")

	other = c
	other.Members = append(other.Members, Member{ID: 2, Listen: "b:1", Raft: "b:2", Admin: "b:3"})
	_, err = openDataDir(other)
	require.ErrorContains(t, err, "made to found a cluster of [1] (none: to join one), the configuration says [1 2]")

	require.NoError(t, os.Mkdir(filepath.Join(c.DataDir, "raft"), 0o700))
	require.NoError(t, os.Remove(filepath.Join(c.DataDir, "identity.json")))
	_, err = openDataDir(c)
	require.ErrorContains(t, err, "no identity.json")
}
