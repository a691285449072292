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
	"regexp"
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
	"github.com/nats-io":       {"bench/driver/jetstream"},
	"github.com/twmb/franz-go": {"bench/driver/kafka"},
	"github.com/rabbitmq":      {"bench/driver/rabbitmq"},
	"gonum.org":                {"bench/report", "bench/chaos/report"},
	"github.com/anishathalye":  {"bench/verify/linear"},
	// bench/hostile must be able to break every rule that the SDK keeps.
	"github.com/quic-go/quic-go": {"broker/internal/transport", "client/internal", "bench/hostile"},
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

// guides are the documents that lead through the code.
var guides = []string{"docs/ARCHITECTURE.md", "docs/OPERATIONS.md", "docs/adr/README.md"}

// In a guide two forms in backticks are promises: a path from the root (`broker/internal/fsm/apply.go`, `docs/adr`) and a
// name with its package (`fsm.New`, `fsm.Machine.Update`, `fsm.Config.Dir`). What is in a fenced block is not looked at.
var (
	fencedBlock = regexp.MustCompile("(?ms)^```.*?^```$")
	inlineCode  = regexp.MustCompile("`([^`\n]+)`")
	pathForm    = regexp.MustCompile(`^(broker|client|protocol|bench|cmd|docs)/\S+$|^\S+_test\.go$`)
	nameForm    = regexp.MustCompile(`^[A-Za-z]\w*(\.[A-Za-z_]\w*){1,2}$`)
	// otherForm looks like a name and is none: a key of the configuration (package broker checks those) or a file.
	otherForm = regexp.MustCompile(`^(tls|auth|limits|log|raft|topics|moves)\.[a-z_]+$|\.(json|key|pem|yaml|md)$`)
)

// TestArchitectureNamesExist keeps the guides true where a machine can tell.
func TestArchitectureNamesExist(t *testing.T) {
	names := declaredNames(t)
	for _, guide := range guides {
		text, err := os.ReadFile(guide)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if len(line) > 120 || strings.ContainsFunc(line, func(r rune) bool { return r > '~' }) {
				t.Errorf("%s:%d is longer than 120 bytes or not ASCII", guide, i+1)
			}
		}
		checked := 0
		for _, m := range inlineCode.FindAllStringSubmatch(fencedBlock.ReplaceAllString(string(text), ""), -1) {
			switch code := m[1]; {
			case pathForm.MatchString(code):
				if _, err := os.Stat(code); err != nil {
					t.Errorf("%s names %s: %v", guide, code, err)
				}
				checked++
			case nameForm.MatchString(code) && !otherForm.MatchString(code):
				if !names[code] {
					t.Errorf("%s names %s, which no package declares", guide, code)
				}
				checked++
			}
		}
		if checked == 0 {
			t.Errorf("%s names nothing of the code: has the form changed?", guide)
		}
	}
}

// TestArchitectureShowsTheImports compares the list of the broker's packages in docs/ARCHITECTURE.md with the sources.
func TestArchitectureShowsTheImports(t *testing.T) {
	const internal = "broker/internal/"
	imports := map[string][]string{}
	eachGoFile(t, func(path string, _ []byte, _ *token.FileSet, file *ast.File) {
		from, ours := strings.CutPrefix(filepath.ToSlash(filepath.Dir(path)), internal)
		if !ours || strings.Contains(from, "/") || strings.HasSuffix(path, "_test.go") {
			return
		}
		to := imports[from]
		for _, imp := range file.Imports {
			if name, ok := strings.CutPrefix(strings.Trim(imp.Path.Value, `"`), module+internal); ok && !slices.Contains(to, name) {
				to = append(to, name)
			}
		}
		slices.Sort(to)
		imports[from] = to
	})
	guide, err := os.ReadFile(guides[0])
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(guide), "```imports\n")
	list, _, _ = strings.Cut(list, "```")
	for _, line := range strings.Split(strings.TrimSpace(list), "\n") {
		from, to, _ := strings.Cut(line, "->")
		from = strings.TrimSpace(from)
		if got, want := strings.TrimSpace(to), strings.Join(imports[from], ", "); got != want {
			t.Errorf("%s shows %s -> %s, the sources have %s", guides[0], from, got, want)
		}
		delete(imports, from)
	}
	for from := range imports {
		t.Errorf("%s does not show %s", guides[0], from)
	}
}

// TestDecisionsAreIndexed finds a record without a row in the index.
func TestDecisionsAreIndexed(t *testing.T) {
	index, err := os.ReadFile("docs/adr/README.md")
	if err != nil {
		t.Fatal(err)
	}
	records, err := filepath.Glob("docs/adr/[0-9]*.md")
	if err != nil || len(records) == 0 {
		t.Fatal("no records", err)
	}
	for _, r := range records {
		if !bytes.Contains(index, []byte("]("+filepath.Base(r)+")")) {
			t.Errorf("docs/adr/README.md has no row for %s", r)
		}
	}
}

// declaredNames returns every pkg.Name and, of types, pkg.Type.Member, exported or not.
func declaredNames(t *testing.T) map[string]bool {
	names := map[string]bool{}
	eachGoFile(t, func(path string, _ []byte, _ *token.FileSet, file *ast.File) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		pkg := file.Name.Name + "."
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				names[pkg+receiver(d)+d.Name.Name] = true
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					declare(names, pkg, spec)
				}
			}
		}
	})
	return names
}

// receiver returns "Type." of a method and "" of a function.
func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return ""
	}
	typ := fn.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if id, ok := typ.(*ast.Ident); ok {
		return id.Name + "."
	}
	return "?." // of a generic type: not a form that is checked
}

func declare(names map[string]bool, pkg string, spec ast.Spec) {
	switch s := spec.(type) {
	case *ast.ValueSpec:
		for _, n := range s.Names {
			names[pkg+n.Name] = true
		}
	case *ast.TypeSpec:
		names[pkg+s.Name.Name] = true
		var members *ast.FieldList
		switch typ := s.Type.(type) {
		case *ast.StructType:
			members = typ.Fields
		case *ast.InterfaceType:
			members = typ.Methods
		default:
			return
		}
		for _, f := range members.List {
			for _, n := range f.Names {
				names[pkg+s.Name.Name+"."+n.Name] = true
			}
		}
	}
}
