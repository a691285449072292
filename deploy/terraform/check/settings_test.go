package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// TestSettingsAreTheBrokers compares the keys of cluster-config's settings with the flags of trunklined: a key that is new in the
// broker must come here, too.
func TestSettingsAreTheBrokers(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "../../../bin/trunklined", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	var broker []string
	for _, flag := range regexp.MustCompile(`--((?:limits|log|raft|topics|moves)-[a-z-]+)`).FindAllStringSubmatch(string(out), -1) {
		if !slices.Contains(broker, flag[1]) && flag[1] != "raft-listen" { // whose key is raft_listen, outside of raft
			broker = append(broker, flag[1])
		}
	}
	module := settingsFlags(t)
	slices.Sort(broker)
	slices.Sort(module)
	if !slices.Equal(module, broker) {
		t.Errorf("settings has %v\nthe broker has %v", module, broker)
	}
}

// settingsFlags reads the type of the variable settings: an object of optional objects.
func settingsFlags(t *testing.T) (flags []string) {
	t.Helper()
	path := filepath.Join("..", "modules", "cluster-config", "settings.tf")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file, diags := hclsyntax.ParseConfig(text, path, hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	for _, block := range file.Body.(*hclsyntax.Body).Blocks {
		if block.Type != "variable" {
			continue
		}
		for _, section := range fields(t, block.Body.Attributes["type"].Expr) {
			optional := section.ValueExpr.(*hclsyntax.FunctionCallExpr) // optional(object({...}), {})
			for _, key := range fields(t, optional.Args[0]) {
				flags = append(flags, strings.ReplaceAll(hcl.ExprAsKeyword(section.KeyExpr)+"-"+hcl.ExprAsKeyword(key.KeyExpr), "_", "-"))
			}
		}
	}
	return flags
}

// fields are those of object({...}).
func fields(t *testing.T, expr hclsyntax.Expression) []hclsyntax.ObjectConsItem {
	t.Helper()
	call, ok := expr.(*hclsyntax.FunctionCallExpr)
	if !ok || call.Name != "object" {
		t.Fatalf("%s is no object", expr.Range())
	}
	return call.Args[0].(*hclsyntax.ObjectConsExpr).Items
}
