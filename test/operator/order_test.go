package operator

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestOrderOfCreation creates messages of random names to one group, one after
// the other: several within each second. They are stored in that order, although
// several workers take them up.
func TestOrderOfCreation(t *testing.T) {
	x := newTenant(t).withServer()
	x.createInOrder(200)
	x.wantOrder(200)
}

// TestOrderAfterStart does the same while no operator runs: the one that starts
// learns of all at once, in no order.
func TestOrderAfterStart(t *testing.T) {
	x := newTenant(t).withServer()
	warm := x.message("warm", "up", toGroups(x.oncall))
	x.create(warm)
	x.awaitDelivered(warm)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	x.must(world.operator.Stop(ctx))
	x.createInOrder(200)
	x.restart()
	x.wantOrder(200)
}

// TestOrderOnceUsable does the same before their server exists: all wait for it,
// and go on together.
func TestOrderOnceUsable(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.createInOrder(100)
	x.withServer()
	x.wantOrder(100)
}

func (x *tenant) createInOrder(n int) {
	x.t.Helper()
	for i := range n {
		x.create(x.message(fmt.Sprintf("m-%016x", rand.Uint64()), fmt.Sprintf("number %d", i), toGroups(x.oncall)))
	}
}

// wantOrder waits until n messages of createInOrder are stored, and checks that
// TeamTalk's ids rise from one to the next.
func (x *tenant) wantOrder(n int) {
	x.t.Helper()
	var rows []storedMessage
	// One after the other: a loaded machine takes its time.
	x.eventually(5*patience, func() string { return fmt.Sprintf("the store holds %d messages", len(rows)) },
		func(context.Context) (bool, error) {
			rows = slices.DeleteFunc(x.rows(), func(r storedMessage) bool { return r.Text == "up" })
			return len(rows) >= n, nil
		})
	slices.SortFunc(rows, func(a, b storedMessage) int { return cmp.Compare(a.MsgID, b.MsgID) })
	violations := 0
	for i, row := range rows {
		if row.Text != fmt.Sprintf("number %d", i) {
			violations++
		}
	}
	if len(rows) != n || violations > 0 {
		x.t.Errorf("%d messages are stored, %d of them out of order", len(rows), violations)
	}
}
