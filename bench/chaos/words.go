package chaos

import (
	"fmt"
	"slices"
	"strings"
)

// Words are names of many rows at once, for --row.
var Words = []struct{ Name, Doc string }{
	{"all", "every row; with --each, as not all of them can run beside each other"},
	{"everything", "row 39: all rows that can share brokers, disks, proxies and full load, mixed, in part two at a time; memory must stay level"},
	{"members", "row 39 with brokers that join and leave: all rows that change members, apart from the lost one's stored records, and all that need nothing prepared for a broker, mixed"},
}

// expand replaces a word by its rows; pairs says whether faults of it are made two at a time.
func expand(rows []string) (names []string, pairs bool) {
	switch {
	case slices.Equal(rows, []string{"all"}):
		return rowNames(), false
	case slices.Equal(rows, []string{"everything"}):
		return mixable(func(r *Row) bool { return !inNetwork(r.Fault) && !changesMembers(r.Fault) }), true
	case slices.Equal(rows, []string{"members"}):
		return mixable(func(r *Row) bool { return !prepares(r.Fault) && r.Name != lostRow }), false
	}
	return rows, false
}

// mixable returns the rows that can follow each other in any order at full load, of those that are wanted.
func mixable(wanted func(*Row) bool) (names []string) {
	for i := range Rows {
		if r := &Rows[i]; !r.Rush && r.Pace == 0 && wanted(r) {
			names = append(names, r.Name)
		}
	}
	return names
}

// conflict returns an error if rows cannot run beside each other: proxies listen where hosts in namespaces of their own do not reach,
// and what is prepared for the brokers that there are at first is not there for those that join.
func conflict(rows []string) error {
	var proxied, networked, joined, prepared []string
	for _, name := range rows {
		if changesMembers(rowOf(name).Fault) {
			joined = append(joined, name)
		}
		if prepares(rowOf(name).Fault) {
			prepared = append(prepared, name)
		}
		switch fault := rowOf(name).Fault; {
		case inNetwork(fault):
			networked = append(networked, name)
		case isFronted(fault):
			proxied = append(proxied, name)
		}
	}
	if len(joined) > 0 && len(prepared) > 0 {
		return fmt.Errorf("rows %s change which brokers there are and rows %s prepare something for each before: they cannot run beside each other, use --each",
			strings.Join(joined, ", "), strings.Join(prepared, ", "))
	}
	if len(proxied) == 0 || len(networked) == 0 {
		return nil
	}
	return fmt.Errorf("rows %s need network namespaces and rows %s need proxies: they cannot run beside each other, use --each",
		strings.Join(networked, ", "), strings.Join(proxied, ", "))
}

// changesMembers reports whether a fault lets brokers join and leave.
func changesMembers(fault string) bool {
	_, ok := makers[fault](&Options{}, gear{}).(interface{ changesMembers() })
	return ok
}

// prepares reports whether a fault has prepared something for each broker before it starts: a disk, a network, proxies. See gear.
func prepares(fault string) bool {
	_, ok := makers[fault](&Options{}, gear{}).(interface{ prepares() })
	return ok
}

// isFronted reports whether a fault is made by proxies, or in part.
func isFronted(fault string) bool {
	_, ok := makers[fault](&Options{}, gear{}).(interface{ proxied() })
	return ok
}

// besides returns which of the rows may be in force while another fault comes and goes: those of the network that hit no broker and
// leave all of them able to go on. Over links with a narrow rate a broker that was away may not catch up with a full load at all.
func besides(rows []string) []string {
	return slices.DeleteFunc(slices.Clone(rows), func(name string) bool {
		r := rowOf(name)
		return r.Target != Nobody || !isFronted(r.Fault) || r.Fault == "raft-rate"
	})
}

// besideOne reports whether a row's fault may come and go while one of besides is in force.
func besideOne(r *Row) bool {
	return r.Target != Nobody && !r.Rush && !isFronted(r.Fault) && !inNetwork(r.Fault)
}
