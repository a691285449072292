package broker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/trunkline/trunkline/broker/internal/failpoint"
)

// EnvPrefix starts every environment variable that sets a key: data_dir is TRUNKLINE_DATA_DIR and log.level is
// TRUNKLINE_LOG_LEVEL. Values are YAML, so TRUNKLINE_MEMBERS takes a flow list.
const EnvPrefix = "TRUNKLINE_"

// foreignEnv are variables with the prefix that belong to other programs of Trunkline.
var foreignEnv = []string{"TRUNKLINE_CONTEXT"}

// Key is one leaf of the configuration.
type Key struct {
	Name string // "log.level"
	Doc  string
}

// Flag returns the key's command-line flag without dashes: "log-level".
func (k Key) Flag() string { return strings.NewReplacer(".", "-", "_", "-").Replace(k.Name) }

// Env returns the key's environment variable.
func (k Key) Env() string {
	return EnvPrefix + strings.ToUpper(strings.NewReplacer(".", "_").Replace(k.Name))
}

// Keys lists every leaf in the order of the struct.
func Keys() []Key {
	var keys []Key
	walkKeys(reflect.ValueOf(&Config{}).Elem(), "", func(k Key, _ reflect.Value) { keys = append(keys, k) })
	return keys
}

func walkKeys(v reflect.Value, prefix string, visit func(Key, reflect.Value)) {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("yaml")
		if name == "-" {
			continue
		}
		if f.Type.Kind() == reflect.Struct {
			walkKeys(v.Field(i), prefix+name+".", visit)
			continue
		}
		visit(Key{Name: prefix + name, Doc: f.Tag.Get("doc")}, v.Field(i))
	}
}

// Set sets one key from its text.
func (c *Config) Set(key, text string) error {
	err := keyErrorf(key, "there is no such key")
	walkKeys(reflect.ValueOf(c).Elem(), "", func(k Key, field reflect.Value) {
		if k.Name != key {
			return
		}
		err = nil
		if field.Kind() == reflect.String { // text as it is: a path may look like YAML
			field.SetString(text)
			return
		}
		if yerr := decodeStrict([]byte(text), field.Addr().Interface()); yerr != nil {
			err = keyErrorf(key, "%q: %v", text, yerr)
		}
	})
	return err
}

// Load builds a configuration: defaults, then the YAML file (if path is not ""), then the environment, then flags
// (key to text). The result is validated.
func Load(path string, environ []string, flags map[string]string) (Config, error) {
	var c Config
	if path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return c, fmt.Errorf("configuration: %w", err)
		}
		if err := decodeStrict(text, &c); err != nil {
			return c, fmt.Errorf("configuration: %s: %w", path, err)
		}
	}
	if err := c.setFromEnv(environ); err != nil {
		return c, err
	}
	for key, text := range flags {
		if err := c.Set(key, text); err != nil {
			return c, err
		}
	}
	c = c.WithDefaults()
	return c, c.Validate()
}

func (c *Config) setFromEnv(environ []string) error {
	byEnv := map[string]string{}
	for _, k := range Keys() {
		byEnv[k.Env()] = k.Name
	}
	for _, kv := range environ {
		name, text, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, EnvPrefix) || slices.Contains(foreignEnv, name) || name == failpoint.EnvName {
			continue
		}
		key, ok := byEnv[name]
		if !ok {
			return fmt.Errorf("configuration: environment variable %s names no key (trunklined --help lists them)", name)
		}
		if err := c.Set(key, text); err != nil {
			return fmt.Errorf("environment variable %s: %w", name, err)
		}
	}
	return nil
}

// decodeStrict decodes YAML and refuses keys that are not in the target.
func decodeStrict(text []byte, target any) error {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	err := dec.Decode(target)
	if errors.Is(err, io.EOF) { // an empty file
		return nil
	}
	var terr *yaml.TypeError
	if errors.As(err, &terr) {
		return errors.New(plainYAML(strings.Join(terr.Errors, "; ")))
	}
	return err
}

var goTypeName = regexp.MustCompile(`in type \S+`)

// plainYAML turns the decoder's words about Go types into words about the file.
func plainYAML(s string) string {
	s = goTypeName.ReplaceAllString(s, "among the known keys")
	s = strings.ReplaceAll(s, "field ", "key ")
	return strings.ReplaceAll(s, "cannot unmarshal", "cannot use")
}

// YAML returns the configuration as a file that Load reads back.
func (c Config) YAML() ([]byte, error) { return yaml.Marshal(c) }
