package results

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// shownValue is how long a value may be that is named among those that differ; of a longer one only the key is.
const shownValue = 30

// settings are those that a workload was run with, in different runs. Settings read from a file and ones still in memory are equal
// if their JSON is.
type settings []map[string]any

// add takes a run's settings. What a workload says about itself is none.
func (s *settings) add(spec any) {
	data, err := json.Marshal(spec)
	var keys map[string]any
	if err != nil || json.Unmarshal(data, &keys) != nil {
		return // a file of another origin; its runs can be compared all the same
	}
	maps.DeleteFunc(keys, func(key string, _ any) bool { return strings.EqualFold(key, "doc") })
	*s = append(*s, keys)
}

// differ names the settings that were not the same in all runs with their values, like "producerRate 5000 or 6000".
func (s settings) differ() []string {
	values := make(map[string][]string) // different ones, by key
	for _, run := range s {
		for key := range run {
			values[key] = nil
		}
	}
	var all []string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		for _, run := range s {
			value := "none"
			if v, ok := run[key]; ok {
				data, _ := json.Marshal(v) // it was JSON
				value = string(data)
			}
			if !slices.Contains(values[key], value) {
				values[key] = append(values[key], value)
			}
		}
		if len(values[key]) < 2 {
			continue
		}
		if text := key + " " + strings.Join(values[key], " or "); len(text) <= len(key)+2*shownValue {
			key = text
		}
		all = append(all, key)
	}
	return all
}

// docOf finds a workload's line about itself, however its settings are spelt in JSON.
func docOf(spec any) string {
	var named struct{ Doc string }
	data, err := json.Marshal(spec)
	if err != nil || json.Unmarshal(data, &named) != nil {
		return ""
	}
	return named.Doc
}
