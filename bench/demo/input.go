package demo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// maxLine bounds one line of the input file.
const maxLine = 1 << 20

// line is one line of the input and the field that keys it.
type line struct {
	key, value []byte
}

// input is a whole file in memory, repeated as often as needed.
type input struct {
	name  string
	lines []line
}

// keyField picks the field of a line that keys it: field number n, counted from 1, of fields separated by sep
// ("" means white space).
func keyField(text []byte, n int, sep string) []byte {
	var fields [][]byte
	if sep == "" {
		fields = bytes.Fields(text)
	} else {
		fields = bytes.Split(text, []byte(sep))
	}
	if n < 1 || n > len(fields) {
		return nil
	}
	return fields[n-1]
}

// loadInput reads path, or with path "" the Go distribution's list of its own API: tens of thousands of lines like
// "pkg bytes, func Clone([]uint8) []uint8", keyed by package. That list is sorted by package, so that at any time one partition
// would get all; its lines are therefore dealt out in strides.
func loadInput(ctx context.Context, path string, field int, sep string) (*input, error) {
	if path != "" {
		in := &input{name: path}
		return in, in.read(path, field, sep)
	}
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("find the Go distribution: %w: give a file with --input", err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(root)), "api", "*.txt"))
	if err != nil || len(files) == 0 {
		return nil, errors.New("the Go distribution has no api/*.txt here: give a file with --input")
	}
	slices.Sort(files)
	in := &input{name: fmt.Sprintf("%d files of the Go distribution's api directory", len(files))}
	for _, f := range files {
		if err := in.read(f, 2, ""); err != nil {
			return nil, err
		}
	}
	in.deal()
	return in, nil
}

// deal reorders the lines: line i of the result is line i*stride of the input, modulo its length.
func (in *input) deal() {
	n := len(in.lines)
	stride := n*618/1000 | 1
	for gcd(stride, n) != 1 {
		stride += 2
	}
	dealt := make([]line, n)
	for i := range dealt {
		dealt[i] = in.lines[i*stride%n]
	}
	in.lines = dealt
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func (in *input) read(path string, field int, sep string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("input: %w", err)
	}
	defer f.Close()
	scan := bufio.NewScanner(f)
	scan.Buffer(nil, maxLine)
	for scan.Scan() {
		value := bytes.Clone(scan.Bytes())
		if len(value) > 0 {
			in.lines = append(in.lines, line{key: keyField(value, field, sep), value: value})
		}
	}
	if err := scan.Err(); err != nil {
		return fmt.Errorf("input %s: %w (lines are bounded at %d bytes)", path, err, maxLine)
	}
	if len(in.lines) == 0 {
		return fmt.Errorf("input %s has no lines", path)
	}
	return nil
}
