package protocol_test

import (
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

// These tests compare SPEC.md with the code, row by row.

func spec(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("SPEC.md")
	require.NoError(t, err)
	return string(b)
}

// table returns the cells of the first table behind mark, without its head.
func table(t *testing.T, text, mark string) [][]string {
	t.Helper()
	_, text, found := strings.Cut(text, mark)
	require.True(t, found, "SPEC.md has no %q", mark)
	_, text, found = strings.Cut(text, "\n|---") // a table's second line; boxes have none
	require.True(t, found, "SPEC.md has no table behind %q", mark)
	var rows [][]string
	for _, line := range strings.Split(text, "\n")[1:] {
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows
}

func TestSpecKinds(t *testing.T) {
	var want, got [][]string
	for k := range 256 {
		if k := protocol.Kind(k); k.MaxBody() > 0 {
			want = append(want, []string{fmt.Sprint(uint8(k)), k.String(), fmt.Sprint(k.MaxBody())})
		}
	}
	for _, row := range table(t, spec(t), "## 2 Frames") {
		require.Contains(t, []string{"client", "broker", "either"}, row[3], row)
		got = append(got, []string{row[0], row[1], row[4]})
	}
	require.Equal(t, want, got)
}

func TestSpecErrors(t *testing.T) {
	var want, got [][]string
	for c := range 1 << 16 {
		c := protocol.Code(c)
		if strings.HasPrefix(c.String(), "code(") {
			continue
		}
		retryable, outcome := "no", "not appended"
		if c.Retryable() {
			retryable = "yes"
		}
		if c.Outcome() == protocol.Unknown {
			outcome = "unknown"
		}
		want = append(want, []string{fmt.Sprint(uint16(c)), c.String(), retryable, outcome})
	}
	for _, row := range table(t, spec(t), "Codes are stable.") {
		require.NotEmpty(t, row[4], row)
		got = append(got, row[:4])
	}
	require.Equal(t, want, got)
}

// messages are the types whose tables SPEC.md must have, with all types nested in them.
func messages() []reflect.Type {
	roots := []any{
		wire.Hello{}, wire.HelloOK{}, wire.Ping{}, wire.MetadataSubscribe{}, wire.Metadata{}, wire.LeaderChange{},
		wire.GoAway{}, wire.ProduceOpen{}, wire.ProduceOpenOK{}, wire.ProduceAck{}, wire.ConsumeOpen{},
		wire.ConsumeOpenOK{}, wire.Activate{}, wire.Credit{}, wire.Ack{}, wire.AckOK{}, wire.Revoke{}, wire.Release{},
		wire.Deactivated{}, wire.Gap{}, wire.Error{}, wire.Request{}, wire.Response{},
	}
	var all []reflect.Type
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(t reflect.Type) {
		switch {
		case t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice:
			walk(t.Elem())
		case t.Kind() == reflect.Struct && !seen[t]:
			seen[t] = true
			all = append(all, t)
			for i := range t.NumField() {
				walk(t.Field(i).Type)
			}
		}
	}
	for _, r := range roots {
		walk(reflect.TypeOf(r))
	}
	return all
}

// wireType is how SPEC.md names the type of a field.
func wireType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return wireType(t.Elem()) + "?"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bin"
		}
		return "[" + wireType(t.Elem()) + "]"
	case reflect.Struct:
		return t.Name()
	case reflect.String:
		return "str"
	case reflect.Bool:
		return "bool"
	default:
		return fmt.Sprintf("u%d", t.Bits())
	}
}

func TestSpecMessages(t *testing.T) {
	text := spec(t)
	for _, m := range messages() {
		if m == reflect.TypeFor[wire.Request]() || m == reflect.TypeFor[wire.Response]() {
			continue // TestSpecTags
		}
		mark := "#### " + m.Name() + "\n"
		if m.NumField() == 0 {
			require.Contains(t, text, mark+"\nNo fields")
			continue
		}
		var want, got [][]string
		for i := range m.NumField() {
			f := m.Field(i)
			want = append(want, []string{fmt.Sprint(i), f.Name, wireType(f.Type)})
		}
		for _, row := range table(t, text, mark) {
			got = append(got, row[:3])
		}
		require.Equal(t, want, got, m.Name())
	}
}

func TestSpecTags(t *testing.T) {
	rows := table(t, spec(t), "A Request or Response is the array")
	requests, responses := reflect.TypeFor[wire.Request](), reflect.TypeFor[wire.Response]()
	require.Len(t, rows, responses.NumField())
	for i := range responses.NumField() {
		f := responses.Field(i)
		v := reflect.New(responses)
		v.Elem().Field(i).Set(reflect.New(f.Type.Elem()))
		tag := v.Interface().(*wire.Response).Append(nil)[1]
		want := []string{fmt.Sprint(tag), "", f.Type.Elem().Name()}
		if q, ok := requests.FieldByName(f.Name); ok {
			v := reflect.New(requests)
			v.Elem().FieldByName(f.Name).Set(reflect.New(q.Type.Elem()))
			require.Equal(t, tag, v.Interface().(*wire.Request).Append(nil)[1], f.Name)
			want[1] = q.Type.Elem().Name()
		}
		require.Equal(t, want, rows[tag][:3])
	}
}

func TestSpecLimits(t *testing.T) {
	want := map[string]int{
		"MaxControlBytes": protocol.MaxControlBytes, "MaxSmallBytes": protocol.MaxSmallBytes,
		"MinPingBytes": protocol.MinPingBytes, "MaxPingBytes": protocol.MaxPingBytes,
		"MaxMetadataBytes": protocol.MaxMetadataBytes, "MaxBatchBytesLimit": protocol.MaxBatchBytesLimit,
		"DefaultMaxBatchBytes": protocol.DefaultMaxBatchBytes, "DefaultMaxRecordBytes": protocol.DefaultMaxRecordBytes,
		"MaxBatchRecords": protocol.MaxBatchRecords, "MaxRecordHeaders": protocol.MaxRecordHeaders,
		"DeliverHeaderSize": protocol.DeliverHeaderSize, "MaxDeliverBytes": protocol.MaxDeliverBytes,
		"MaxInFlightBatches": protocol.MaxInFlightBatches, "MaxNameBytes": protocol.MaxNameBytes,
		"MaxPartitions": protocol.MaxPartitions, "MaxReplicas": protocol.MaxReplicas,
	}
	got := map[string]int{}
	for _, row := range table(t, spec(t), "## 11 Limits") {
		var n int
		_, err := fmt.Sscan(row[1], &n)
		require.NoError(t, err, row)
		got[row[0]] = n
	}
	require.Equal(t, want, got)
}

// TestSpecExamples checks the bytes and numbers that the text shows.
func TestSpecExamples(t *testing.T) {
	text := spec(t)
	require.Contains(t, text, protocol.ALPN)
	ack := wire.Ack{Activation: 131072, Offset: 12884901888, Commit: true}
	require.Contains(t, text, fmt.Sprintf("%x", wire.AppendFrame(nil, protocol.KindAck, &ack)))
	require.Contains(t, text, fmt.Sprintf("%08x", crc32.Checksum([]byte("123456789"), crc32.MakeTable(crc32.Castagnoli))))
	require.Equal(t, 8, frame.HeaderSize)
	for _, dir := range []string{"frame", "wire", "batch"} {
		require.Contains(t, text, "protocol/"+dir+"/testdata")
		vectors, err := filepath.Glob(filepath.Join(dir, "testdata", "*.bin"))
		require.NoError(t, err)
		require.NotEmpty(t, vectors)
	}
}
