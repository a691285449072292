// Package drawing is the kit that the bench's reports are drawn with: a plot with a head and a legend, axes in one style, panels with a
// time axis in common, and what a page needs around them.
//
// A plot is drawn once, by a function that takes a canvas; the same function draws the SVG of a page and the PNG. A page asks the
// network for nothing, and its plots follow its light or dark theme: the inks are replaced by the page's own.
//
// Nothing here is shared between goroutines. A Drawing holds what its body holds; Column and Spans draw no more than can be told apart.
package drawing
