package crd

import (
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
)

// retryable reports whether a message that has finished is proved to have reached
// nobody.
func retryable(m *v1alpha1.TeamTalkMessage) bool {
	return len(m.Status.Recipients) > 0 && m.Status.NothingStored()
}

// resultOf adds to a result what the message's status says.
func resultOf(r api.Result, m *v1alpha1.TeamTalkMessage) api.Result {
	r.Recipients = make([]api.Recipient, 0, len(m.Status.Recipients))
	for _, s := range m.Status.Recipients {
		r.Recipients = append(r.Recipients, recipientOf(s))
	}
	r.Sum()
	ready := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady)
	if r.Reason == "" && ready != nil && ready.Status != "True" {
		r.Reason, r.Detail = ready.Reason, ready.Message
	}
	switch delivered := meta.IsStatusConditionTrue(m.Status.Conditions, v1alpha1.ConditionDelivered); {
	case !m.Finished() && objected(r.Recipients):
		r.State = api.Objected
		r.Detail += ", as far as it shows now; the operator looks once more before it gives up, see the TeamTalkMessage"
	case !m.Finished():
		r.State = api.UnderWay
		r.Detail = strings.TrimSuffix("not delivered yet, the operator goes on with it; "+r.Detail, "; ")
	case r.State == api.Delivered && !delivered:
		// The message as a whole knows better.
		r.State = api.Failed
	}
	return r
}

// objections are the reasons that TeamTalk itself has named, and that no more than a
// replica which is behind could refute.
var objections = map[string]bool{
	v1alpha1.ReasonSenderNotFound: true, v1alpha1.ReasonRecipientNotFound: true,
	v1alpha1.ReasonGroupNotFound: true, v1alpha1.ReasonSenderNotInGroup: true,
}

// objected reports whether TeamTalk objects to all who have not got it.
func objected(recipients []api.Recipient) bool {
	missing := false
	for _, to := range recipients {
		switch to.State {
		case api.Delivered:
		case api.Objected, api.Failed:
			missing = true
		default:
			return false
		}
	}
	return missing
}

func recipientOf(s v1alpha1.RecipientStatus) api.Recipient {
	to := api.Recipient{ID: s.ID, Reason: s.Reason, Detail: s.Message, State: api.UnderWay}
	switch {
	case s.State == v1alpha1.StateRouted, s.Reason == v1alpha1.ReasonStoredNotRouted && s.State != v1alpha1.StateFailed:
		to.State, to.Reason, to.Detail = api.Delivered, "", ""
	case s.State == v1alpha1.StateFailed && s.Reason == v1alpha1.ReasonOutcomeUnknown:
		to.State = api.Unknown
	case s.State == v1alpha1.StateFailed:
		to.State = api.Failed
	case s.Attempts == 0 && objections[s.Reason]:
		to.State = api.Objected // nothing was sent
	}
	if n := len(s.MessageIDs); n > 0 && to.State == api.Delivered {
		to.MessageID = s.MessageIDs[n-1]
	}
	return to
}
