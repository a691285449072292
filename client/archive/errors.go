package archive

import (
	"errors"
	"fmt"
)

// Errors for errors.Is.
var (
	// ErrIncomplete: the export was not finished.
	ErrIncomplete = errors.New("the export is not complete: run the same export again to finish it")
	// ErrOtherExport: the directory holds an export of something else.
	ErrOtherExport = errors.New("the directory holds another export")
	// ErrShape: a topic of the name exists with other partitions, replicas or settings.
	ErrShape = errors.New("a topic of this name exists and is different")
	// ErrTooLarge: a JSON file is above the bound of the package comment. Cursors are what makes one large; an export of some of the
	// partitions has theirs only.
	ErrTooLarge = errors.New("too many cursors for one file (topic export --partitions takes fewer)")
	// ErrTopicChanged: the topic is not the one that the export began with.
	ErrTopicChanged = errors.New("the topic was deleted and made anew since the export began")
)

// DamageError says where a file is not what was written.
type DamageError struct {
	File string
	Byte int64 // where what is damaged begins, counted from the start of the file
	Err  error // what is wrong there
}

// Error implements error.
func (e *DamageError) Error() string {
	return fmt.Sprintf("%s is damaged at byte %d: %v", e.File, e.Byte, e.Err)
}

// Unwrap returns what is wrong.
func (e *DamageError) Unwrap() error { return e.Err }
