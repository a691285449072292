// Package drivers lists the message systems that the bench can measure.
package drivers

import (
	"fmt"
	"strings"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/driver/jetstream"
	"github.com/trunkline/trunkline/bench/driver/kafka"
	"github.com/trunkline/trunkline/bench/driver/planted"
	"github.com/trunkline/trunkline/bench/driver/rabbitmq"
	"github.com/trunkline/trunkline/bench/driver/trunkline"
)

// Selection is a driver and how to configure its system.
type Selection struct {
	Driver  driver.Driver
	Profile driver.Profile
}

// String returns "driver:profile", as Parse takes it.
func (s Selection) String() string { return s.Driver.Name() + ":" + s.Profile.Name }

// All returns every driver. The last one is no message system: it breaks promises on purpose, to show that the checks see it.
func All() []driver.Driver {
	return []driver.Driver{trunkline.Driver{}, jetstream.Driver{}, kafka.Driver{}, rabbitmq.Driver{}, planted.Driver{}}
}

// Parse finds "driver" (its first profile), "driver:profile", or "driver:*" (all its profiles).
func Parse(spec string) ([]Selection, error) {
	name, profile, given := strings.Cut(spec, ":")
	var names []string
	for _, d := range All() {
		names = append(names, d.Name())
		if d.Name() != name {
			continue
		}
		if !given {
			return []Selection{{d, d.Profiles()[0]}}, nil
		}
		return profiles(d, profile)
	}
	return nil, fmt.Errorf("there is no driver %q: known are %s", name, strings.Join(names, ", "))
}

func profiles(d driver.Driver, wanted string) ([]Selection, error) {
	var found []Selection
	var names []string
	for _, p := range d.Profiles() {
		names = append(names, p.Name)
		if wanted == "*" || wanted == p.Name {
			found = append(found, Selection{d, p})
		}
	}
	if found == nil {
		return nil, fmt.Errorf("driver %s has no profile %q: known are %s", d.Name(), wanted, strings.Join(names, ", "))
	}
	return found, nil
}
