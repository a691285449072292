package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/report/drawing"
	"github.com/trunkline/trunkline/bench/results"
)

var (
	threeSystems   = []string{"trunkline:default", "jetstream:fsync-always", "jetstream:default"}
	threeWorkloads = []string{"publish", "half", "failover"}
)

func html(t *testing.T, files ...*results.File) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, HTML(&out, files))
	return out.String()
}

// svgs are the plots of a page by name.
func svgs(t *testing.T, page string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, m := range regexp.MustCompile(`(?s)<figure data-name="([^"]+)"[^>]*>(<svg.*?</svg>)`).FindAllStringSubmatch(page, -1) {
		require.NotContains(t, all, m[1], "names are file names")
		all[m[1]] = m[2]
	}
	return all
}

// strokes counts the drawn shapes of an SVG by colour, and fails if it is not XML.
func strokes(t *testing.T, svg string) map[string]int {
	t.Helper()
	count := map[string]int{}
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return count
		}
		require.NoError(t, err)
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "path" {
			for _, a := range e.Attr {
				if m := regexp.MustCompile(`(?:stroke|fill):(#\w{6})`).FindStringSubmatch(a.Value); a.Name.Local == "style" && m != nil {
					count[m[1]]++
				}
				require.NotContains(t, a.Value, "NaN")
				require.NotContains(t, a.Value, "Inf")
			}
		}
	}
}

func TestPageShowsEverySystemInEveryPlot(t *testing.T) {
	f := sample(threeSystems, threeWorkloads, 3)
	page := html(t, f)
	plots := svgs(t, page)
	require.Len(t, plots, 3+3*4+1, "three over all, four a workload, and the pauses")
	all := looks(results.Compare(f))
	for name, svg := range plots {
		drawn := strokes(t, svg)
		for _, s := range threeSystems {
			if !strings.HasPrefix(name, "ratio-") || s != threeSystems[0] {
				require.NotZero(t, drawn[drawing.Hex(all[s].Color)], "%s in %s", s, name)
			}
		}
	}
	// Three rounds a system: a bold curve with its sample in the legend, and two faint ones.
	latencies := plots["publish-publish-latency"]
	require.Equal(t, 2, strokes(t, latencies)[drawing.Hex(all[threeSystems[0]].Color)])
	require.Equal(t, 2*len(threeSystems), strings.Count(latencies, "stroke-opacity:0.27"))
	for _, want := range append(threeSystems, f.Command, "Synthetic CPU", "not durable", "fdatasync", "round", "higher is better") {
		require.Contains(t, page, want)
	}
}

func TestPageAsksForNothing(t *testing.T) {
	page := html(t, sample(threeSystems, threeWorkloads, 1))
	for _, m := range regexp.MustCompile(`https?://[^"' )]+`).FindAllString(page, -1) {
		require.Contains(t, []string{"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}, m)
	}
	require.NotRegexp(t, `<(link|iframe|img)\b|src="|@import|url\(`, page)
}

func TestPageEscapesWhatAFileSays(t *testing.T) {
	f := sample([]string{`evil:<script>alert(1)</script>`, "b:c"}, []string{`<img src=x>"'`}, 1)
	f.Runs[0].About.Ack = "<b>trust me</b>"
	f.Runs[1].Verdict, f.Runs[1].Reasons = results.Failed, []string{"<i>no</i>"}
	page := html(t, f)
	for _, no := range []string{"<script>alert", "<img src=x", "<b>trust", "<i>no"} {
		require.NotContains(t, page, no)
	}
	paths, err := PNGs(t.TempDir(), []*results.File{f})
	require.NoError(t, err)
	require.NotContains(t, filepath.Base(paths[0]), "<")
}

func TestPageIsReadableWhateverIsMissing(t *testing.T) {
	empty := &results.File{Schema: 1, NotMeasured: []results.NotMeasured{{System: "kafka:default", Why: "no java"}}}
	page := html(t, empty)
	require.Contains(t, page, "no runs")
	require.Contains(t, page, "no java")
	require.Empty(t, svgs(t, page))
	html(t)

	failed := sample(threeSystems[:2], threeWorkloads, 2)
	for i := range failed.Runs {
		failed.Runs[i].Verdict, failed.Runs[i].Reasons = results.Failed, []string{"7 messages lost"}
		failed.Runs[i].Checked.Examples = []string{"producer 3 message 12"}
	}
	page = html(t, failed)
	require.Contains(t, page, "7 messages lost")
	require.Contains(t, page, "producer 3 message 12")
	require.Contains(t, page, "0 of 2 rounds ok")
	plots := svgs(t, page)
	require.Len(t, plots, 3, "only what happened over time")
	require.Contains(t, plots["publish-throughput"], "does not count")

	bare := &results.File{Runs: []results.Run{{System: "a:b", Workload: "w", Round: 1, Verdict: results.OK}}}
	require.Empty(t, svgs(t, html(t, bare)))

	bare.Runs[0].Publish = results.Latency{Count: 1} // a single one, in no time
	bare.Runs[0].Timeline = []results.Point{{At: 1, Published: 5}}
	bare.Runs[0].Faults = []results.Fault{{Led: 1}}
	bare.Runs[0].Cost = []results.Cost{{Node: 1, RSSMaxMiB: 1}}
	plots = svgs(t, html(t, bare))
	require.Len(t, plots, 4)
	for name, svg := range plots {
		require.NotZero(t, strokes(t, svg)[drawing.Hex(drawing.Hues[4])], name)
	}
}

func TestTwoFilesAreNotPaired(t *testing.T) {
	a, b := sample(threeSystems[:1], threeWorkloads[:1], 1), sample(threeSystems, threeWorkloads[:1], 1)
	page := html(t, a, b)
	require.Contains(t, page, "different times")
	require.Contains(t, page, "trunkline:default [B]")
	require.Contains(t, page, "~1.")
	require.NotContains(t, html(t, b), "different times")
}

func TestLargeComparisonIsASmallPage(t *testing.T) {
	six := append(threeSystems, "kafka:default", "kafka:flush-every-message", "rabbitmq:default")
	f := sample(six, many("workload", 20), 2)
	page := html(t, f)
	require.Less(t, len(page), 5<<20)
	require.Len(t, svgs(t, page), 3+20*4)
}

func TestPNGsAreNotBlank(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "plots")
	paths, err := PNGs(dir, []*results.File{sample(threeSystems, threeWorkloads[2:], 2)})
	require.NoError(t, err)
	require.Len(t, paths, 3+5)
	for _, path := range paths {
		in, err := os.Open(path)
		require.NoError(t, err)
		img, err := png.Decode(in)
		require.NoError(t, err)
		require.NoError(t, in.Close())
		require.Greater(t, img.Bounds().Dx(), 900, path)
		require.Greater(t, colours(img), 50, path)
	}
}

func colours(img image.Image) int {
	seen := map[[3]uint32]bool{}
	for y := img.Bounds().Min.Y; y < img.Bounds().Max.Y; y++ {
		for x := img.Bounds().Min.X; x < img.Bounds().Max.X; x++ {
			r, g, b, _ := img.At(x, y).RGBA()
			seen[[3]uint32{r, g, b}] = true
		}
	}
	return len(seen)
}

func TestTimelineShowsEveryDip(t *testing.T) {
	r := &results.Run{}
	for i := range 3000 {
		rate := 100.0
		if i == 1234 {
			rate = 0
		}
		r.Timeline = append(r.Timeline, results.Point{At: float64(i + 1), Published: rate})
	}
	line := timeline{run: r}.line(published)
	require.LessOrEqual(t, len(line.XYs), maxSteps+1)
	least := 100.0
	for _, pt := range line.XYs {
		least = min(least, pt.Y)
	}
	require.Equal(t, 80.0, least, "one second of five without any")
}

func TestScales(t *testing.T) {
	require.InDelta(t, 1, nines(90, 1000), 1e-9)
	require.InDelta(t, 3, nines(99.9, 1_000_000), 1e-9)
	require.InDelta(t, 3, nines(100, 1000), 1e-9, "the largest of a thousand is the 99.9th")
	r := drawing.LogRange{Floor: 1}
	r.Hold(0)
	r.Hold(3000)
	r.Widen()
	require.LessOrEqual(t, r.Lo, 0.0)
	require.Greater(t, r.Hi, 3.4)
	all, end := drawing.FromZero(230_000, 5, drawing.ShortCount)
	require.Equal(t, 250_000.0, end)
	require.Equal(t, "50 k", all[1].Label)
}
