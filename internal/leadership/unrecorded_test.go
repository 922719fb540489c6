// SPDX-License-Identifier: Apache-2.0

package leadership

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// listedUIDs are those that the mark of the Lease lists.
func listedUIDs(t *testing.T, c client.Client) string {
	t.Helper()
	l := current(t, c)
	*l.Spec.LeaseTransitions++
	mark, _ := readDrainedMark(l)
	uids := make([]string, len(mark.UIDs))
	for i, uid := range mark.UIDs {
		uids[i] = string(uid)
	}
	return strings.Join(uids, ",")
}

// acquireAgain has the Lease acquired by the next process, as the elector does.
func acquireAgain(t *testing.T, c client.Client) {
	t.Helper()
	l := current(t, c)
	*l.Spec.LeaseTransitions++
	if err := c.Update(t.Context(), l); err != nil {
		t.Fatal(err)
	}
}

// pile returns n messages of a namespace.
func pile(n int, namespace string) map[types.UID]string {
	all := map[types.UID]string{}
	for i := range n {
		all[types.UID(fmt.Sprintf("%08d-0000-4000-8000-%012d", len(namespace), i))] = namespace
	}
	return all
}

// piles returns as many messages of each of n namespaces with names of the longest kind.
func piles(n, each int) map[types.UID]string {
	all := map[types.UID]string{}
	for i := range n {
		for j := range each {
			all[types.UID(fmt.Sprintf("%08d-0000-4000-8000-%012d", i, j))] = fmt.Sprintf("%s%012d", strings.Repeat("n", 51), i)
		}
	}
	return all
}

// TestUnrecorded: the next leader asks first for the messages that could not be recorded. Where they are too many to be
// named, it asks first for the namespaces that have most of them: a tenant's pile costs no other tenant anything.
func TestUnrecorded(t *testing.T) {
	join := func(all ...map[types.UID]string) map[types.UID]string {
		joined := map[types.UID]string{}
		for _, m := range all {
			maps.Copy(joined, m)
		}
		return joined
	}
	tests := map[string]struct {
		messages                 map[types.UID]string
		wantUIDs, wantNamespaces int
		wantUnclean              bool
	}{
		"none":                              {},
		"one":                               {messages: pile(1, "a"), wantUIDs: 1},
		"as many as can be named":           {messages: pile(1000, "a"), wantUIDs: 1000},
		"more than can be named":            {messages: pile(1001, "a"), wantNamespaces: 1},
		"many of one tenant, few of others": {messages: join(pile(50_000, "a"), pile(300, "bb"), pile(700, "ccc")), wantUIDs: 1000, wantNamespaces: 1},
		"many of several":                   {messages: join(pile(5000, "a"), pile(2000, "bb"), pile(3, "ccc")), wantUIDs: 3, wantNamespaces: 2},
		"of as many namespaces as possible": {messages: piles(1333, 3), wantUIDs: 999, wantNamespaces: 1000},
		"of too many namespaces":            {messages: piles(1334, 3), wantUnclean: true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, interceptor.Funcs{List: listAs("77")}, lease(taken))
			if err := inOffice(c, true).MarkDrained(t.Context(), tc.messages); (err != nil) != tc.wantUnclean {
				t.Fatalf("MarkDrained: %v", err)
			}
			marked := current(t, c).Annotations
			if size := len(marked[DrainedExceptAnnotation]); size > 110<<10 {
				t.Errorf("the annotation has %d bytes", size)
			}
			// An older version knows only this one.
			if _, drained := marked[DrainedAnnotation]; drained != (len(tc.messages) == 0) {
				t.Errorf("drained for an older version: %v", drained)
			}
			acquireAgain(t, c)
			term, err := tracker(c).begin(t.Context())
			if err != nil || term.Clean == tc.wantUnclean || term.Version != "77" {
				t.Fatalf("%+v: %v", term, err)
			}
			if u := term.Unrecorded; len(u.UIDs) != tc.wantUIDs || len(u.Namespaces) != tc.wantNamespaces {
				t.Errorf("%d UIDs, namespaces %v", len(u.UIDs), sets.List(u.Namespaces))
			}
			m := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(created.Add(-time.Hour))}}
			for m.UID, m.Namespace = range tc.messages {
				if !term.MayBeSent(m) {
					t.Fatalf("%s of %s is not asked about", m.UID, m.Namespace)
				}
			}
			m.UID, m.Namespace = "other", "other"
			if term.MayBeSent(m) != tc.wantUnclean {
				t.Error("another tenant's message is asked about")
			}
			for m.UID, m.Namespace = range tc.messages {
				m.CreationTimestamp = metav1.NewTime(time.Now().Add(time.Hour))
				if term.MayBeSent(m) {
					t.Fatal("a later message is asked about")
				}
			}
			if _, still := current(t, c).Annotations[DrainedExceptAnnotation]; still {
				t.Error("the next leader finds the mark as well")
			}
		})
	}
}

// TestUnprovenStayUnproven: messages that wait behind others are listed at each hand-over, as their status does not show
// what an earlier leader has done. They make none unclean.
func TestUnprovenStayUnproven(t *testing.T) {
	old := metav1.NewTime(created.Add(-time.Hour))
	var objects []client.Object
	for i := range 1500 {
		objects = append(objects, &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{
			Namespace: "pile", Name: fmt.Sprintf("m-%d", i), UID: types.UID(fmt.Sprintf("pile-%d", i)), CreationTimestamp: old,
		}})
	}
	other := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "m", UID: "other", CreationTimestamp: old}}
	c := newClient(t, interceptor.Funcs{}, append(objects, other, lease(taken))...)
	leader := inOffice(c, false)
	for term := range 3 {
		if err := leader.MarkDrained(t.Context(), nil); err != nil {
			t.Fatalf("term %d: %v", term, err)
		}
		acquireAgain(t, c)
		next, err := tracker(c).begin(t.Context())
		if err != nil || !next.Clean || !next.Unrecorded.Has(objects[7].(*v1alpha1.TeamTalkMessage)) || !next.Unrecorded.Has(other) {
			t.Fatalf("term %d: %+v, %v", term, next, err)
		}
		if len(next.Unrecorded.UIDs) != 1 {
			t.Errorf("term %d: %d UIDs", term, len(next.Unrecorded.UIDs))
		}
		leader = inOffice(c, true)
		leader.term.Unrecorded = next.Unrecorded
	}
}

// TestMarkOfAnotherTerm: a mark that is not understood, or that a version which does not know it has left there, means
// nothing, and is removed.
func TestMarkOfAnotherTerm(t *testing.T) {
	const valid = `{"version":"77","leaseTransitions":%d,"uids":["m"]}`
	tests := map[string]struct {
		value     string
		wantClean bool
	}{
		"of the last term":    {fmt.Sprintf(valid, 4), true},
		"of the term before":  {fmt.Sprintf(valid, 3), false},
		"of this term":        {fmt.Sprintf(valid, 5), false},
		"empty":               {"", false},
		"not JSON":            {"m,n", false},
		"of nothing":          {`{"version":"77","leaseTransitions":4}`, false},
		"of a later version":  {`{"version":"77","leaseTransitions":4,"uids":["m"],"servers":["chat/tt"]}`, false},
		"of another type":     {`{"version":"77","leaseTransitions":4,"uids":"m"}`, false},
		"without transitions": {`{"version":"77","uids":["m"]}`, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, interceptor.Funcs{}, lease(func(l *coordinationv1.Lease) {
				*l.Spec.LeaseTransitions = 5
				l.Annotations = map[string]string{DrainedExceptAnnotation: tc.value, "other": "stays"}
			}))
			term, err := tracker(c).begin(t.Context())
			if err != nil || term.Clean != tc.wantClean || term.Unrecorded.isEmpty() == tc.wantClean {
				t.Errorf("%+v: %v", term, err)
			}
			if names := slices.Collect(maps.Keys(current(t, c).Annotations)); !slices.Equal(names, []string{"other"}) {
				t.Errorf("the Lease has %v", names)
			}
		})
	}
}
