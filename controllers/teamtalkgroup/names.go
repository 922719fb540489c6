// SPDX-License-Identifier: Apache-2.0

package teamtalkgroup

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

// resolveNames finds the ids of the members that are listed by name. They are recorded in the status before the group
// is created or changed, and are not looked up again: another user may have the name later. While a name has no id,
// nothing is changed.
func (r *Reconciler) resolveNames(s *scope) outcome {
	key, g := client.ObjectKeyFromObject(s.group), s.group
	listed := sets.New(g.Spec.Members.UserNames...)
	g.Status.MemberNames = slices.DeleteFunc(slices.Clone(g.Status.MemberNames), func(m v1alpha1.MemberName) bool {
		return !listed.Has(m.Name)
	})
	names := g.UnknownNames()
	if len(names) == 0 || s.memory.namesOf != g.Generation {
		r.Engine.ForgetNames(nameRequester(key)) // a user may have been added just before the name was listed
	}
	s.memory.namesOf = g.Generation
	if len(names) == 0 {
		return proceed
	}
	query := delivery.NameQuery{
		Requester: nameRequester(key), Wake: func() { r.Wake.Wake(key) },
		Server: s.talk.TeamTalk, ServerKey: client.ObjectKeyFromObject(s.server), Sender: s.talk.User,
		ReplicaLag: delivery.PolicyOf(s.server, 0).ReplicaLag,
	}
	for _, name := range names {
		query.Names = append(query.Names, v1alpha1.Recipient{Type: v1alpha1.RecipientUser, Name: name})
	}
	answer := r.Engine.ResolveNames(query)
	switch {
	case answer.Waiting != nil:
		return waitFor(answer.Waiting.Reason, answer.Waiting.Message)
	case answer.Results == nil:
		return leave(driftInterval) // a lookup is in progress
	}
	if out := s.applyNames(names, answer.Results); out.action != actionContinue {
		return out
	}
	return checkMembersPermitted(s)
}

func nameRequester(key types.NamespacedName) delivery.NameRequester {
	return delivery.NameRequester{Kind: "TeamTalkGroup", NamespacedName: key}
}

// applyNames copies the ids that were found to the status. The first name without an id determines the outcome.
func (s *scope) applyNames(names []string, results []delivery.NameResult) outcome {
	status := &s.group.Status
	var refused, open []v1alpha1.Cause
	for i, result := range results {
		switch {
		case result.ID != 0:
			status.MemberNames = append(status.MemberNames, v1alpha1.MemberName{Name: names[i], ID: v1alpha1.UserID(result.ID)})
		case result.Final:
			refused = append(refused, result.Cause)
		default:
			open = append(open, result.Cause)
		}
	}
	switch {
	case len(refused) > 0:
		message := "nothing is changed: " + refused[0].Message
		if more := len(refused) - 1; more > 0 {
			message += fmt.Sprintf(" (%d more names have no id either)", more)
		}
		return refuse(refused[0].Reason, message)
	case len(open) == 0:
		return proceed
	case s.isRefused(open[0].Reason), s.isRefused(v1alpha1.ReasonRecipientDeparted):
		return leave(driftInterval) // it is looked up again
	}
	return waitFor(v1alpha1.ReasonNoAnswer, "the operator looks again for names: "+open[0].Message)
}

// isRefused reports whether the status refuses the spec with the reason.
func (s *scope) isRefused(reason string) bool {
	c := meta.FindStatusCondition(s.written.Status.Conditions, v1alpha1.ConditionStalled)
	return c != nil && c.Reason == reason && c.ObservedGeneration == s.group.Generation
}
