package results_test

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/results"
)

// TestEveryKeyIsDocumented: the form of the file is a promise to whoever reads it with other tools.
func TestEveryKeyIsDocumented(t *testing.T) {
	guide, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	keys := map[string]bool{}
	collect(reflect.TypeFor[results.File](), keys)
	require.Greater(t, len(keys), 60)
	for key := range keys {
		assert.Contains(t, string(guide), "`"+key+"`", "bench/README.md")
	}
}

// collect adds the JSON keys of a struct and of what it holds.
func collect(t reflect.Type, keys map[string]bool) {
	switch t.Kind() {
	case reflect.Slice, reflect.Pointer:
		collect(t.Elem(), keys)
	case reflect.Struct:
		if t == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range t.NumField() {
			key, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			keys[key] = true
			collect(t.Field(i).Type, keys)
		}
	}
}
