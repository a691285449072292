package check

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// The generated part of a README lies between these lines.
const (
	beginMark = "<!-- generated from the code; `make deploy-terraform-docs` -->"
	endMark   = "<!-- end of the generated part -->"
)

// value is a variable or an output of a module.
type value struct {
	name, about, kind, fallback string
	required                    bool
}

// Tables renders the inputs and outputs of the module in dir as Markdown. It fails on a variable without type, validation or
// description, and on an output without description.
func Tables(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.tf"))
	if err != nil {
		return "", err
	}
	var inputs, outputs []value
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		file, diags := hclsyntax.ParseConfig(text, path, hcl.InitialPos)
		if diags.HasErrors() {
			return "", diags
		}
		for _, block := range file.Body.(*hclsyntax.Body).Blocks { // hclsyntax makes no other body
			switch block.Type {
			case "variable":
				v, err := variable(block, text)
				if err != nil {
					return "", fmt.Errorf("%s: %w", path, err)
				}
				inputs = append(inputs, v)
			case "output":
				about := attribute(block, "description")
				if about == "" {
					return "", fmt.Errorf("%s: output %s has no description", path, block.Labels[0])
				}
				outputs = append(outputs, value{name: block.Labels[0], about: about})
			}
		}
	}
	return render(inputs, outputs), nil
}

func variable(block *hclsyntax.Block, text []byte) (value, error) {
	v := value{name: block.Labels[0], about: attribute(block, "description"), kind: source(block, "type", text), fallback: source(block, "default", text)}
	v.required = block.Body.Attributes["default"] == nil
	checked := slices.ContainsFunc(block.Body.Blocks, func(b *hclsyntax.Block) bool { return b.Type == "validation" })
	if v.about == "" || v.kind == "" || !checked {
		return v, fmt.Errorf("variable %s needs a description, a type and a validation", v.name)
	}
	return v, nil
}

// attribute evaluates a string that depends on nothing.
func attribute(block *hclsyntax.Block, name string) string {
	a := block.Body.Attributes[name]
	if a == nil {
		return ""
	}
	v, diags := a.Expr.Value(nil)
	if diags.HasErrors() || v.IsNull() {
		return ""
	}
	return strings.Join(strings.Fields(v.AsString()), " ")
}

// source is the text of an attribute's value as it is written.
func source(block *hclsyntax.Block, name string, text []byte) string {
	a := block.Body.Attributes[name]
	if a == nil {
		return ""
	}
	return string(a.Expr.Range().SliceBytes(text))
}

func render(inputs, outputs []value) string {
	var b strings.Builder
	b.WriteString("## Inputs\n\n| name | default | meaning |\n|---|---|---|\n")
	byName := func(x, y value) int { return strings.Compare(x.name, y.name) }
	for _, v := range slices.SortedFunc(slices.Values(inputs), byName) {
		fallback := "`" + strings.Join(strings.Fields(v.fallback), " ") + "`"
		if v.required {
			fallback = "required"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", v.name, fallback, cell(v.about))
	}
	b.WriteString("\nTheir types:\n\n```hcl\n")
	for _, v := range slices.SortedFunc(slices.Values(inputs), byName) {
		fmt.Fprintf(&b, "%s = %s\n", v.name, strings.ReplaceAll(v.kind, "\n  ", "\n"))
	}
	b.WriteString("```\n\n## Outputs\n\n| name | meaning |\n|---|---|\n")
	for _, v := range slices.SortedFunc(slices.Values(outputs), byName) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", v.name, cell(v.about))
	}
	return b.String()
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// Refresh returns the README with tables as its generated part.
func Refresh(readme, tables string) (string, error) {
	head, rest, ok := strings.Cut(readme, beginMark)
	_, tail, ended := strings.Cut(rest, endMark)
	if !ok || !ended {
		return "", fmt.Errorf("no place for the generated part: put the lines %q and %q", beginMark, endMark)
	}
	return head + beginMark + "\n\n" + tables + "\n" + endMark + tail, nil
}
