package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

const (
	// version is that of the format. Never give a number another meaning.
	version = 1
	// maxLine bounds a line: names are at most 255 bytes, so a longer one is none of ours.
	maxLine = 4 << 10
	// maxOps bounds what Read returns, about 1 GiB.
	maxOps = 8 << 20
)

// Header is the first line of a file.
type Header struct {
	Version   int    `json:"trunkline_history"`
	Seed      uint64 `json:"seed"`
	Kept      int    `json:"kept"`
	Forgotten int64  `json:"forgotten"` // operations that were in the run and are not in the file
}

// FormatError says where a file is no history.
type FormatError struct {
	Line int // from 1
	Err  error
}

func (e *FormatError) Error() string { return fmt.Sprintf("history: line %d: %v", e.Line, e.Err) }

// Unwrap returns the reason.
func (e *FormatError) Unwrap() error { return e.Err }

// Write writes a file. Header.Version and Header.Kept are set by it.
func Write(w io.Writer, h Header, ops []Op) error {
	h.Version, h.Kept = version, len(ops)
	buffered := bufio.NewWriter(w)
	lines := json.NewEncoder(buffered)
	lines.SetEscapeHTML(false)
	err := lines.Encode(h)
	for i := 0; i < len(ops) && err == nil; i++ {
		if err = ops[i].check(); err == nil {
			err = lines.Encode(ops[i])
		}
	}
	if err = errors.Join(err, buffered.Flush()); err != nil {
		return fmt.Errorf("history: %w", err)
	}
	return nil
}

// Read reads a file. With an error, which is a *FormatError or the reader's own, it returns the operations before it.
func Read(r io.Reader) (Header, []Op, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	var h Header
	var ops []Op
	at := 0
	for lines.Scan() {
		at++
		var err error
		if at == 1 {
			if err = json.Unmarshal(lines.Bytes(), &h); err == nil && h.Version != version {
				err = fmt.Errorf("version %d is not known, only %d is", h.Version, version)
			}
		} else {
			o := Op{Offset: NoOffset}
			if err = json.Unmarshal(lines.Bytes(), &o); err == nil {
				err = o.check()
			}
			if err == nil && len(ops) == maxOps {
				err = fmt.Errorf("there are more than %d operations", maxOps)
			}
			if err == nil {
				ops = append(ops, o)
			}
		}
		if err != nil {
			return h, ops, &FormatError{Line: at, Err: err}
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return h, ops, &FormatError{Line: at + 1, Err: err}
	case err != nil:
		return h, ops, fmt.Errorf("history: %w", err)
	case at == 0:
		return h, ops, &FormatError{Line: 1, Err: io.ErrUnexpectedEOF}
	case len(ops) != h.Kept:
		return h, ops, &FormatError{Line: at + 1, Err: fmt.Errorf("it ends after %d of %d operations: %w", len(ops), h.Kept, io.ErrUnexpectedEOF)}
	}
	return h, ops, nil
}
