package history

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// neighbours is how many operations of the same partition are shown beside the one that is to blame.
const neighbours = 20

// Violation is the first operation that contradicts what was known when it returned.
type Violation struct {
	Invariant string // of package verify's table: I3, I4, I5, I8
	What      string
	Ops       []Op // the operation, the one that it contradicts, and neighbours more of the partition, by Op.Invoke
	At        int  // Ops[At] is the operation
	Against   int  // Ops[Against] is the one that it contradicts
}

// Find returns the first violation in the order of Op.Return, nil if there is none. Only operations of class OK are looked at:
// publishes, and deliveries for what stands at an offset. It takes O(n log n).
func Find(ops []Op) *Violation {
	order := make([]int, len(ops))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(ops[a].Return, ops[b].Return) })
	f := finder{ops: ops, places: map[place]int{}, records: map[record]int{}, lanes: map[lane]int{}, tops: map[int32][]int{}}
	for _, i := range order {
		if ops[i].Class != OK {
			continue
		}
		if invariant, what, against := f.judge(i); invariant != "" {
			return show(ops, invariant, what, i, against)
		}
	}
	return nil
}

// Around returns an operation among its neighbours, for one that a checker has named.
func Around(ops []Op, what string, i int) *Violation { return show(ops, "", what, i, i) }

type (
	place struct {
		partition int32
		offset    int64
	}
	record struct {
		producer   uint32
		epoch, seq uint64
	}
	lane struct {
		partition int32
		producer  uint32
		epoch     uint64
	}
)

// finder holds indices of operations that have returned.
type finder struct {
	ops     []Op
	places  map[place]int   // who stands there
	records map[record]int  // the first acknowledgement
	lanes   map[lane]int    // the acknowledgement with the highest sequence
	tops    map[int32][]int // by partition: publishes that raised the highest acknowledged offset, in the order of Op.Return
}

// judge compares an operation with those before it and takes it over.
func (f *finder) judge(i int) (invariant, what string, against int) {
	o := f.ops[i]
	at := place{o.Partition, o.Offset}
	switch o.Kind {
	case Deliver:
		return f.stands(i, at)
	case Publish:
		if k, ok := f.records[record{o.Producer, o.Epoch, o.Seq}]; ok && f.ops[k].Offset != o.Offset {
			return "I5", "a record is acknowledged at two offsets", k
		}
		f.records[record{o.Producer, o.Epoch, o.Seq}] = i
		if invariant, what, against = f.stands(i, at); invariant != "" {
			return invariant, what, against
		}
		in := lane{o.Partition, o.Producer, o.Epoch}
		if k, ok := f.lanes[in]; !ok || f.ops[k].Seq < o.Seq {
			if ok && f.ops[k].Offset > o.Offset {
				return "I4", "a later record of the producer stands before an earlier one", k
			}
			f.lanes[in] = i
		} else if f.ops[k].Seq > o.Seq && f.ops[k].Offset < o.Offset {
			return "I4", "an earlier record of the producer stands behind a later one", k
		}
		return f.realTime(i)
	}
	return "", "", 0
}

// stands judges that nobody else stands at the place.
func (f *finder) stands(i int, at place) (invariant, what string, against int) {
	k, ok := f.places[at]
	if !ok {
		f.places[at] = i
		return "", "", 0
	}
	if f.ops[k].Producer != f.ops[i].Producer || f.ops[k].Seq != f.ops[i].Seq {
		return "I3", "two records at one offset", k
	}
	return "", "", 0
}

// realTime judges that a publish stands behind all that were acknowledged before it was invoked.
func (f *finder) realTime(i int) (invariant, what string, against int) {
	o := f.ops[i]
	tops := f.tops[o.Partition]
	before, _ := slices.BinarySearchFunc(tops, o.Invoke, func(k int, t int64) int { return cmp.Compare(f.ops[k].Return, t) })
	if before > 0 {
		if k := tops[before-1]; f.ops[k].Offset > o.Offset {
			return "I8", "a record stands before one that was acknowledged before it was published", k
		}
	}
	if n := len(tops); n == 0 || f.ops[tops[n-1]].Offset < o.Offset {
		f.tops[o.Partition] = append(tops, i)
	}
	return "", "", 0
}

// show picks the neighbours: half of them before the operation and half after it, more on one side if the other has fewer.
func show(ops []Op, invariant, what string, i, against int) *Violation {
	var same []int
	for k, o := range ops {
		if o.Partition == ops[i].Partition && k != against || k == i {
			same = append(same, k)
		}
	}
	slices.SortStableFunc(same, func(a, b int) int { return byInvoke(ops[a], ops[b]) })
	at := slices.Index(same, i)
	from := max(0, min(at-neighbours/2, len(same)-neighbours-1))
	picked := same[from:min(len(same), from+neighbours+1)]
	if against != i {
		k, _ := slices.BinarySearchFunc(picked, against, func(a, b int) int { return byInvoke(ops[a], ops[b]) })
		picked = slices.Insert(slices.Clone(picked), k, against)
	}
	v := &Violation{Invariant: invariant, What: what, At: slices.Index(picked, i), Against: slices.Index(picked, against)}
	for _, k := range picked {
		v.Ops = append(v.Ops, ops[k])
	}
	return v
}

// Print writes a violation as a table for people.
func (v *Violation) Print(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "%s: %s (lines > and *)\n", v.Invariant, v.What); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "\tinvoked ms\treturned ms\tworker\top\tpartition\toffset\tproducer\tepoch\tseq\tclass\tdup")
	for i, o := range v.Ops {
		mark := ""
		switch i {
		case v.At:
			mark = ">"
		case v.Against:
			mark = "*"
		}
		fmt.Fprintf(t, "%s\t%.3f\t%.3f\t%d\t%s\t%d\t%d\t%d\t%d\t%d\t%s\t%v\n", mark, float64(o.Invoke)/1e6, float64(o.Return)/1e6, o.Worker,
			o.Kind, o.Partition, o.Offset, o.Producer, o.Epoch, o.Seq, o.Class, o.Dup)
	}
	return t.Flush()
}
