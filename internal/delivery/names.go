// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

// NameQuery asks for the ids of users and groups that a resource names.
type NameQuery struct {
	Requester NameRequester
	// Wake is called when more is known. It must not block.
	Wake   func()
	Server Directory
	// Sender is the user whose groups are searched.
	Sender uint32
	// ReplicaLag is how far reads may lag behind.
	ReplicaLag time.Duration
	Names      []v1alpha1.Recipient
}

// NameRequester is a resource with names, of a kind.
type NameRequester struct {
	Kind string
	types.NamespacedName
}

// Directory is a TeamTalk whose users and groups can be read.
type Directory interface {
	// Path returns reads over one path. The caller calls done after the last of them.
	Path() (reads dbproxy.Reads, done func(), err error)
}

// NameAnswer is what is known of the names of a query.
type NameAnswer struct {
	// Results are in the order of the names. nil: TeamTalk is being asked.
	Results []NameResult
	// Waiting is why it has not answered yet; nil: it has, or has only just been asked.
	Waiting *v1alpha1.Cause
}

// NameResult is what is known of a name.
type NameResult struct {
	// ID is 0 if the name has none.
	ID uint32
	// Cause is why. It is final, or looked up once more.
	Cause v1alpha1.Cause
	Final bool
}

// ResolveNames returns what is known of names, and does not block. TeamTalk is asked for all resources together: for
// all users once a minute at most, as the answer about 20,000 of them has 5 MB. The requester is woken when more is
// known.
func (e *Engine) ResolveNames(q NameQuery) NameAnswer {
	d := &e.names
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.since == nil {
		d.since, d.views = map[NameRequester]time.Time{}, map[nameViewKey]*nameView{}
	}
	now := time.Now()
	since, known := d.since[q.Requester]
	if !known {
		since = now
		d.since[q.Requester] = since
	}
	answer := NameAnswer{Results: make([]NameResult, len(q.Names))}
	for i, name := range q.Names {
		v := d.view(q, name.Type, now)
		if !v.isFresh(now) {
			e.awaitNames(v, q)
			answer.Results, answer.Waiting = nil, v.failure
			return answer
		}
		r := v.resultOf(name, since, q.ReplicaLag)
		if r.ID == 0 && !r.Final {
			e.awaitNames(v, q)
		}
		answer.Results[i] = r
	}
	return answer
}

// ForgetNames says that a resource has no names left to resolve, or others than before.
func (e *Engine) ForgetNames(by NameRequester) {
	e.names.mu.Lock()
	defer e.names.mu.Unlock()
	delete(e.names.since, by)
}

// resultOf returns what the latest answer shows of a name that a resource has needed since a time. A name is absent if
// it is in neither of two answers that are the replica lag apart, and the user may have been added before the resource.
func (v *nameView) resultOf(name v1alpha1.Recipient, since time.Time, lag time.Duration) NameResult {
	ids := v.latest.find(name.Name)
	switch len(ids) {
	case 0:
		before := v.before
		final := before != nil && len(before.find(name.Name)) == 0 &&
			!v.latest.at.Before(later(since, before.at).Add(lag))
		return NameResult{Cause: v.absent(name), Final: final}
	case 1:
		return NameResult{ID: ids[0]}
	}
	return NameResult{Cause: v.ambiguous(name, ids), Final: true}
}

func (v *nameView) absent(name v1alpha1.Recipient) v1alpha1.Cause {
	if name.Type == v1alpha1.RecipientGroup {
		return v1alpha1.Cause{Reason: v1alpha1.ReasonGroupNotFound, Message: fmt.Sprintf(
			"user %d is a member of no normal group with the name %q", v.sender, name.Name)}
	}
	return v1alpha1.Cause{Reason: v1alpha1.ReasonRecipientNotFound, Message: fmt.Sprintf(
		"no user has the login name %q; users who have left have none", name.Name)}
}

func (v *nameView) ambiguous(name v1alpha1.Recipient, ids []uint32) v1alpha1.Cause {
	list := "users"
	if name.Type == v1alpha1.RecipientGroup {
		list = "groups"
	}
	return v1alpha1.Cause{Reason: v1alpha1.ReasonRecipientAmbiguous, Message: fmt.Sprintf(
		"%s %d and %d have the name %q: list the id in %[1]s instead", list, ids[0], ids[1], name.Name)}
}
