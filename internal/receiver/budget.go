// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"strings"
)

// Bounds of what a template may take. A template comes from whoever may write
// receivers, the data from whoever may post: neither may hold the process up. They are
// counted, not timed: a text depends on its template and its data, and not on what else
// a machine has to do.
const (
	maxSteps = 20_000 // iterations of loops, branches, calls of templates and functions
	// maxMade is how many bytes functions have made, and those that one needs for the
	// while that it works.
	maxMade = 4 << 20
	// maxWork is what one execution does, and maxTextWork what all do that it takes to
	// find out how many alerts fit. A unit is some 10 ns at the most: a byte that is
	// read or written a few times.
	maxWork     = 8 << 20
	maxTextWork = 4 * maxWork
	// maxNesting is how deep blocks, parentheses and calls of templates are in each
	// other: the goroutine's stack grows with it.
	maxNesting = 1000
)

// What things cost, in units of work.
const (
	workNode  = 16  // one node of a template
	workCall  = 128 // one call of a function
	workValue = 16  // one value, within others
)

var (
	// errBudget ends an execution that takes too much.
	errBudget = errors.New("it takes too long, or makes too much")
	// errLong ends one whose output is longer than asked for.
	errLong = errors.New("it makes too long a text")
	// errNesting ends one that goes too deep.
	errNesting = errors.New("blocks, or templates that call each other, are too deep in each other")
)

// purse is what all executions for one text may still do.
type purse struct{ work int }

// newPurse returns a full one.
func newPurse() *purse { return &purse{work: maxTextWork} }

// budget is what an execution may still take. It takes the output. Whatever costs is
// paid for before it is done.
type budget struct {
	ctx   context.Context
	purse *purse
	// work is left, steps and made are taken; nesting is how deep it is.
	work, steps, made, nesting int
	// limit is how long the output may be.
	limit int
	out   strings.Builder
	// alerts and labels are what methods of the data cost.
	alerts, labels methodCost
	expressions    map[string]*expression
	// stopped is why nobody waits for the text any more.
	stopped error
}

// Write implements io.Writer. It takes what there is room for.
func (b *budget) Write(p []byte) (int, error) {
	if room := b.limit - b.out.Len(); len(p) > room {
		n, _ := b.out.Write(p[:room])
		return n, errLong
	}
	return b.out.Write(p)
}

// step counts a step, and ends what nobody waits for any more.
func (b *budget) step() error {
	if err := b.ctx.Err(); err != nil {
		b.stopped = fmt.Errorf("the request ends before its text is made: %w", err)
		return b.stopped
	}
	if b.steps++; b.steps > maxSteps {
		return errBudget
	}
	return nil
}

// spend pays for work.
func (b *budget) spend(work int) error {
	if work < 0 || work > b.work || work > b.purse.work {
		b.work = 0
		return errBudget
	}
	b.work -= work
	b.purse.work -= work
	return nil
}

// hold pays for memory, and for what it takes to fill it.
func (b *budget) hold(bytes int) error {
	if bytes < 0 || bytes > maxMade-b.made {
		return errBudget
	}
	b.made += bytes
	return b.spend(bytes / 4)
}

// release gives back what held too much, once it is known what was made.
func (b *budget) release(held, made int) {
	b.made -= max(0, held-made)
}

// making pays for a text of at most so many bytes, has it made, and gives back what it
// is shorter.
func (b *budget) making(most int, text func() string) (string, error) {
	if err := b.hold(most); err != nil {
		return "", err
	}
	made := text()
	b.release(most, len(made))
	return made, nil
}

// methodCost is what a method of the data costs, at the most.
type methodCost struct{ work, made int }

// costs finds out what the methods of a notification's alerts and labels cost.
func costs(n *Notification) (alerts, labels methodCost) {
	names, bytes := 0, 0
	weigh := func(kv KV) {
		names, bytes = max(names, len(kv)), max(bytes, namesOf(kv))
	}
	for _, kv := range []KV{n.GroupLabels, n.CommonLabels, n.CommonAnnotations} {
		weigh(kv)
	}
	for i := range n.Alerts {
		weigh(n.Alerts[i].Labels)
		weigh(n.Alerts[i].Annotations)
	}
	const alert, pair = 160, 96 // bytes, with what is left over where lists grow
	alerts = methodCost{work: len(n.Alerts) * alert / 4, made: 2 * len(n.Alerts) * alert}
	labels = methodCost{work: sorting(names, bytes) + maxRemoved*(workValue+bytes/16), made: names * pair}
	return alerts, labels
}

// sorting is what it costs to sort so many names of so many bytes in all.
func sorting(names, bytes int) int {
	return (names*workValue + bytes) * (bits.Len(uint(names)) + 1)
}
