// SPDX-License-Identifier: Apache-2.0

package teamtalkreceiver

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/tenancy"
)

// senderOf returns the sender of a receiver's messages.
func senderOf(o *v1alpha1.TeamTalkReceiver, server *v1alpha1.TeamTalkServer) v1alpha1.UserID {
	if o.Spec.SenderID != nil {
		return *o.Spec.SenderID
	}
	return server.Spec.Senders.Default
}

// checkSenderName refuses a valid receiver that names its own sender as a recipient. It returns nil otherwise. Without
// a connection to TeamTalk it keeps the earlier result.
func (r *Reconciler) checkSenderName(
	ctx context.Context, o *v1alpha1.TeamTalkReceiver,
) (_ *v1alpha1.Cause, isChecked bool) {
	names := slices.Clone(o.Spec.To.UserNames)
	if o.Spec.Allow != nil {
		names = append(names, o.Spec.Allow.UserNames...)
	}
	if len(names) == 0 {
		return nil, true
	}
	server, err := tenancy.FindServer(ctx, r.Client, o.ServerKey(), o.Namespace)
	if err != nil {
		return nil, false
	}
	sender := senderOf(o, server)
	ctx, cancel := context.WithTimeout(ctx, loginNameTimeout)
	defer cancel()
	name := r.LoginName(ctx, client.ObjectKeyFromObject(server), uint32(sender))
	switch {
	case name == "":
		return refusedBefore(o), false
	case !slices.Contains(names, name):
		return nil, true
	}
	return &v1alpha1.Cause{Reason: v1alpha1.ReasonSendToSelf, Message: fmt.Sprintf(
		"%q is the login name of the sender, user %d: TeamTalk stores no message to oneself; "+
			"remove it from to.userNames and allow.userNames, or set another senderID", name, sender)}, true
}

// refusedBefore returns why the current spec was refused because of its sender's name, or nil.
func refusedBefore(o *v1alpha1.TeamTalkReceiver) *v1alpha1.Cause {
	c := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady)
	if c == nil || c.Reason != v1alpha1.ReasonSendToSelf || c.ObservedGeneration != o.Generation {
		return nil
	}
	return &v1alpha1.Cause{Reason: c.Reason, Message: c.Message}
}
