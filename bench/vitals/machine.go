package vitals

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// Machine is how the processors of this machine spent their time so far, summed over all of them.
type Machine struct {
	Total  time.Duration
	Idle   time.Duration // with or without a disk request under way
	Stolen time.Duration // the host of a virtual machine ran something else although there was work here
}

// ReadMachine reads /proc/stat.
func ReadMachine() (Machine, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return Machine{}, err
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Scan()
	return parseMachine(lines.Text())
}

// parseMachine reads the first line of /proc/stat: "cpu user nice system idle iowait irq softirq steal guest guest_nice". The two
// guest times are in user and nice already.
func parseMachine(line string) (Machine, error) {
	fields := bytes.Fields([]byte(line))
	const name, idle, iowait, steal = 0, 4, 5, 8
	if len(fields) <= steal || string(fields[name]) != "cpu" {
		return Machine{}, fmt.Errorf("/proc/stat begins with %q", line)
	}
	var m Machine
	for i, field := range fields[1 : steal+1] {
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return Machine{}, fmt.Errorf("/proc/stat: %w", err)
		}
		spent := time.Duration(n) * tick
		m.Total += spent
		switch i + 1 {
		case idle, iowait:
			m.Idle += spent
		case steal:
			m.Stolen = spent
		}
	}
	return m, nil
}

// Since returns the shares of the time between an earlier reading and m: busy with whatever, here or at the host, and stolen
// by the host. Both are 0 if no time has passed.
func (m Machine) Since(earlier Machine) (busy, stolen float64) {
	total := m.Total - earlier.Total
	if total <= 0 {
		return 0, 0
	}
	busy = 1 - float64(m.Idle-earlier.Idle)/float64(total)
	return busy, float64(m.Stolen-earlier.Stolen) / float64(total)
}
