package workload

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOnePayload(t *testing.T) {
	w, err := Parse([]byte(small), "w.yaml")
	require.NoError(t, err)
	one, err := w.Payloads(7)
	require.NoError(t, err)
	require.Len(t, one, 1)
	require.Len(t, one[0], 100)
	require.NotContains(t, string(one[0]), "\x00\x00\x00", "it is random")

	again, err := w.Payloads(7)
	require.NoError(t, err)
	require.Equal(t, one, again)
	other, err := w.Payloads(8)
	require.NoError(t, err)
	require.NotEqual(t, one, other)
}

func TestRandomisedPayloads(t *testing.T) {
	w, err := Parse([]byte(small+"useRandomizedPayloads: true\nrandomBytesRatio: 0.505\nrandomizedPayloadPoolSize: 20"), "w.yaml")
	require.NoError(t, err)
	pool, err := w.Payloads(1)
	require.NoError(t, err)
	require.Len(t, pool, 20)
	for i, p := range pool {
		require.Len(t, p, 100)
		require.Equal(t, make([]byte, 50), p[50:], "zero after the random part")
		require.NotContains(t, string(p[:50]), "\x00\x00\x00")
		require.NotEqual(t, p, pool[(i+1)%20])
	}
}

func TestPayloadFile(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 10)
	for _, place := range []string{"repo/workloads/payload", "repo/payload", "elsewhere/payload"} {
		root := t.TempDir()
		write := func(path string, text []byte) string {
			path = filepath.Join(root, path)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
			require.NoError(t, os.WriteFile(path, text, 0o600))
			return path
		}
		file := write("repo/workloads/w.yaml", []byte(small+"payloadFile: payload/p.data"))
		write("elsewhere/other", nil)
		t.Chdir(filepath.Join(root, "elsewhere"))

		w, err := Load(file)
		require.NoError(t, err)
		require.Equal(t, []string{"payloadFile payload/p.data was not found: payloads are random bytes of the same size"}, w.Notes)
		pool, err := w.Payloads(1)
		require.NoError(t, err)
		require.Len(t, pool[0], 100)

		data := write(place+"/p.data", content)
		w, err = Load(file)
		require.NoError(t, err, place)
		require.Empty(t, w.Notes)
		for range 2 {
			pool, err = w.Payloads(1)
			require.NoError(t, err)
			require.Equal(t, [][]byte{content}, pool)
			clear(pool[0]) // the caller's own
		}
		w.MessageSize = 99
		_, err = w.Payloads(1)
		require.EqualError(t, err, "payload/p.data has 100 bytes, but messageSize is 99")

		write(place+"/p.data", content[1:])
		_, err = Load(file)
		require.ErrorContains(t, err, "w.yaml: payloadFile: ")
		require.ErrorContains(t, err, "p.data has 99 bytes, but messageSize is 100")

		require.NoError(t, os.Remove(data))
		require.NoError(t, os.Mkdir(data, 0o700))
		_, err = Load(file)
		require.ErrorContains(t, err, "p.data is not a file")
	}
}

func TestPayloadFileByAbsolutePath(t *testing.T) {
	data := filepath.Join(t.TempDir(), "p.data")
	require.NoError(t, os.WriteFile(data, []byte(strings.Repeat("x", 100)), 0o600))
	file := filepath.Join(t.TempDir(), "w.yaml")
	require.NoError(t, os.WriteFile(file, []byte(small+"payloadFile: "+data), 0o600))
	w, err := Load(file)
	require.NoError(t, err)
	pool, err := w.Payloads(1)
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("x", 100), string(pool[0]))
}
