// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// TestEventOf: events are for what a human should notice, once.
func TestEventOf(t *testing.T) {
	message := func(reason string, recipients ...v1alpha1.RecipientStatus) *v1alpha1.TeamTalkMessage {
		m := &v1alpha1.TeamTalkMessage{Status: v1alpha1.TeamTalkMessageStatus{Recipients: recipients}}
		if reason != "" {
			meta.SetStatusCondition(&m.Status.Conditions, metav1.Condition{
				Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason, Message: "so it is",
			})
		}
		return m
	}
	doubt := func(attempts int32) v1alpha1.RecipientStatus {
		return v1alpha1.RecipientStatus{State: v1alpha1.StateInDoubt, Attempts: attempts}
	}
	tests := map[string]struct {
		before, after *v1alpha1.TeamTalkMessage
		want          string
	}{
		"delivered":             {message(v1alpha1.ReasonSending), message(v1alpha1.ReasonDelivered), ""},
		"scheduled":             {message(""), message(v1alpha1.ReasonScheduled), ""},
		"failed":                {message(v1alpha1.ReasonSending), message(v1alpha1.ReasonGroupNotFound), "Warning GroupNotFound so it is"},
		"no news":               {message(v1alpha1.ReasonNoAnswer, doubt(1)), message(v1alpha1.ReasonNoAnswer, doubt(2)), ""},
		"not answered":          {message(""), message(v1alpha1.ReasonNoAnswer, doubt(0), doubt(1)), "Warning NoAnswer so it is"},
		"another leader's":      {message(""), message(v1alpha1.ReasonNoAnswer, doubt(0)), ""},
		"delivered, but silent": {message(""), message(v1alpha1.ReasonDelivered, v1alpha1.RecipientStatus{Reason: v1alpha1.ReasonStoredNotRouted, Message: "no router"}), "Warning StoredNotRouted no router"},
		"adopted":               {message(""), message(v1alpha1.ReasonDelivered, v1alpha1.RecipientStatus{Reason: v1alpha1.ReasonAdopted, Message: "found"}), "Normal Adopted found"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			e := eventOf(tc.before, tc.after)
			if got := strings.TrimSpace(e.kind + " " + e.reason + " " + e.note); got != tc.want {
				t.Errorf("event %q, want %q", got, tc.want)
			}
		})
	}
}
