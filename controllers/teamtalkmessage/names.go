// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

// Messages for names and references whose deadline has passed.
const (
	msgDeadlineName        = "the deadline passed before its id was found"
	msgDeadlineNameUnasked = "the deadline passed before its id was found; another resource may have sent it"
)

// resolveNames finds the ids of the recipients that are given by name. They are recorded in the status before anything
// is sent, and are not looked up again: another user may have the name later. A name that was not found is looked up
// once more, while the other recipients get the message.
func (r *Reconciler) resolveNames(s *scope) outcome {
	names := s.unresolved()
	switch {
	case len(names) == 0:
		r.Engine.ForgetNames(nameRequester(client.ObjectKeyFromObject(s.message)))
		return proceed
	case s.expired():
		s.expireNames()
		return recordFirst
	}
	key := client.ObjectKeyFromObject(s.message)
	answer := r.Engine.ResolveNames(delivery.NameQuery{
		Requester: nameRequester(key), Wake: func() { r.Wake.Wake(key) },
		Server: s.session, ServerKey: s.serverKey(), Sender: s.sender,
		ReplicaLag: delivery.PolicyOf(s.server, 0).ReplicaLag, Names: names,
	})
	switch {
	case answer.Results != nil && s.applyNames(names, answer.Results):
		return recordFirst
	case s.underWay():
		return proceed
	case answer.Waiting != nil:
		s.omitRecipients = s.untouched()
		return waitForServer(answer.Waiting.Reason, answer.Waiting.Message)
	case answer.Results == nil:
		return requeue(0) // a lookup is in progress
	case s.sendable() == 0:
		return waitFor(answer.Results[0].Cause.Reason, answer.Results[0].Cause.Message)
	}
	return proceed
}

func nameRequester(key types.NamespacedName) delivery.NameRequester {
	return delivery.NameRequester{Kind: "TeamTalkMessage", NamespacedName: key}
}

// applyNames copies the results of lookups to the recipients, and reports whether they have changed. A recipient that
// several entries name gets the message once.
func (s *scope) applyNames(names []v1alpha1.Recipient, results []delivery.NameResult) (changed bool) {
	for n, name := range names {
		i := slices.IndexFunc(s.recipients, func(p delivery.Progress) bool { return p.Recipient == name })
		p, result := &s.recipients[i], results[n]
		if result.ID == 0 {
			before := *p
			if p.Reason, p.Message = result.Cause.Reason, shorten(result.Cause.Message); result.Final {
				p.State = v1alpha1.StateFailed
			}
			changed = changed || p.State != before.State || p.Reason != before.Reason || p.Message != before.Message
			continue
		}
		changed = true
		to := v1alpha1.Recipient{Type: name.Type, ID: result.ID}
		if other := slices.IndexFunc(s.recipients, func(p delivery.Progress) bool { return p.Recipient == to }); other >= 0 {
			if known := &s.recipients[other]; s.isEscalation() {
				// Otherwise the name would be looked up again until the escalation begins.
				known.ByName, known.ByRef = cmp.Or(known.ByName, name.Name), cmp.Or(known.ByRef, name.Ref)
			}
			s.recipients = slices.Delete(s.recipients, i, i+1)
			continue // the recipient has another entry
		}
		*p = delivery.Progress{Recipient: to, ByName: name.Name, ByRef: name.Ref, State: v1alpha1.StatePending}
	}
	return changed
}

// expireNames fails recipients without an id at the deadline. Without an id, the store cannot be searched.
func (s *scope) expireNames() {
	for i := range s.recipients {
		switch p := &s.recipients[i]; {
		case p.Done() || p.Resolved():
		case s.asksFirst():
			p.State, p.Reason, p.Message = v1alpha1.StateFailed, v1alpha1.ReasonOutcomeUnknown, msgDeadlineNameUnasked
		default:
			p.State, p.Reason, p.Message = v1alpha1.StateFailed, v1alpha1.ReasonDeadlineExceeded, msgDeadlineName
		}
	}
}

// recipientList returns the recipients of the message, from the status if it lists them, or else from the spec. The
// status lists the recipients that names stand for, each once.
func (s *scope) recipientList() []v1alpha1.Recipient {
	m := s.message
	switch {
	case s.origin == originSuperseded:
		return statusRecipients(m)
	case s.origin == originEdit, !m.Spec.To.HasNames(), len(m.Status.Recipients) == 0:
		return m.Spec.To.All()
	}
	return statusRecipients(m)
}

func statusRecipients(m *v1alpha1.TeamTalkMessage) []v1alpha1.Recipient {
	list := make([]v1alpha1.Recipient, len(m.Status.Recipients))
	for i := range list {
		list[i] = m.Status.Recipients[i].Recipient()
	}
	return list
}

// unresolved returns the names without an id. It leaves out TeamTalkGroups, which resolveRefs looks up.
func (s *scope) unresolved() (names []v1alpha1.Recipient) {
	for _, p := range s.recipients {
		if !p.Resolved() && !p.Done() && p.Ref == "" {
			names = append(names, p.Recipient)
		}
	}
	return names
}

// resolved returns the recipients whose id is known. Those of a message without names are not copied.
func (s *scope) resolved() []delivery.Progress {
	isName := func(p delivery.Progress) bool { return !p.Resolved() }
	if !slices.ContainsFunc(s.recipients, isName) {
		return s.recipients
	}
	return slices.DeleteFunc(slices.Clone(s.recipients), isName)
}

// sendable counts the recipients with an id that are neither done nor submitted.
func (s *scope) sendable() (n int) {
	for _, p := range s.recipients {
		if p.Resolved() && !p.Done() && !s.isSubmitted(p) {
			n++
		}
	}
	return n
}

// namesUntried reports whether the status lacks the result for a name of the message. If so, nothing was sent after
// that status: results are recorded first.
func namesUntried(m *v1alpha1.TeamTalkMessage) bool {
	isUntried := func(r v1alpha1.RecipientStatus) bool { return r.ID == 0 && r.Reason == "" }
	return m.Spec.To.HasNames() && (len(m.Status.Recipients) == 0 || slices.ContainsFunc(m.Status.Recipients, isUntried))
}

// withNames merges the engine's recipients into the list with those that the engine does not have: names, and
// recipients whose name was found later. The status may be older than the engine's progress.
func withNames(recorded, known []delivery.Progress) []delivery.Progress {
	rest := slices.Clone(known)
	take := func(is func(delivery.Progress) bool) (delivery.Progress, bool) {
		i := slices.IndexFunc(rest, is)
		if i < 0 {
			return delivery.Progress{}, false
		}
		found := rest[i]
		rest = slices.Delete(rest, i, i+1)
		return found, true
	}
	var all []delivery.Progress
	for _, p := range recorded {
		found, ok := take(func(k delivery.Progress) bool {
			return k.Recipient == p.Recipient || k.FoundBy(p.Recipient)
		})
		if !ok {
			all = append(all, p)
			continue
		}
		if found.CreateTime == 0 {
			found.CreateTime = p.CreateTime // staged since, see adopt
		}
		all = append(all, found)
	}
	return append(all, rest...)
}

// findLate finds the recipients with a recorded id that the engine does not have: their names were found after the
// others were submitted. Nothing was sent to them.
func (s *scope) findLate() {
	s.late = nil
	submitted := make(map[v1alpha1.Recipient]bool, len(s.snapshot.Recipients))
	for _, p := range s.snapshot.Recipients {
		submitted[p.Recipient] = true
	}
	for _, p := range s.recipients {
		if p.Resolved() && !p.Done() && !submitted[p.Recipient] {
			s.late = append(s.late, p.Recipient)
		}
	}
}

// isSubmitted reports whether the engine has a recipient.
func (s *scope) isSubmitted(p delivery.Progress) bool {
	return s.underWay() && p.Resolved() && !slices.Contains(s.late, p.Recipient)
}

// allSubmitted reports whether the engine has the message with all recipients that have an id.
func (s *scope) allSubmitted() bool { return s.underWay() && len(s.late) == 0 }

// queueRecipients returns the entries of the spec, and the recipients that its names stand for.
func queueRecipients(m *v1alpha1.TeamTalkMessage) []v1alpha1.Recipient {
	all := m.Spec.To.All()
	if !m.Spec.To.HasNames() {
		return all
	}
	for _, r := range m.Status.Recipients {
		if (r.Name != "" || r.Ref != "") && r.ID != 0 {
			all = append(all, r.Recipient())
		}
	}
	return all
}
