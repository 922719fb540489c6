// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"encoding/json"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestServerKey(t *testing.T) {
	tests := map[string]struct {
		ref  *ServerReference
		want string
	}{
		"left out":          {nil, "im/default"},
		"by name":           {&ServerReference{Name: "other"}, "im/other"},
		"another namespace": {&ServerReference{Name: "other", Namespace: "ops"}, "ops/other"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := &TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{Namespace: "im"}, Spec: TeamTalkMessageSpec{ServerRef: tc.ref}}
			if got := m.ServerKey().String(); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

func TestFinished(t *testing.T) {
	condition := func(status metav1.ConditionStatus, generation int64) []metav1.Condition {
		return []metav1.Condition{{Type: ConditionFinished, Status: status, ObservedGeneration: generation}}
	}
	tests := map[string]struct {
		conditions []metav1.Condition
		want       bool
	}{
		"new":          {nil, false},
		"under way":    {condition(metav1.ConditionFalse, 2), false},
		"finished":     {condition(metav1.ConditionTrue, 2), true},
		"edited since": {condition(metav1.ConditionTrue, 1), false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := &TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{Generation: 2}, Status: TeamTalkMessageStatus{Conditions: tc.conditions}}
			if got := m.Finished(); got != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

func TestNothingStored(t *testing.T) {
	tests := map[string]struct {
		recipients []RecipientStatus
		want       bool
	}{
		"failed":             {[]RecipientStatus{{State: StateFailed, Reason: ReasonGroupNotFound}}, true},
		"one has it":         {[]RecipientStatus{{State: StateFailed}, {State: StateRouted}}, false},
		"one may have it":    {[]RecipientStatus{{State: StateFailed}, {State: StateInDoubt}}, false},
		"nobody knows of it": {[]RecipientStatus{{State: StateFailed, Reason: ReasonOutcomeUnknown}}, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := (&TeamTalkMessageStatus{Recipients: tc.recipients}).NothingStored(); got != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	s := SendersSpec{Default: 1, Allowed: []UserID{2}}
	for id, want := range map[UserID]bool{1: true, 2: true, 3: false} {
		if got := s.Check(id); (got == nil) != want {
			t.Errorf("user %d: %v, want it permitted: %v", id, got, want)
		}
	}
}

// TestJSONValue keeps values as they were written.
func TestJSONValue(t *testing.T) {
	const written = `{"a":1.50,"b":{"c":[null,"<"]},"d":null}`
	var object map[string]JSONValue
	if err := json.Unmarshal([]byte(written), &object); err != nil {
		t.Fatal(err)
	}
	if got := string(object["a"].Raw); got != "1.50" {
		t.Errorf("a is %s", got)
	}
	object["e"] = JSONValue{}
	got, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"a":1.50,"b":{"c":[null,"\u003c"]},"d":null,"e":null}`; string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
}
