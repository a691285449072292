// Package report makes of results files what people look at: one self-contained HTML page, a PNG of every plot, and the README's
// table. It measures nothing and decides nothing: every figure and ratio is that of results.Compare.
//
// Plots and page are drawn with the kit of package drawing. A driver has one hue, its profiles are shades of it, and a second file is
// dashed; so a system looks the same in every plot.
//
// Bounds: a curve has at most maxPoints points whatever the file holds, so twenty workloads on six systems stay under 5 MB.
package report
