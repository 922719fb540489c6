// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
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
	case len(r.Recipients) == 0:
		r.State = api.Failed // with the reason StatusTooLarge, which lists no recipients
	case r.State == api.Delivered && !meta.IsStatusConditionTrue(m.Status.Conditions, v1alpha1.ConditionDelivered):
		r.State = api.Failed // the condition counts
	}
	return r
}

// forCaller replaces the advice for those who write TeamTalkMessages, which the status has, by advice for the gateway's
// callers: a request has no longText. size is that of the text in bytes. Texts that no server can send are refused
// before, so the limit is that of servers with delivery tokens. Nor can callers remove the key, which each message has
// here: texts were checked before, so that an invalid content means a server without tokens. The request is not at
// fault then.
func forCaller(r *api.Result, size int) {
	advise := func(c *v1alpha1.Cause) {
		switch c.Reason {
		case v1alpha1.ReasonContentTooLong:
			c.Message = fmt.Sprintf("the text has %d bytes, at most %d can be sent: shorten it", size, cipher.MaxTextWithToken)
		case v1alpha1.ReasonContentInvalid:
			c.Reason, c.Message = v1alpha1.ReasonServerNotReady, "the server's deliveryToken is Disabled: nothing can be sent "+
				"through this gateway until its administrator enables it, or runs a gateway with --mode direct"
		}
	}
	advise(&r.Cause)
	for i := range r.Recipients {
		advise(&r.Recipients[i].Cause)
	}
}

// rejections are the reasons from TeamTalk's directory. They are wrong only if a replica lags.
var rejections = map[string]bool{
	v1alpha1.ReasonSenderNotFound: true, v1alpha1.ReasonRecipientNotFound: true,
	v1alpha1.ReasonGroupNotFound: true, v1alpha1.ReasonSenderNotInGroup: true, v1alpha1.ReasonRecipientDeparted: true,
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

// createError returns an error that the caller can fix as a Refusal.
func createError(namespace string, err error) error {
	switch {
	case err == nil:
		return nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return api.Refuse(v1alpha1.ReasonServerNotReady, "namespace %q is being deleted", namespace)
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota"): // nothing else tells
		return api.Refuse(v1alpha1.ReasonServerNotReady,
			"a ResourceQuota of namespace %q is used up: raise it, or delete finished TeamTalkMessages", namespace)
	case apierrors.IsForbidden(err):
		return notAllowed(namespace)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return api.Refuse(v1alpha1.ReasonContentInvalid,
			"the API server refuses the message: %s is invalid", invalidFields(err))
	case apierrors.IsNotFound(err):
		return api.Refuse(v1alpha1.ReasonServerNotFound, "the namespace does not exist")
	}
	return fmt.Errorf("create a TeamTalkMessage: %w", err)
}

// notAllowed tells the administrator of the gateway what to do.
func notAllowed(namespace string) error {
	return api.Refuse(v1alpha1.ReasonServerNotReady, "Kubernetes does not let the gateway create and watch "+
		"TeamTalkMessages in namespace %q: bind it to the ClusterRole teamtalk-gateway there, or check policies", namespace)
}

// invalidFields names the fields, without their values: one may be the text.
func invalidFields(err error) string {
	var fields []string
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Details != nil {
		for _, c := range status.Status().Details.Causes {
			if c.Field != "" && c.Field != "<nil>" {
				fields = append(fields, c.Field)
			}
		}
	}
	if len(fields) == 0 {
		return "a value"
	}
	return strings.Join(fields, ", ")
}
