// SPDX-License-Identifier: Apache-2.0

package fairqueue

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// item of the tests: where it waits, and what it is.
type item struct{ flow, value string }

// push adds items that are written as tenant[/flow]:value.
func push(q *Queue[item], items string) (handles []*Item[item]) {
	for i := range strings.FieldsSeq(items) {
		name, value, _ := strings.Cut(i, ":")
		tenant, flow, _ := strings.Cut(name, "/")
		handles = append(handles, q.Push(Flow{tenant, flow}, item{name, value}))
	}
	return handles
}

// drain returns what Next returns, until there is nothing that fits.
func drain(q *Queue[item], fits func(item) bool) string {
	var got []string
	for i, ok := q.Next(fits); ok; i, ok = q.Next(fits) {
		got = append(got, i.flow+":"+i.value)
	}
	return strings.Join(got, " ")
}

func TestNext(t *testing.T) {
	cases := map[string]struct {
		before func(a, b item) bool
		push   string
		remove []int
		fits   func(item) bool
		want   string
		left   int
	}{
		"nothing":             {},
		"first in, first out": {push: "a:1 a:2 a:3", want: "a:1 a:2 a:3"},
		"tenants take turns":  {push: "a:1 a:2 a:3 b:1 c:1 c:2", want: "a:1 b:1 c:1 a:2 c:2 a:3"},
		"flows share the turns of their tenant": {
			push: "a/x:1 a/x:2 a/y:1 a/z:1 b:1 b:2 b:3 b:4", want: "a/x:1 b:1 a/y:1 b:2 a/z:1 b:3 a/x:2 b:4",
		},
		"an order of their own": {
			before: func(a, b item) bool { return a.value < b.value },
			push:   "a:3 a:1 b:9 a:2 b:8", want: "a:1 b:8 a:2 b:9 a:3",
		},
		"equal in that order": {
			before: func(a, b item) bool { return a.value[:1] < b.value[:1] },
			push:   "a:2x a:1z a:2y a:1x a:1y", want: "a:1z a:1x a:1y a:2x a:2y",
		},
		"removed":                    {push: "a:1 a:2 b:1 a:3", remove: []int{1, 2}, want: "a:1 a:3"},
		"all removed, and one twice": {push: "a:1 b:1", remove: []int{0, 1, 0}},
		"what does not fit holds back its flow only": {
			push: "a/x:big a/x:1 a/y:1 b:big c:1", want: "a/y:1 c:1", left: 3,
			fits: func(i item) bool { return i.value != "big" },
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			q := New(tc.before)
			handles := push(q, tc.push)
			removed := map[int]bool{}
			for _, i := range tc.remove {
				if got := q.Remove(handles[i]); got == removed[i] {
					t.Errorf("Remove(%d): %v", i, got)
				}
				removed[i] = true
			}
			if got := drain(q, tc.fits); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			if q.Len() != tc.left {
				t.Errorf("%d left, want %d", q.Len(), tc.left)
			}
		})
	}
}

// TestOneAtATime: a tenant that pushes one item after the other waits for one item of each other tenant at most.
func TestOneAtATime(t *testing.T) {
	var q Queue[item]
	push(&q, strings.Repeat("bulk:x ", 1000))
	for range 100 {
		push(&q, "single:1")
		first, _ := q.Next(nil)
		second, _ := q.Next(nil)
		if first.flow != "single" && second.flow != "single" {
			t.Fatalf("the single item waits behind %v and %v", first, second)
		}
	}
}

// TestTakenOnce: each item is returned or removed, once. Nothing is kept of flows and tenants that are empty.
func TestTakenOnce(t *testing.T) {
	q := New(func(a, b int) bool { return a%7 < b%7 })
	var handles []*Item[int]
	taken := map[int]bool{}
	take := func(v int) {
		if taken[v] {
			t.Fatalf("%d is taken twice", v)
		}
		taken[v] = true
	}
	const n = 10_000
	for v := range n {
		handles = append(handles, q.Push(Flow{string(rune('a' + rand.N(9))), string(rune('a' + rand.N(3)))}, v))
		switch rand.N(3) {
		case 0:
			if h := handles[rand.N(len(handles))]; q.Remove(h) {
				take(h.Value)
			}
		case 1:
			if v, ok := q.Next(func(v int) bool { return v%5 != 0 }); ok {
				take(v)
			}
		}
	}
	for v, ok := q.Next(nil); ok; v, ok = q.Next(nil) {
		take(v)
	}
	if len(taken) != n || q.Len() != 0 || len(q.byFlow)+len(q.byName)+q.tenants.Len() != 0 {
		t.Errorf("%d taken of %d, %d left; %v", len(taken), n, q.Len(), q)
	}
	if slices.ContainsFunc(handles, q.Remove) {
		t.Error("an item is removed that has been taken")
	}
}
