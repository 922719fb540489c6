// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// TestJudge checks how each difference between store and status is counted.
func TestJudge(t *testing.T) {
	object := func(state v1alpha1.RecipientState, reason, finished string, ids ...int64) *v1alpha1.TeamTalkMessage {
		o := &v1alpha1.TeamTalkMessage{}
		o.Status.Recipients = []v1alpha1.RecipientStatus{{Type: v1alpha1.RecipientUser, ID: 3, State: state, Reason: reason, MessageIDs: ids}}
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
	type counts struct{ missing, duplicated, unexpected, unknown, problems int }
	tests := map[string]struct {
		want      fate
		notBefore time.Time
		rows      []uint32
		object    *v1alpha1.TeamTalkMessage
		counts    counts
	}{
		"delivered":                     {rows: []uint32{5}, object: good},
		"delivered and not stored":      {object: good, counts: counts{missing: 1}},
		"stored three times":            {rows: []uint32{5, 6, 7}, object: good, counts: counts{duplicated: 2}},
		"stored under another id":       {rows: []uint32{6}, object: good, counts: counts{problems: 1}},
		"counted otherwise":             {rows: []uint32{5}, object: miscounted, counts: counts{problems: 1}},
		"failed, and stored":            {rows: []uint32{5}, object: object(v1alpha1.StateFailed, v1alpha1.ReasonRetriesExhausted, "True"), counts: counts{unexpected: 1, problems: 1}},
		"failed":                        {object: object(v1alpha1.StateFailed, v1alpha1.ReasonRetriesExhausted, "True"), counts: counts{missing: 1, problems: 1}},
		"unknown, and stored":           {rows: []uint32{5}, object: object(v1alpha1.StateFailed, v1alpha1.ReasonOutcomeUnknown, "True"), counts: counts{unknown: 1, problems: 1}},
		"not finished":                  {rows: []uint32{5}, object: object(v1alpha1.StateRouted, "", "False", 5), counts: counts{problems: 1}},
		"without a resource":            {rows: []uint32{5}, counts: counts{problems: 1}},
		"before its time":               {notBefore: time.Unix(1001, 0), rows: []uint32{5}, object: good, counts: counts{unexpected: 1}},
		"at its time":                   {notBefore: time.Unix(1000, 0), rows: []uint32{5}, object: good},
		"deleted":                       {want: atMostOnce},
		"deleted when it was stored":    {want: atMostOnce, rows: []uint32{5}},
		"deleted, and stored twice":     {want: atMostOnce, rows: []uint32{5, 6}, counts: counts{duplicated: 1}},
		"expired":                       {want: expired, rows: []uint32{5}},
		"expired, and not stored":       {want: expired, counts: counts{missing: 1}},
		"expired, and sent again":       {want: expired, rows: []uint32{5, 6}, counts: counts{duplicated: 1}},
		"not expired":                   {want: expired, rows: []uint32{5}, object: good, counts: counts{problems: 1}},
		"refused":                       {want: refused, object: object(v1alpha1.StateFailed, v1alpha1.ReasonKeyReused, "True")},
		"refused, and stored":           {want: refused, rows: []uint32{5}, object: object(v1alpha1.StateFailed, v1alpha1.ReasonKeyReused, "True"), counts: counts{unexpected: 2}},
		"refused, and reported as sent": {want: refused, object: good, counts: counts{missing: 1}},
		"refused for another reason":    {want: refused, object: object(v1alpha1.StateFailed, v1alpha1.ReasonRetriesExhausted, "True"), counts: counts{problems: 1}},
		"neither stored nor finished":   {object: object(v1alpha1.StateInDoubt, v1alpha1.ReasonNoAnswer, "False"), counts: counts{missing: 1, unknown: 1, problems: 1}},
		"refused in doubt":              {want: refused, object: object(v1alpha1.StateFailed, v1alpha1.ReasonOutcomeUnknown, "True"), counts: counts{unknown: 1, problems: 1}},
		"posted":                        {want: posted, rows: []uint32{5}},
		"posted, and not stored":        {want: posted, counts: counts{missing: 1}},
		"posted, and stored twice":      {want: posted, rows: []uint32{5, 6}, counts: counts{duplicated: 1}},
		"outside of the promise":        {want: undetermined, rows: []uint32{5, 6}, object: object(v1alpha1.StateFailed, v1alpha1.ReasonOutcomeUnknown, "True")},
		"finished without a recipient":  {rows: []uint32{5}, object: &v1alpha1.TeamTalkMessage{}, counts: counts{problems: 1}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w, got := &world{}, &tally{}
			m, rows := &message{number: 1, want: tc.want, notBefore: tc.notBefore, to: []recipient{{id: 3}}}, stored{}
			for _, id := range tc.rows {
				rows[m.pieces()[0]] = append(rows[m.pieces()[0]], row{id: id, at: 1000, text: w.text(1)})
			}
			w.judge(got, m, rows, tc.object)
			if c := (counts{got.Missing, got.Duplicated, got.Unexpected, got.unknown, len(got.problems)}); c != tc.counts {
				t.Errorf("counted %+v, want %+v: %q", c, tc.counts, got.problems)
			}
		})
	}
}

// TestJudgeSegments compares the segments of a text, for each of several recipients.
func TestJudgeSegments(t *testing.T) {
	o := &v1alpha1.TeamTalkMessage{}
	o.Status.Recipients = []v1alpha1.RecipientStatus{
		{Type: v1alpha1.RecipientUser, ID: 3, State: v1alpha1.StateRouted, MessageIDs: []int64{5, 6}},
		{Type: v1alpha1.RecipientGroup, ID: 3, State: v1alpha1.StateRouted, MessageIDs: []int64{1, 2}},
	}
	o.Status.Counts = &v1alpha1.RecipientCounts{Recipients: 2, Stored: 2}
	o.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionFinished, Status: "True"}, {Type: v1alpha1.ConditionDelivered, Status: "True"}}
	w := &world{segments: 2}
	m := &message{number: 1, segments: 2, to: []recipient{{id: 3}, {group: true, id: 3}}}
	head, tail, _ := strings.Cut(w.text(1), "\n") // what is cut at is left out
	good := func() stored {
		return stored{
			{number: 1, segment: 0, to: m.to[0]}: {{id: 5, text: head}}, {number: 1, segment: 1, to: m.to[0]}: {{id: 6, text: tail}},
			{number: 1, segment: 0, to: m.to[1]}: {{id: 1, text: head}}, {number: 1, segment: 1, to: m.to[1]}: {{id: 2, text: tail}},
		}
	}
	type counts struct{ missing, duplicated, problems int }
	for name, tc := range map[string]struct {
		change func(stored)
		want   counts
	}{
		"all there":                {func(stored) {}, counts{}},
		"a segment is missing":     {func(s stored) { delete(s, piece{number: 1, segment: 1, to: m.to[1]}) }, counts{missing: 1}},
		"a segment is there twice": {func(s stored) { s[piece{number: 1, segment: 0, to: m.to[0]}] = []row{{id: 5}, {id: 9}} }, counts{duplicated: 1}},
		"a segment is another":     {func(s stored) { s[piece{number: 1, segment: 1, to: m.to[0]}] = []row{{id: 6, text: head}} }, counts{problems: 1}},
		"a segment has another id": {func(s stored) { s[piece{number: 1, segment: 1, to: m.to[0]}] = []row{{id: 7, text: tail}} }, counts{problems: 1}},
		"segments are out of order": {func(s stored) {
			s[piece{number: 1, segment: 0, to: m.to[0]}], s[piece{number: 1, segment: 1, to: m.to[0]}] = s[piece{number: 1, segment: 1, to: m.to[0]}], s[piece{number: 1, segment: 0, to: m.to[0]}]
		}, counts{problems: 1}},
	} {
		rows, got := good(), &tally{}
		tc.change(rows)
		w.judge(got, m, rows, o)
		if c := (counts{got.Missing, got.Duplicated, len(got.problems)}); c != tc.want {
			t.Errorf("%s: %+v, want %+v: %q", name, c, tc.want, got.problems)
		}
	}
}

// TestMisordered checks that rows before one of an older message are counted.
func TestMisordered(t *testing.T) {
	user, group := recipient{id: 3}, recipient{group: true, id: 3}
	for name, tc := range map[string]struct {
		rows stored
		want int
	}{
		"in order":            {stored{{number: 1, to: user}: {{id: 1}}, {number: 2, to: user}: {{id: 2}}, {number: 4, to: user}: {{id: 3}}}, 0},
		"of another":          {stored{{number: 2, to: user}: {{id: 1}}, {number: 1, to: group}: {{id: 2}}}, 0},
		"one passes an older": {stored{{number: 1, to: user}: {{id: 1}}, {number: 2, to: user}: {{id: 3}}, {number: 3, to: user}: {{id: 2}}}, 1},
	} {
		if got := misordered(tc.rows); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}

// TestCountRoutes checks how many announcements of a message are too few or too many.
func TestCountRoutes(t *testing.T) {
	tests := map[string]struct {
		announced, again, ended int
		reroutes, adopted, lost bool
		notStored               bool
		missing, repeatedBy     int
	}{
		"once":                                  {announced: 1},
		"never":                                 {missing: 1},
		"never, and lost on the way":            {lost: true},
		"never, and never stored":               {notStored: true},
		"three times":                           {announced: 3, repeatedBy: 2},
		"twice, on a connection that ended":     {announced: 2, ended: 1, reroutes: true},
		"three times, on one that ended":        {announced: 3, ended: 1, reroutes: true, repeatedBy: 1},
		"twice, where none ended with it":       {announced: 2, reroutes: true, repeatedBy: 1},
		"twice, and connections are to stay":    {announced: 2, ended: 1, repeatedBy: 1},
		"twice, adopted from a lost operator":   {announced: 2, ended: 1, adopted: true},
		"twice, adopted from the same one":      {announced: 2, adopted: true, repeatedBy: 1},
		"twice, its resource recreated":         {announced: 2, again: 1},
		"three times, its resource recreated":   {announced: 3, again: 1, repeatedBy: 1},
		"never, on a connection that has ended": {ended: 1, reroutes: true, missing: 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			which := piece{number: 1, segment: 0, to: recipient{id: 3}}
			w, got, rows := &world{unrouted: map[piece]bool{which: tc.lost}}, &tally{}, stored{}
			if !tc.notStored {
				rows[which] = []row{{id: 1}}
			}
			w.reroutes = tc.reroutes
			w.messages = []*message{{number: 1, to: []recipient{which.to}, again: tc.again}}
			w.peer = &peer{counts: map[piece]int{which: tc.announced}}
			ended := func(piece) int { return tc.ended }
			w.countRoutes(t.Context(), got, rows, func(piece) bool { return tc.adopted }, ended)
			if got.NotAnnounced != tc.missing || got.repeated != tc.repeatedBy {
				t.Errorf("missing %d, repeated %d", got.NotAnnounced, got.repeated)
			}
		})
	}
}

// TestTexts checks which texts and sounds belong to a scenario.
func TestTexts(t *testing.T) {
	w := &world{id: "r", target: &target{keys: []string{devserver.DevelopmentKey}}}
	w.name = "s"
	c := w.cipher(devserver.DevelopmentKey)
	text, sound := wire.MsgType_MSG_TYPE_SINGLE_TEXT, wire.MsgType_MSG_TYPE_SINGLE_AUDIO
	for content, want := range map[string]struct {
		number, segment int
		own             bool
	}{
		w.text(7):                        {7, 0, true},
		"(2/3) " + w.text(7) + " line 9": {7, 1, true},
		"chaos r s #x":                   {undeclared, 0, true},
		"chaos r other #":                {},
		"hello":                          {},
	} {
		for kind, data := range map[wire.MsgType][]byte{text: c.Encrypt([]byte(content)), sound: append([]byte{0, 0, 0, 1}, content...)} {
			if got, own := w.read(kind, data); got.number != want.number || got.segment != want.segment || own != want.own {
				t.Errorf("%v %q: %+v %t, want %+v", kind, content, got, own, want)
			}
		}
	}
	for _, kind := range []wire.MsgType{text, sound} {
		if _, own := w.read(kind, []byte("no")); own {
			t.Errorf("%v: what does not open is taken for the scenario's own", kind)
		}
	}
}
