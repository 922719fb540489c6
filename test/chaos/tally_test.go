package main

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
)

// TestJudge shows what each disagreement of store and resource counts as.
func TestJudge(t *testing.T) {
	object := func(state v1alpha1.RecipientState, reason, finished string, ids ...int64) *v1alpha1.TeamTalkMessage {
		o := &v1alpha1.TeamTalkMessage{}
		o.Status.Recipients = []v1alpha1.RecipientStatus{{State: state, Reason: reason, MessageIDs: ids}}
		o.Status.Counts = &v1alpha1.RecipientCounts{Recipients: 1}
		conditions := []string{v1alpha1.ConditionFinished}
		if state == v1alpha1.StateRouted {
			o.Status.Counts.Stored = 1
			conditions = append(conditions, v1alpha1.ConditionDelivered)
		} else {
			o.Status.Counts.Failed = 1
		}
		for _, c := range conditions {
			o.Status.Conditions = append(o.Status.Conditions, metav1.Condition{Type: c, Status: metav1.ConditionStatus(finished)})
		}
		return o
	}
	good := object(v1alpha1.StateRouted, "", "True", 5)
	miscounted := object(v1alpha1.StateRouted, "", "True", 5)
	miscounted.Status.Counts.Stored = 0
	type counts struct{ missing, duplicated, unexpected, problems int }
	tests := map[string]struct {
		want   fate
		rows   []uint32
		object *v1alpha1.TeamTalkMessage
		counts counts
	}{
		"delivered":                    {delivered, []uint32{5}, good, counts{}},
		"delivered and not stored":     {delivered, nil, good, counts{missing: 1}},
		"stored three times":           {delivered, []uint32{5, 6, 7}, good, counts{duplicated: 2}},
		"stored under another id":      {delivered, []uint32{6}, good, counts{problems: 1}},
		"counted otherwise":            {delivered, []uint32{5}, miscounted, counts{problems: 1}},
		"failed, and stored":           {delivered, []uint32{5}, object(v1alpha1.StateFailed, v1alpha1.ReasonRetriesExhausted, "True"), counts{unexpected: 1, problems: 1}},
		"failed":                       {delivered, nil, object(v1alpha1.StateFailed, v1alpha1.ReasonRetriesExhausted, "True"), counts{missing: 1, problems: 1}},
		"unknown, and stored":          {delivered, []uint32{5}, object(v1alpha1.StateFailed, v1alpha1.ReasonOutcomeUnknown, "True"), counts{problems: 1}},
		"not finished":                 {delivered, []uint32{5}, object(v1alpha1.StateRouted, "", "False", 5), counts{problems: 1}},
		"without a resource":           {delivered, []uint32{5}, nil, counts{problems: 1}},
		"deleted":                      {atMostOnce, nil, nil, counts{}},
		"deleted when it was stored":   {atMostOnce, []uint32{5}, nil, counts{}},
		"deleted, and stored twice":    {atMostOnce, []uint32{5, 6}, nil, counts{duplicated: 1}},
		"neither stored nor finished":  {delivered, nil, object(v1alpha1.StateInDoubt, v1alpha1.ReasonNoAnswer, "False"), counts{missing: 1, problems: 1}},
		"finished without a recipient": {delivered, []uint32{5}, &v1alpha1.TeamTalkMessage{}, counts{problems: 1}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w, got := &world{}, &tally{}
			w.judge(got, &message{number: 1, want: tc.want}, tc.rows, tc.object)
			if c := (counts{got.missing, got.duplicated, got.unexpected, len(got.problems)}); c != tc.counts {
				t.Errorf("counted %+v, want %+v: %q", c, tc.counts, got.problems)
			}
		})
	}
}

// TestCountRoutes shows how many announcements of a message are too few or too many.
func TestCountRoutes(t *testing.T) {
	tests := map[string]struct {
		announced           int
		takeovers, cuts     int
		adopted, lost       bool
		stored              []uint32
		missing, repeatedBy int
	}{
		"once":                         {announced: 1, stored: []uint32{1}},
		"never":                        {stored: []uint32{1}, missing: 1},
		"never, and lost on the way":   {stored: []uint32{1}, lost: true},
		"never, and never stored":      {},
		"three times":                  {announced: 3, stored: []uint32{1}, repeatedBy: 2},
		"twice, adopted":               {announced: 2, stored: []uint32{1}, adopted: true},
		"three times, adopted":         {announced: 3, stored: []uint32{1}, adopted: true, repeatedBy: 1},
		"twice, after a takeover":      {announced: 2, stored: []uint32{1}, takeovers: 1},
		"twice, after a cut":           {announced: 2, stored: []uint32{1}, cuts: 1},
		"never, after a cut":           {stored: []uint32{1}, cuts: 1, missing: 1},
		"four times, after a takeover": {announced: 4, stored: []uint32{1}, takeovers: 1, repeatedBy: 2},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, got := &world{unrouted: map[int]bool{1: tc.lost}}, &tally{}
			w.takeovers, w.cuts = tc.takeovers, tc.cuts
			w.messages = []*message{{number: 1}}
			w.peer = &peer{counts: map[int]int{1: tc.announced}}
			w.countRoutes(t.Context(), got, stored{1: tc.stored}, func(*message) bool { return tc.adopted })
			if got.routesMissing != tc.missing || got.routesRepeated != tc.repeatedBy {
				t.Errorf("missing %d, repeated %d", got.routesMissing, got.routesRepeated)
			}
		})
	}
}

// TestNumbers shows which texts are a scenario's own.
func TestNumbers(t *testing.T) {
	w := &world{id: "r", target: &target{keys: []string{devserver.DevelopmentKey}}}
	w.name = "s"
	for text, want := range map[string]struct {
		number int
		own    bool
	}{
		w.text(7):         {7, true},
		"chaos r s #x":    {nobodys, true},
		"chaos r other #": {0, false},
		"hello":           {0, false},
	} {
		c, err := w.cipher(devserver.DevelopmentKey)
		if err != nil {
			t.Fatal(err)
		}
		if number, own := w.numberIn(c.Encrypt([]byte(text))); number != want.number || own != want.own {
			t.Errorf("%q: %d %t, want %+v", text, number, own, want)
		}
	}
	if _, own := w.numberIn([]byte("no ciphertext")); own {
		t.Error("what does not open is taken for the scenario's own")
	}
}
