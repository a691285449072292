package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// maxSealedBytes bounds a JSON file, which is read and written whole and takes several times its size in memory meanwhile. Nearly all of
// a large one are cursors, of about 70 bytes each: seven million fit, 70 for each partition that a cluster can have.
const maxSealedBytes = 512 << 20

// sealed is a JSON file with the checksum of its content, which counts without white space so that a person may reformat it. It is written
// without any, since indented cursors would take nearly twice as much.
type sealed struct {
	Format  string          `json:"format"`
	Version int             `json:"version"`
	SHA256  string          `json:"sha256"`
	Content json.RawMessage `json:"content"`
}

// The formats of sealed files.
const (
	topicFormat   = "trunkline topic export"
	clusterFormat = "trunkline cluster backup"
	sealedVersion = 1
)

func contentSum(content []byte) (string, error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, content); err != nil {
		return "", err
	}
	sum := sha256.Sum256(compact.Bytes())
	return hex.EncodeToString(sum[:]), nil
}

// writeSealed writes a file that appears whole or not at all, and stays after a power cut. What could not be read again is ErrTooLarge, and
// leaves what was there.
func writeSealed(path, format string, v any) error {
	return writeBounded(path, format, v, maxSealedBytes)
}

func writeBounded(path, format string, v any, most int) error {
	content, err := json.Marshal(v)
	if err != nil {
		return err
	}
	s := sealed{Format: format, Version: sealedVersion, Content: content}
	if s.SHA256, err = contentSum(content); err != nil {
		return err
	}
	text, err := json.Marshal(&s)
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if len(text) > most {
		return fmt.Errorf("%w: %s would have %d bytes, and %d is the most that is read again; nothing was written", ErrTooLarge, path, len(text), most)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}

// readSealed reads and checks a file. One that is not there is fs.ErrNotExist.
func readSealed(path, format string, v any) error {
	return readBounded(path, format, v, maxSealedBytes)
}

func readBounded(path, format string, v any, most int) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err != nil {
		return err
	}
	if len(text) > most {
		return fmt.Errorf("%w: %s has more than %d bytes", ErrTooLarge, path, most)
	}
	var s sealed
	if err := json.Unmarshal(text, &s); err != nil {
		return damagedJSON(path, err)
	}
	if s.Format != format || s.Version != sealedVersion {
		return fmt.Errorf("%s is a %q of version %d, this program reads a %q of version %d", path, s.Format, s.Version, format, sealedVersion)
	}
	sum, err := contentSum(s.Content)
	if err == nil && sum != s.SHA256 {
		err = fmt.Errorf("the content's SHA-256 is %s, the file says %s", sum, s.SHA256)
	}
	if err == nil {
		err = json.Unmarshal(s.Content, v)
	}
	if err != nil {
		return &DamageError{File: path, Err: err}
	}
	return nil
}

// damagedJSON says where JSON ends to be JSON.
func damagedJSON(path string, err error) error {
	d := &DamageError{File: path, Err: err}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		d.Byte = max(0, syntax.Offset-1)
	}
	return d
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
