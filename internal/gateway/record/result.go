package record

import (
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/post"
)

// retryable reports whether a message that has finished is proved to have reached
// nobody.
func retryable(m *v1alpha1.TeamTalkMessage) bool {
	return len(m.Status.Recipients) > 0 && m.Status.NothingStored()
}

// resultOf adds to a result what the message's status says.
func resultOf(r post.Result, m *v1alpha1.TeamTalkMessage) post.Result {
	r.Recipients = make([]post.Recipient, 0, len(m.Status.Recipients))
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
		r.State = post.Objected
		r.Detail += ", as far as it shows now; the operator looks once more before it gives up, see the TeamTalkMessage"
	case !m.Finished():
		r.State = post.UnderWay
		r.Detail = strings.TrimSuffix("not delivered yet, the operator goes on with it; "+r.Detail, "; ")
	case r.State == post.Delivered && !delivered:
		// The message as a whole knows better.
		r.State = post.Failed
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
func objected(recipients []post.Recipient) bool {
	missing := false
	for _, to := range recipients {
		switch to.State {
		case post.Delivered:
		case post.Objected, post.Failed:
			missing = true
		default:
			return false
		}
	}
	return missing
}

func recipientOf(s v1alpha1.RecipientStatus) post.Recipient {
	to := post.Recipient{ID: s.ID, Reason: s.Reason, Detail: s.Message, State: post.UnderWay}
	switch {
	case s.State == v1alpha1.StateRouted, s.Reason == v1alpha1.ReasonStoredNotRouted && s.State != v1alpha1.StateFailed:
		to.State, to.Reason, to.Detail = post.Delivered, "", ""
	case s.State == v1alpha1.StateFailed && s.Reason == v1alpha1.ReasonOutcomeUnknown:
		to.State = post.Unknown
	case s.State == v1alpha1.StateFailed:
		to.State = post.Failed
	case s.Attempts == 0 && objections[s.Reason]:
		to.State = post.Objected // nothing was sent
	}
	if n := len(s.MessageIDs); n > 0 && to.State == post.Delivered {
		to.MessageID = s.MessageIDs[n-1]
	}
	return to
}
