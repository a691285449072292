// Package golden compares bytes with golden vectors in testdata. Each vector is kept twice: NAME.bin
// are the bytes, NAME.hex is for people and for clients in other languages, with the meaning in lines
// that begin with '#'. Run a test with -update to write both. It is used by tests only.
package golden

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden vectors instead of comparing with them")

// hexWidth is how many bytes a line of a .hex file shows.
const hexWidth = 32

// Check compares got with testdata/name.bin and testdata/name.hex.
func Check(t *testing.T, name, meaning string, got []byte) {
	t.Helper()
	text := render(meaning, got)
	if *update {
		write(t, name+".bin", got)
		write(t, name+".hex", text)
		return
	}
	if want := Read(t, name); !bytes.Equal(want, got) {
		t.Errorf("%s changed:\nwant %x\n got %x\nThe wire format is fixed: run with -update only for a new vector.",
			name, want, got)
	}
	want, err := os.ReadFile(filepath.Join("testdata", name+".hex"))
	if err != nil {
		t.Fatalf("read golden text: %v", err)
	}
	if !bytes.Equal(want, text) {
		t.Errorf("%s.hex differs:\nwant %s\n got %s", name, want, text)
	}
}

// Read returns the bytes of a vector.
func Read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".bin"))
	if err != nil {
		t.Fatalf("read golden vector: %v", err)
	}
	return b
}

// Updating reports whether vectors are being written.
func Updating() bool { return *update }

func render(meaning string, b []byte) []byte {
	var out bytes.Buffer
	for line := range strings.SplitSeq(strings.TrimSpace(meaning), "\n") {
		out.WriteString(strings.TrimRight("# "+line, " ") + "\n")
	}
	for i := 0; i < len(b); i += hexWidth {
		out.WriteString(hex.EncodeToString(b[i:min(i+hexWidth, len(b))]) + "\n")
	}
	return out.Bytes()
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("testdata", name), b, 0o644); err != nil {
		t.Fatal(err)
	}
}
