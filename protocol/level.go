package protocol

import "fmt"

// Level is a step of what the brokers of a cluster write and say to each other: formats on disk, commands in the metadata, behaviours
// that all must share. The cluster has one level, which only grows; a broker understands a range of them. 0 means that none was stated,
// as by brokers of before there were levels.
type Level uint8

// FirstLevel is what every broker understands that states none.
const FirstLevel Level = 1

// Levels is the range of levels that a broker understands. The zero value is what a broker means that states none: FirstLevel alone.
type Levels struct {
	Lowest, Highest Level
}

// Stated returns the range itself, or that of a broker that states none.
func (l Levels) Stated() Levels {
	if l == (Levels{}) {
		return Levels{FirstLevel, FirstLevel}
	}
	return l
}

// Has reports whether the range holds a level.
func (l Levels) Has(level Level) bool {
	l = l.Stated()
	return l.Lowest <= level && level <= l.Highest
}

// String returns "level 1" or "levels 1 to 2".
func (l Levels) String() string {
	l = l.Stated()
	if l.Lowest == l.Highest {
		return fmt.Sprintf("level %d", l.Lowest)
	}
	return fmt.Sprintf("levels %d to %d", l.Lowest, l.Highest)
}
