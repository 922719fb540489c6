// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
)

func groupID(id uint32) v1alpha1.Recipient {
	return v1alpha1.Recipient{Type: v1alpha1.RecipientGroup, ID: id}
}

func groupRef(name string) v1alpha1.Recipient {
	return v1alpha1.Recipient{Type: v1alpha1.RecipientGroup, Ref: name}
}

// toRefs is a message to group 7, to a group by the name "a", and to TeamTalkGroups.
func toRefs(refs ...string) *v1alpha1.TeamTalkMessage {
	return toUsers(0, func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.To = v1alpha1.Recipients{Groups: []v1alpha1.GroupID{7}, GroupNames: []string{"a"}}
		for _, ref := range refs {
			m.Spec.To.GroupRefs = append(m.Spec.To.GroupRefs, v1alpha1.GroupReference{Name: ref})
		}
	})
}

// TestApplyRefs records what TeamTalkGroups stand for, each recipient once, and takes it up from the status. A group name
// is another recipient than a TeamTalkGroup of that name.
func TestApplyRefs(t *testing.T) {
	refused := v1alpha1.Cause{Reason: v1alpha1.ReasonGroupNotFound, Message: "another server"}
	pending := func(to v1alpha1.Recipient, byRef string) delivery.Progress {
		return delivery.Progress{Recipient: to, ByRef: byRef, State: v1alpha1.StatePending}
	}
	name := pending(v1alpha1.Recipient{Type: v1alpha1.RecipientGroup, Name: "a"}, "")
	failed := delivery.Progress{
		Recipient: groupRef("b"), State: v1alpha1.StateFailed, Reason: refused.Reason, Message: refused.Message,
	}
	tests := map[string]struct {
		results []delivery.NameResult // of a and b
		want    []delivery.Progress
	}{
		"found":            {[]delivery.NameResult{{ID: 8}, {ID: 9}}, []delivery.Progress{pending(groupID(7), ""), name, pending(groupID(8), "a"), pending(groupID(9), "b")}},
		"the same":         {[]delivery.NameResult{{ID: 8}, {ID: 8}}, []delivery.Progress{pending(groupID(7), ""), name, pending(groupID(8), "a")}},
		"given by id, too": {[]delivery.NameResult{{ID: 7}, {ID: 9}}, []delivery.Progress{pending(groupID(7), ""), name, pending(groupID(9), "b")}},
		"refused":          {[]delivery.NameResult{{ID: 8}, {Cause: refused, Final: true}}, []delivery.Progress{pending(groupID(7), ""), name, pending(groupID(8), "a"), failed}},
	}
	for what, tc := range tests {
		t.Run(what, func(t *testing.T) {
			m := toRefs("a", "b")
			s := newScope(m, leadership.Term{Clean: true}, noon)
			setStatus(s, nil, noon)
			if refs := s.unresolvedRefs(); !namesUntried(m) || !slices.Equal(refs, []v1alpha1.Recipient{groupRef("a"), groupRef("b")}) {
				t.Errorf("before: %+v", refs)
			}
			if again := newScope(m, leadership.Term{Clean: true}, noon); len(again.unresolvedRefs()) != 2 {
				t.Errorf("from the status: %+v", again.recipients)
			}
			s.applyNames(s.unresolvedRefs(), tc.results)
			if diff := cmp.Diff(tc.want, s.recipients); diff != "" {
				t.Error(diff)
			}
			setStatus(s, nil, noon)
			again := newScope(m, leadership.Term{Clean: true}, noon)
			if diff := cmp.Diff(tc.want, again.recipients); diff != "" || len(again.unresolvedRefs()) > 0 {
				t.Errorf("from the status: %s", diff)
			}
		})
	}
}

func TestSummaryOfRefs(t *testing.T) {
	if got := summarizeRecipients(toRefs("oncall").Spec.To); got != "groups 7,a,oncall" {
		t.Errorf("the column shows %q", got)
	}
}

// TestRefOfRevision: a TeamTalkGroup keeps its id in later revisions, and after a retry.
func TestRefOfRevision(t *testing.T) {
	for what, state := range map[string]v1alpha1.RecipientState{"kept": v1alpha1.StateRouted, "retried": v1alpha1.StateFailed} {
		t.Run(what, func(t *testing.T) {
			m := resent(v1alpha1.RecipientStatus{
				Type: v1alpha1.RecipientGroup, ID: 9, Ref: "a", State: state, Reason: v1alpha1.ReasonSenderNotInGroup,
			})
			m.Spec.To = toRefs("a").Spec.To
			s := newScope(m, leadership.Term{Clean: true}, noon)
			if state == v1alpha1.StateFailed {
				s.retryFailed()
				if p := s.recipients[0]; p.Done() || p.ByRef != "a" {
					t.Errorf("retried: %+v", p)
				}
				return
			}
			s.beginRevision()
			got := s.recipients[len(s.recipients)-1]
			if got.Recipient != groupID(9) || got.ByRef != "a" || len(s.recipients) != 3 || len(s.unresolvedRefs()) > 0 {
				t.Errorf("%+v", s.recipients)
			}
		})
	}
}

// readyAs is a TeamTalkGroup of the generation 2 whose status is about an observed one.
func readyAs(status metav1.ConditionStatus, reason string, observed int64) *v1alpha1.TeamTalkGroup {
	g := &v1alpha1.TeamTalkGroup{ObjectMeta: metav1.ObjectMeta{Namespace: "chat", Name: "oncall", UID: "u", Generation: 2}}
	g.Status.GroupID = new(v1alpha1.GroupID(9))
	g.Status.Conditions = []metav1.Condition{{
		Type: v1alpha1.ConditionReady, Status: status, Reason: reason, ObservedGeneration: observed,
	}}
	return g
}

func TestReadyGroup(t *testing.T) {
	unknown := readyAs(metav1.ConditionTrue, v1alpha1.ReasonReady, 2)
	unknown.Status.GroupID = nil
	for what, tc := range map[string]struct {
		group    *v1alpha1.TeamTalkGroup
		wantID   uint32
		wantSays string
	}{
		"ready":       {readyAs(metav1.ConditionTrue, v1alpha1.ReasonReady, 2), 9, ""},
		"edited":      {readyAs(metav1.ConditionTrue, v1alpha1.ReasonReady, 1), 0, "not Ready yet"},
		"new":         {&v1alpha1.TeamTalkGroup{}, 0, "not Ready yet"},
		"without id":  {unknown, 0, "not Ready"},
		"not ready":   {readyAs(metav1.ConditionFalse, v1alpha1.ReasonMembersNotFound, 2), 0, "reason MembersNotFound"},
		"not ready 1": {readyAs(metav1.ConditionUnknown, v1alpha1.ReasonNoAnswer, 2), 0, "reason NoAnswer"},
	} {
		t.Run(what, func(t *testing.T) {
			id, says := readyGroup(tc.group)
			if id != tc.wantID || (says == "") != (tc.wantSays == "") || !strings.Contains(says, tc.wantSays) {
				t.Errorf("%d, %q", id, says)
			}
		})
	}
}

func TestGroupMatters(t *testing.T) {
	ready, another := readyAs(metav1.ConditionTrue, v1alpha1.ReasonReady, 2), readyAs(metav1.ConditionTrue, v1alpha1.ReasonReady, 2)
	another.UID = "v"
	members := ready.DeepCopy()
	members.Status.Members = new(int32(3))
	for what, tc := range map[string]struct {
		before, after *v1alpha1.TeamTalkGroup
		want          bool
	}{
		"ready":          {readyAs(metav1.ConditionFalse, v1alpha1.ReasonChanging, 2), ready, true},
		"edited":         {ready, readyAs(metav1.ConditionTrue, v1alpha1.ReasonReady, 1), true},
		"another reason": {readyAs("False", v1alpha1.ReasonNoAnswer, 2), readyAs("False", v1alpha1.ReasonChanging, 2), true},
		"another one":    {ready, another, true},
		"a member":       {ready, members, false},
	} {
		if got := groupMatters.Update(event.UpdateEvent{ObjectOld: tc.before, ObjectNew: tc.after}); got != tc.want {
			t.Errorf("%s: %v, want %v", what, got, tc.want)
		}
	}
}

// TestIndexByRef: a message is woken for the TeamTalkGroups that it has not looked up.
func TestIndexByRef(t *testing.T) {
	m := toRefs("a", "b")
	want := []string{"a", "b"}
	if diff := cmp.Diff(want, indexByRef(m)); diff != "" {
		t.Error(diff)
	}
	m.Status.Recipients = []v1alpha1.RecipientStatus{
		{Type: v1alpha1.RecipientGroup, ID: 7}, {Type: v1alpha1.RecipientGroup, Name: "b", ID: 8},
		{Type: v1alpha1.RecipientGroup, Ref: "a", ID: 9}, {Type: v1alpha1.RecipientGroup, Ref: "b"},
	}
	if diff := cmp.Diff([]string{"b"}, indexByRef(m)); diff != "" {
		t.Error(diff)
	}
	want = []string{"a", "a", "b"}
	var places []string
	for _, r := range queueRecipients(m) {
		if r.Name+r.Ref != "" {
			places = append(places, r.Name+r.Ref)
		}
	}
	if diff := cmp.Diff(want, places); diff != "" || !slices.Contains(queueRecipients(m), groupID(9)) {
		t.Errorf("%+v: %s", queueRecipients(m), diff)
	}
	m.Status.Conditions = []metav1.Condition{{
		Type: v1alpha1.ConditionFinished, Status: metav1.ConditionTrue, ObservedGeneration: m.Generation,
	}}
	if got := indexByRef(m); got != nil {
		t.Errorf("finished: %v", got)
	}
}

// TestDigestOfRefs: the order of TeamTalkGroups decides nothing, and they differ from groups of their name.
func TestDigestOfRefs(t *testing.T) {
	m, names := toRefs("a", "b"), toRefs()
	names.Spec.To.GroupNames = []string{"a", "a", "b"}
	switch {
	case specDigest(m) != specDigest(toRefs("b", "a")):
		t.Error("another order is another message")
	case specDigest(m) == specDigest(toRefs("a")), specDigest(m) == specDigest(names):
		t.Error("other recipients are the same message")
	}
}
