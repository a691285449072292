package chaos

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// LogLine is what brokers said at level WARN or ERROR, and how often.
type LogLine struct {
	Level   string `json:"level"`
	Message string `json:"message"`
	Count   int    `json:"count"`
}

// maxLogLines bounds the different messages that are told.
const maxLogLines = 40

var (
	logForm = regexp.MustCompile(`level=(WARN|ERROR) msg=("(?:[^"\\]|\\.)*"|\S+)`)
	digits  = regexp.MustCompile(`\d+`)
	alarm   = regexp.MustCompile(`(?i)panic|fatal error|DATA RACE|corrupt|segment damaged`)
	damage  = regexp.MustCompile(`segment damaged|is damaged at byte`)
	planned = regexp.MustCompile(`failpoint [a-zA-Z.-]+: `)
)

// readLogs counts the warnings of all logs, with numbers left out, and returns the lines that must never be there. A line that names
// a failpoint may, with the crash report that it begins, up to the next line of the log.
//
// With flips a line that tells of damage may too.
func readLogs(paths []string, flips bool) (lines []LogLine, alarms []string, err error) {
	counts := map[LogLine]int{}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return nil, nil, fmt.Errorf("log: %w", err)
		}
		scan := bufio.NewScanner(f)
		scan.Buffer(nil, 1<<20)
		excused := false
		for scan.Scan() {
			text := scan.Text()
			excused = planned.MatchString(text) || flips && damage.MatchString(text) || excused && !strings.HasPrefix(text, "time=")
			if !excused && alarm.MatchString(text) && len(alarms) < maxLogLines {
				alarms = append(alarms, path+": "+text)
			}
			if m := logForm.FindStringSubmatch(scan.Text()); m != nil {
				counts[LogLine{Level: m[1], Message: digits.ReplaceAllString(strings.Trim(m[2], `"`), "N")}]++
			}
		}
		_ = f.Close()
		if err := scan.Err(); err != nil {
			return nil, nil, fmt.Errorf("log %s: %w", path, err)
		}
	}
	for l, n := range counts {
		l.Count = n
		lines = append(lines, l)
	}
	slices.SortFunc(lines, func(a, b LogLine) int { return cmp.Or(b.Count-a.Count, strings.Compare(a.Message, b.Message)) })
	return lines[:min(len(lines), maxLogLines)], alarms, nil
}
