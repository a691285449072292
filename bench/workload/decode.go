package workload

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// The decoder goes key by key instead of leaving the struct to the YAML package, for three reasons: an error names its key, a
// key that is given can be told from a default, and 1.5 is not cut to 1 where a whole number is wanted.

// document returns the mapping that a text consists of.
func document(text []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, errors.New("empty: not a workload")
	case err != nil:
		return nil, fmt.Errorf("not YAML: %w", err)
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one YAML document")
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("not a list of keys and values")
	}
	return doc.Content[0], nil
}

// decode sets w from a mapping; what is not given has its default.
func (w *Workload) decode(root *yaml.Node, p *problems) {
	w.KeyDistributor, w.BacklogDrainRatio, w.WarmupDurationMinutes = NoKey, 1, 1
	w.RateFraction, w.Nodes = 0.95, 3
	given := mapping(root, reflect.ValueOf(w).Elem(), "", p)
	if slices.Contains(given, "duration") {
		w.TestDurationMinutes = 0
	}
	if slices.Contains(given, "warmup") {
		w.WarmupDurationMinutes = 0
	}
	if !slices.Contains(given, "replicas") {
		w.Replicas = max(1, min(3, w.Nodes))
	}
	if !slices.Contains(given, "loop") {
		w.Loop = Open
		if w.MaxInFlight == 1 && w.ProducerRate == 0 {
			w.Loop = Closed
		}
	}
}

// mapping decodes a mapping into a struct and returns the keys that have a value. prefix stands before keys in problems.
func mapping(n *yaml.Node, into reflect.Value, prefix string, p *problems) (given []string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i].Value, resolve(n.Content[i+1])
		field, ok := fieldOf(into, key)
		switch {
		case !ok:
			p.add(prefix+key, "there is no such key")
		case slices.Contains(given, key):
			p.add(prefix+key, "is given twice")
		case value.ShortTag() == "!!null": // left empty, as OMB's generator writes what is not set
		default:
			given = append(given, key)
			decodeValue(value, field, prefix+key, p)
		}
	}
	return given
}

func decodeValue(n *yaml.Node, into reflect.Value, key string, p *problems) {
	if list, ok := into.Addr().Interface().(*[]Fault); ok {
		*list = decodeFaults(n, key, p)
		return
	}
	cut := into.CanInt() && n.ShortTag() == "!!float"
	if err := n.Decode(into.Addr().Interface()); err != nil || cut {
		p.add(key, "%q is not %s", n.Value, wanted(into.Type()))
	}
}

func decodeFaults(n *yaml.Node, key string, p *problems) []Fault {
	if n.Kind != yaml.SequenceNode {
		p.add(key, "is not a list")
		return nil
	}
	if len(n.Content) > maxFaults {
		p.add(key, "has more than %d entries", maxFaults)
		return nil
	}
	var all []Fault
	for i, item := range n.Content {
		name := fmt.Sprintf("%s[%d]", key, i)
		item = resolve(item)
		if item.Kind != yaml.MappingNode {
			p.add(name, "is not a fault like {kind: kill, at: 3s}")
			return nil
		}
		f := Fault{Hold: 2 * time.Second, Repeat: 1}
		mapping(item, reflect.ValueOf(&f).Elem(), name+".", p)
		all = append(all, f)
	}
	return all
}

// resolve returns what an alias stands for.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// fieldOf returns the field that a key names.
func fieldOf(v reflect.Value, key string) (reflect.Value, bool) {
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if name == key && name != "" && name != "-" {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// wanted says in words what a key's value must be.
func wanted(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "a duration like 10s"
	case t == reflect.TypeFor[*bool](), t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int:
		return "a whole number"
	case t.Kind() == reflect.Float64:
		return "a number"
	}
	return "text"
}
