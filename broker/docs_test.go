package broker

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/raftnet"
	"github.com/trunkline/trunkline/protocol"
)

// The guides for operators and developers, as seen from this package.
const (
	operations   = "../docs/OPERATIONS.md"
	architecture = "../docs/ARCHITECTURE.md"
)

func readGuide(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

// TestOperationsListsEveryKeyWithItsDefault compares the table of keys with the configuration of a daemon that was told
// nothing. The row of a key begins with its name and its default.
func TestOperationsListsEveryKeyWithItsDefault(t *testing.T) {
	guide := readGuide(t, operations)
	c := Config{}.WithDefaults()
	walkKeys(reflect.ValueOf(&c).Elem(), "", func(k Key, v reflect.Value) {
		def := fmt.Sprint(v.Interface())
		switch {
		case k.Name == "members":
			def = "this broker alone"
		case def == "":
			def = "none"
		}
		assert.Contains(t, guide, fmt.Sprintf("\n| `%s` | %s |", k.Name, def), "the row of this key")
		assert.NotEmpty(t, k.Doc, k.Name)
	})
}

// TestGuidesNameOnlyKeysThatExist finds keys that were renamed.
func TestGuidesNameOnlyKeysThatExist(t *testing.T) {
	known := map[string]bool{}
	for _, k := range Keys() {
		known[k.Name] = true
	}
	form := regexp.MustCompile("`((?:tls|auth|limits|log|raft|topics)\\.[a-z_]+)`")
	for _, path := range []string{operations, architecture} {
		for _, m := range form.FindAllStringSubmatch(readGuide(t, path), -1) {
			assert.True(t, known[m[1]], "%s names the key %s", path, m[1])
		}
	}
}

// TestOperationsExplainsEveryRefusal finds codes that were added without a word about what to do.
func TestOperationsExplainsEveryRefusal(t *testing.T) {
	guide := readGuide(t, operations)
	for c := protocol.Code(1); c < 1000; c++ {
		if name := c.String(); !strings.HasPrefix(name, "code(") {
			assert.Contains(t, guide, "\n| `"+name+"` |", "the row of this code")
		}
	}
	for r := raftnet.RejectVersion; r <= raftnet.RejectRetired; r++ {
		assert.Contains(t, guide, "\n| `"+r.String()+"` |", "the row of this reason")
	}
}

// TestGuidesNameOnlyMetricsThatExist looks metrics up in the sources: most are a prefix and a name, each in quotes.
func TestGuidesNameOnlyMetricsThatExist(t *testing.T) {
	known := metricsInSources(t)
	for _, path := range []string{operations, architecture} {
		for _, name := range regexp.MustCompile(`trunkline_[a-z_]*[a-z]`).FindAllString(readGuide(t, path), -1) {
			assert.True(t, known[name] || known[strings.TrimSuffix(name, "_total")], "%s names the metric %s", path, name)
		}
	}
}

func metricsInSources(t *testing.T) map[string]bool {
	known := map[string]bool{}
	literal := regexp.MustCompile(`"[a-z_]+"`)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		words := []string{""}
		for _, q := range literal.FindAllString(string(text), -1) {
			word, err := strconv.Unquote(q)
			require.NoError(t, err)
			words = append(words, word)
		}
		for _, prefix := range words {
			if strings.HasPrefix(prefix, "trunkline_") {
				for _, w := range words {
					known[prefix+w] = true
				}
			}
		}
		return nil
	})
	require.NoError(t, err)
	return known
}
