// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
)

// resultOf returns what the status of the message says.
func resultOf(m *v1alpha1.TeamTalkMessage) api.Result {
	r := api.Result{MessageName: m.Namespace + "/" + m.Name}
	for _, s := range m.Status.Recipients {
		r.Recipients = append(r.Recipients, recipientOf(s))
	}
	r.Summarize()
	ready := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady)
	if r.Cause.Reason == "" && ready != nil && ready.Status != "True" {
		r.Cause = v1alpha1.Cause{Reason: ready.Reason, Message: ready.Message}
	}
	switch {
	case !m.Finished() && m.Status.ObservedGeneration < 1:
		r.State, r.Cause.Message = api.Pending, "recorded; the operator has not processed it yet"
	case !m.Finished() && rejected(r.Recipients):
		r.State = api.Rejected
		r.Cause.Message += "; this is not final, the operator checks once more, see the TeamTalkMessage"
	case !m.Finished():
		r.State = api.Pending
		r.Cause.Message = strings.TrimSuffix("not delivered yet, the operator continues; "+r.Cause.Message, "; ")
	case r.State == api.Delivered && !meta.IsStatusConditionTrue(m.Status.Conditions, v1alpha1.ConditionDelivered):
		r.State = api.Failed // the condition counts
	}
	return r
}

// rejections are the reasons that TeamTalk gives. Only a replica that lags can be wrong about them.
var rejections = map[string]bool{
	v1alpha1.ReasonSenderNotFound: true, v1alpha1.ReasonRecipientNotFound: true,
	v1alpha1.ReasonGroupNotFound: true, v1alpha1.ReasonSenderNotInGroup: true,
}

// rejected reports whether TeamTalk rejects all recipients who do not have the message.
func rejected(recipients []api.Recipient) bool {
	undelivered := false
	for _, to := range recipients {
		switch to.State {
		case api.Delivered:
		case api.Rejected, api.Failed:
			undelivered = true
		default:
			return false
		}
	}
	return undelivered
}

func recipientOf(s v1alpha1.RecipientStatus) api.Recipient {
	to := api.Recipient{ID: uint32(s.ID), State: api.Pending, Cause: v1alpha1.Cause{Reason: s.Reason, Message: s.Message}}
	switch {
	case s.State == v1alpha1.StateRouted, s.Reason == v1alpha1.ReasonStoredNotRouted && s.State != v1alpha1.StateFailed:
		to.State, to.Cause = api.Delivered, v1alpha1.Cause{}
		if n := len(s.MessageIDs); n > 0 {
			to.MessageID = s.MessageIDs[n-1]
		}
	case s.State == v1alpha1.StateFailed && s.Reason == v1alpha1.ReasonOutcomeUnknown:
		to.State = api.Unknown
	case s.State == v1alpha1.StateFailed:
		to.State = api.Failed
	case s.Attempts == 0 && rejections[s.Reason]:
		to.State = api.Rejected // nothing was sent
	}
	return to
}
