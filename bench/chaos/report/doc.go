// Package report makes of the results of chaos runs what people look at: a page of each run, which shows in one glance what was done
// and what held, and an overview of a matrix of runs.
//
// A page is made from result.json and from nothing else, so that a stored result gives the same page; it asks the network for nothing.
// It decides nothing: whether a promise held is what the result says.
//
// A result that broke off is shown as far as it came. What was not checked is shown as such and never as kept.
//
// Bounds: a curve has at most maxPoints points and bands that overlap are one, so that an hour with a thousand faults stays below 2 MB.
package report
