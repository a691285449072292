// Package payload makes the values of messages that a chaos run publishes, and recognises them wherever they are read: each value
// says whose message it is and carries a checksum of all of it. Pure and safe for concurrent use.
package payload

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"

	"github.com/trunkline/trunkline/bench/verify"
)

// A value is lane u32 | sequence u64 | CRC32C u32 of all the rest | filler.
const (
	valueHeader = 16
	smallFill   = 512      // most values have up to so many bytes of filler
	largeFill   = 16 << 10 // one in largeOneIn has this many
	largeOneIn  = 128
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// filler is random, so that nothing compresses and no two values look alike.
var filler = func() []byte {
	random := rand.New(rand.NewPCG(1, 1))
	b := make([]byte, largeFill+smallFill)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}()

// Encode makes the value of a message; size and filler follow from its number.
func Encode(id verify.ID) []byte {
	mixed := (uint64(id.Producer)<<40 ^ id.Seq) * 0x9E3779B97F4A7C15
	size, from := int(mixed>>32%smallFill), int(mixed>>48%smallFill)
	if mixed>>20%largeOneIn == 0 {
		size = largeFill
	}
	return encode(id, filler[from:from+size])
}

// Sized makes a value of a length, at least 16 and at most 16 KiB bytes.
func Sized(id verify.ID, length int) []byte {
	from := int(id.Seq % smallFill)
	return encode(id, filler[from:from+min(max(0, length-valueHeader), largeFill)])
}

func encode(id verify.ID, fill []byte) []byte {
	value := make([]byte, valueHeader, valueHeader+len(fill))
	binary.BigEndian.PutUint32(value, id.Producer)
	binary.BigEndian.PutUint64(value[4:], id.Seq)
	value = append(value, fill...)
	binary.BigEndian.PutUint32(value[12:], checksum(value))
	return value
}

// Decode returns whose value it is; false if it is damaged or none of ours.
func Decode(value []byte) (verify.ID, bool) {
	if len(value) < valueHeader || binary.BigEndian.Uint32(value[12:]) != checksum(value) {
		return verify.ID{}, false
	}
	return verify.ID{Producer: binary.BigEndian.Uint32(value), Seq: binary.BigEndian.Uint64(value[4:])}, true
}

func checksum(value []byte) uint32 {
	return crc32.Update(crc32.Checksum(value[:12], castagnoli), castagnoli, value[valueHeader:])
}
