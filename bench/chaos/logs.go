package chaos

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/verify"
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
	planned = regexp.MustCompile(`failpoint [a-zA-Z.-]+: `)
)

// keepLog keeps the log of a broker that is about to be removed.
func keepLog(c *cluster.Cluster, id int) error {
	return os.Rename(c.Log(id), filepath.Join(c.Dir(), fmt.Sprintf("left-%d.log", id)))
}

// leftLogs returns the logs of the brokers that were removed from the cluster in dir.
func leftLogs(dir string) ([]string, error) { return filepath.Glob(filepath.Join(dir, "left-*.log")) }

// readLogs counts the warnings of all logs, with numbers left out, and has each line judged. A line that names a failpoint is not, with
// the crash report that it begins, up to the next line of the log.
func readLogs(paths []string, hygiene *verify.Hygiene) (lines []LogLine, err error) {
	counts := map[LogLine]int{}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("log: %w", err)
		}
		scan := bufio.NewScanner(f)
		scan.Buffer(nil, 1<<20)
		excused := false
		for scan.Scan() {
			text := scan.Text()
			excused = planned.MatchString(text) || excused && !strings.HasPrefix(text, "time=")
			if !excused {
				hygiene.Line(path, text)
			}
			if m := logForm.FindStringSubmatch(text); m != nil {
				counts[LogLine{Level: m[1], Message: digits.ReplaceAllString(strings.Trim(m[2], `"`), "N")}]++
			}
		}
		_ = f.Close()
		if err := scan.Err(); err != nil {
			return nil, fmt.Errorf("log %s: %w", path, err)
		}
	}
	for l, n := range counts {
		l.Count = n
		lines = append(lines, l)
	}
	slices.SortFunc(lines, func(a, b LogLine) int { return cmp.Or(b.Count-a.Count, strings.Compare(a.Message, b.Message)) })
	return lines[:min(len(lines), maxLogLines)], nil
}
