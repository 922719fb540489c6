package record

import (
	"fmt"
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
	failed, unknown := 0, 0
	for _, s := range m.Status.Recipients {
		to := recipientOf(s)
		switch to.State {
		case post.Failed:
			failed++
		case post.Unknown:
			unknown++
		}
		// One recipient's reason says more than the message's.
		if to.State != post.Delivered && r.Reason == "" {
			r.Reason, r.Detail = to.Reason, to.Detail
		}
		r.Recipients = append(r.Recipients, to)
	}
	ready := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady)
	if r.Reason == "" && ready != nil && ready.Status != "True" {
		r.Reason, r.Detail = ready.Reason, ready.Message
	}
	switch {
	case !m.Finished():
		r.State = post.UnderWay
		r.Detail = strings.TrimSuffix("not delivered yet, the operator goes on with it; "+r.Detail, "; ")
		return r
	case meta.IsStatusConditionTrue(m.Status.Conditions, v1alpha1.ConditionDelivered):
		r.State, r.Reason, r.Detail = post.Delivered, "", ""
		return r
	case unknown > 0 && failed == 0:
		r.State = post.Unknown
	default:
		r.State = post.Failed
	}
	if all := len(r.Recipients); all > 1 {
		r.Detail = fmt.Sprintf("%d of %d recipients have not got it, for one of them: %s", failed+unknown, all, r.Detail)
	}
	return r
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
	}
	if n := len(s.MessageIDs); n > 0 && to.State == post.Delivered {
		to.MessageID = s.MessageIDs[n-1]
	}
	return to
}
