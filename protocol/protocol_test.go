package protocol

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// constants returns the names of the constants of a file that begin with prefix.
func constants(t *testing.T, file, prefix string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	require.NoError(t, err)
	var names []string
	ast.Inspect(f, func(n ast.Node) bool {
		if g, ok := n.(*ast.GenDecl); ok && g.Tok == token.CONST {
			for _, s := range g.Specs {
				for _, id := range s.(*ast.ValueSpec).Names {
					if strings.HasPrefix(id.Name, prefix) {
						names = append(names, id.Name)
					}
				}
			}
		}
		return true
	})
	return names
}

func TestEveryCodeIsDescribed(t *testing.T) {
	require.Len(t, codeInfos, len(constants(t, "errors.go", "Code")))
	names := map[string]Code{}
	for c, i := range codeInfos {
		require.NotZero(t, c, "0 means no error")
		require.NotContains(t, names, i.name)
		names[i.name] = c
		require.Equal(t, i.name, c.String())
		require.Equal(t, i.retryable, c.Retryable())
		require.Equal(t, i.outcome, c.Outcome())
	}
	require.Equal(t, "code(999)", Code(999).String())
	require.False(t, Code(999).Retryable())
	require.Equal(t, Unknown, Code(999).Outcome(), "what is not known may have happened")
}

func TestEveryKindIsDescribed(t *testing.T) {
	require.Len(t, kindNames, len(constants(t, "kinds.go", "Kind")))
	names := map[string]Kind{}
	for k := range 256 {
		k := Kind(k)
		name, known := kindNames[k]
		require.Equal(t, known, k.MaxBody() > 0, "%s", k)
		if !known {
			require.Equal(t, fmt.Sprintf("kind(%d)", uint8(k)), k.String())
			continue
		}
		require.NotContains(t, names, name)
		names[name] = k
		require.Equal(t, name, k.String())
	}
}

func TestErrors(t *testing.T) {
	err := fmt.Errorf("publish: %w", Errorf(CodeNotLeader, "led by %d", 2))
	require.ErrorIs(t, err, ErrNotLeader)
	require.NotErrorIs(t, err, ErrNoQuorum)
	require.EqualError(t, err, "publish: not_leader: led by 2")
	require.EqualError(t, ErrTimeout, "timeout")
	var pe *Error
	require.True(t, errors.As(err, &pe))
	require.False(t, pe.Is(errors.New("other")))
}

func TestValidName(t *testing.T) {
	for _, s := range []string{"a", "orders.v2", "A_b-3", "...", strings.Repeat("x", MaxNameBytes)} {
		require.True(t, ValidName(s), "%q", s)
	}
	for _, s := range []string{"", ".", "..", "a b", "a/b", "\u00e9", "a\x00", strings.Repeat("x", MaxNameBytes+1)} {
		require.False(t, ValidName(s), "%q", s)
	}
}

func TestIDs(t *testing.T) {
	require.Equal(t, "7/3", TopicPartition{7, 3}.String())
	require.True(t, (NamedProducerBit | 5).Named())
	require.False(t, ProducerID(5).Named())
	require.Equal(t, "8000000000000005", (NamedProducerBit | 5).String())
}

func TestPingSizes(t *testing.T) {
	require.LessOrEqual(t, MinPingBytes, MaxPingBytes-8)
}
