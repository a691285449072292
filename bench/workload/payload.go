package workload

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// Payloads returns what messages are made of: the engine takes one after the other and writes its header over the first
// HeaderBytes. Each has MessageSize bytes.
//
// With useRandomizedPayloads there are randomizedPayloadPoolSize of them, random up to randomBytesRatio of the size and zero
// from there on, as OMB makes them. Otherwise there is one: the payload file's content or, without such a file, random bytes.
// The same seed gives the same bytes.
func (w *Workload) Payloads(seed uint64) ([][]byte, error) {
	if err := w.Validate(); err != nil {
		return nil, err
	}
	random := generator(seed)
	switch {
	case w.UseRandomizedPayloads:
		pool := make([][]byte, w.RandomizedPayloadPoolSize)
		for i := range pool {
			pool[i] = make([]byte, w.MessageSize)
			fill(random, pool[i][:int(float64(w.MessageSize)*w.RandomBytesRatio)])
		}
		return pool, nil
	case w.payload != nil && len(w.payload) != w.MessageSize:
		return nil, sizeError(w.PayloadFile, int64(len(w.payload)), w.MessageSize)
	case w.payload != nil:
		return [][]byte{slices.Clone(w.payload)}, nil
	}
	one := make([]byte, w.MessageSize)
	fill(random, one)
	return [][]byte{one}, nil
}

func generator(seed uint64) *rand.ChaCha8 {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return rand.NewChaCha8(key)
}

func fill(random *rand.ChaCha8, b []byte) {
	_, _ = random.Read(b) // it never fails
}

// readPayload looks for the payload file. OMB starts in the folder above its workloads/ and names files from there, so it may be
// beside the workload file, a folder above or in the working directory. A file that is nowhere is a note and no error: only the
// size of a payload matters to a broker that does not compress.
func (w *Workload) readPayload(folder string) error {
	if w.PayloadFile == "" {
		return nil
	}
	places := []string{folder, filepath.Join(folder, ".."), "."}
	if filepath.IsAbs(w.PayloadFile) {
		places = []string{""}
	}
	for _, place := range places {
		path := filepath.Join(place, w.PayloadFile)
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is not a file", path)
		}
		if info.Size() != int64(w.MessageSize) {
			return sizeError(path, info.Size(), w.MessageSize)
		}
		w.payload, err = os.ReadFile(path)
		return err
	}
	w.note("payloadFile %s was not found", w.PayloadFile)
	return nil
}

func sizeError(path string, size int64, want int) error {
	return fmt.Errorf("%s has %d bytes, but messageSize is %d", path, size, want)
}

// note says that a payload file is not used, and why.
func (w *Workload) note(format, path string) {
	w.Notes = append(w.Notes, fmt.Sprintf(format, path)+": payloads are random bytes of the same size")
}
