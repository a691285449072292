// Package trunkline_test checks what the compiler cannot: the import graph, sizes of files and functions, and that every
// package says what it is.
package trunkline_test

import (
	"bufio"
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/trunkline/trunkline/"

// allowed says which of our packages may import whom; the longest matching prefix counts. This is the drawing in
// docs/ARCHITECTURE.md.
var allowed = []struct {
	from string
	to   []string
}{
	{"protocol", []string{"protocol"}},
	{"client", []string{"protocol", "client"}},
	{"broker", []string{"protocol", "broker"}},
	{"bench", []string{"protocol", "client", "bench"}},
	{"cmd", []string{"protocol", "client", "broker", "bench", "cmd"}},
}

// keepers say which packages alone may import a dependency.
var keepers = map[string][]string{
	"github.com/lni/dragonboat": {
		"broker/internal/raftnode", "broker/internal/raftnet", "broker/internal/fsm", "broker/internal/meta", "broker/internal/journal",
	},
	"github.com/quic-go/quic-go": {"broker/internal/transport", "client/internal"},
}

func TestImportGraph(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		from := strings.TrimPrefix(fields[0], module)
		for _, imp := range fields[1:] {
			checkImport(t, from, imp)
		}
	}
}

func checkImport(t *testing.T, from, imp string) {
	for dep, who := range keepers {
		if strings.HasPrefix(imp, dep) && !slices.ContainsFunc(who, func(p string) bool { return under(from, p) }) {
			t.Errorf("%s imports %s; only %v may", from, imp, who)
		}
	}
	to, ours := strings.CutPrefix(imp, module)
	if !ours {
		return
	}
	for _, rule := range allowed {
		if under(from, rule.from) && !slices.ContainsFunc(rule.to, func(p string) bool { return under(to, p) }) {
			t.Errorf("%s imports %s; %s may import only %v", from, to, rule.from, rule.to)
		}
	}
}

func under(path, prefix string) bool { return path == prefix || strings.HasPrefix(path, prefix+"/") }

// Sizes above these are alarms: the file or the function has more than one thought.
const (
	maxFileLines     = 800
	maxFunctionLines = 70
)

func TestFilesAndFunctionsAreSmall(t *testing.T) {
	eachGoFile(t, func(path string, text []byte, set *token.FileSet, file *ast.File) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		if n := bytes.Count(text, []byte("\n")); n > maxFileLines {
			t.Errorf("%s has %d lines, more than %d", path, n, maxFileLines)
		}
		for _, d := range file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			if n := set.Position(fn.End()).Line - set.Position(fn.Pos()).Line + 1; n > maxFunctionLines {
				t.Errorf("%s: %s has %d lines, more than %d", path, fn.Name.Name, n, maxFunctionLines)
			}
		}
	})
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	documented := map[string]bool{}
	eachGoFile(t, func(path string, _ []byte, _ *token.FileSet, file *ast.File) {
		dir := filepath.Dir(path)
		if !strings.HasSuffix(path, "_test.go") {
			documented[dir] = documented[dir] || file.Doc != nil
		}
	})
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package in %s has no package comment", dir)
		}
	}
}

func eachGoFile(t *testing.T, visit func(string, []byte, *token.FileSet, *ast.File)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, text, parser.ParseComments)
		if err == nil {
			visit(path, text, set, file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestReadmeShowsTheCompiledExample keeps the README's program equal to the one that the compiler sees.
func TestReadmeShowsTheCompiledExample(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(readme), "<!-- example: ")
	if !ok {
		t.Fatal("README.md names no example")
	}
	path, rest, _ := strings.Cut(rest, " -->")
	shown, _, _ := strings.Cut(strings.TrimPrefix(rest, "\n```go\n"), "```\n<!-- end -->")
	compiled, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if shown != string(compiled) {
		t.Errorf("the program in README.md is not %s", path)
	}
}
