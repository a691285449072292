package report

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// unreadable finds, in every plot of the page, texts that lie over each other or reach out of the plot, and texts below its button.
const unreadable = `(() => {
  const bad = [];
  for (const figure of document.querySelectorAll("figure")) {
    const name = figure.dataset.name, svg = figure.querySelector("svg"), frame = svg.getBoundingClientRect();
    const boxes = [...svg.querySelectorAll("text")].filter(t => t.textContent.trim()).map(t => [t.textContent.trim(), t.getBoundingClientRect()]);
    boxes.push(["the PNG button", figure.querySelector("button").getBoundingClientRect()]);
    boxes.forEach(([text, a], i) => {
      if (i < boxes.length - 1 && (a.left < frame.left - 1 || a.right > frame.right + 1 || a.top < frame.top - 1 || a.bottom > frame.bottom + 1))
        bad.push(name + ": cut: " + text);
      for (const [other, b] of boxes.slice(i + 1)) {
        // The box of a text is higher than its letters: a quarter of it may be shared.
        const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top), wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        if (wide > 1 && high > Math.min(a.height, b.height) / 4) bad.push(name + ": " + text + " over " + other);
      }
    });
  }
  if (document.documentElement.scrollWidth > innerWidth) bad.push("the page is wider than its window");
  return bad;
})()`

// TestPageInABrowser looks at a page as a reader does, at the width of a desktop and of a telephone, and presses every button.
func TestPageInABrowser(t *testing.T) {
	dir := t.TempDir()
	page := filepath.Join(dir, "report.html")
	f := sample(append(threeSystems, "kafka:flush-every-message"), threeWorkloads, 3)
	require.NoError(t, os.WriteFile(page, []byte(html(t, f)), 0o600))
	inABrowser(t, page)
}

// TestGivenPageInABrowser does the same with a page that TRUNKBENCH_PAGE names.
func TestGivenPageInABrowser(t *testing.T) {
	page := os.Getenv("TRUNKBENCH_PAGE")
	if page == "" {
		t.Skip("set TRUNKBENCH_PAGE to look at a report")
	}
	inABrowser(t, page)
}

func inABrowser(t *testing.T, page string) {
	downloads := t.TempDir()
	b := browse(t, page, downloads)
	for _, width := range []int{1360, 400} {
		b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false}, nil)
		var bad []string
		b.eval(unreadable, &bad)
		require.Empty(t, bad, "at a width of %d", width)
	}
	var names []string
	b.eval(`[...document.querySelectorAll("figure")].map(f => f.dataset.name)`, &names)
	require.NotEmpty(t, names)
	var img image.Image
	for i, name := range names {
		b.eval(fmt.Sprintf(`document.querySelectorAll("figure button")[%d].click()`, i), nil)
		path := filepath.Join(downloads, name+".png")
		// The file is there before all of it is.
		require.Eventually(t, func() bool { img = decode(path); return img != nil }, 10*time.Second, 10*time.Millisecond, path)
		require.Greater(t, img.Bounds().Dx(), 900, path)
		require.Greater(t, colours(img), 50, "%s is blank", path)
	}
}

// decode returns the picture in a file; nil: there is none, or not all of it.
func decode(path string) image.Image {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil
	}
	return img
}
