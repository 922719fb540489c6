// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

// NameQuery is a query for the ids of users and groups that a resource names.
type NameQuery struct {
	Requester NameRequester
	// Wake is called when there are new results. It must not block.
	Wake   func()
	Server Directory
	// ServerKey names the TeamTalkServer.
	ServerKey types.NamespacedName
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

// NameAnswer holds the results of a query so far.
type NameAnswer struct {
	// Results are in the order of the names. A result is nil while the lookup is in progress.
	Results []NameResult
	// Waiting is why TeamTalk has not answered yet. It is nil if it has, or if the lookup has just begun.
	Waiting *v1alpha1.Cause
}

// NameResult is the result of the lookup of a name.
type NameResult struct {
	// ID is 0 if the name has none.
	ID uint32
	// Cause is why there is no id. It is final, or the name is looked up again.
	Cause v1alpha1.Cause
	Final bool
}

// ResolveNames returns the known results for names, and does not block. TeamTalk is queried for all resources together.
// All users are requested once a minute at most, because the answer for 20,000 users has 5 MB. Sessions of one server
// share that minute. The requester is woken when there are new results.
func (e *Engine) ResolveNames(q NameQuery) NameAnswer {
	d := &e.names
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.needs == nil {
		d.needs, d.views = map[NameRequester]*nameNeeds{}, map[nameViewKey]*nameView{}
		d.userReads = map[types.NamespacedName]userRead{}
	}
	now := time.Now()
	needs := d.needs[q.Requester]
	if needs == nil {
		needs = &nameNeeds{since: now}
		d.needs[q.Requester] = needs
	}
	if needs.server != q.Server {
		// It may be another TeamTalk installation: earlier absences prove nothing.
		needs.server, needs.absentSince = q.Server, map[v1alpha1.Recipient]time.Time{}
	}
	answer := NameAnswer{Results: make([]NameResult, len(q.Names))}
	for i, name := range q.Names {
		v := d.view(q, name.Type, now)
		if !v.isFresh(now) {
			for absent := range needs.absentSince {
				if absent.Type == name.Type {
					v.absent[absent.Name] = struct{}{}
				}
			}
			e.awaitNames(v, q)
			answer.Results, answer.Waiting = nil, v.notRead(now)
			return answer
		}
		r := v.resultOf(name, needs, q.ReplicaLag)
		if r.ID == 0 && !r.Final {
			v.absent[name.Name] = struct{}{}
			e.awaitNames(v, q)
		}
		answer.Results[i] = r
	}
	return answer
}

// ForgetNames drops the query of a resource that has no names left to resolve, or other names than before.
func (e *Engine) ForgetNames(by NameRequester) {
	e.names.mu.Lock()
	defer e.names.mu.Unlock()
	delete(e.names.needs, by)
}

// resultOf returns the result of the latest answer for a name. A name is absent if two answers that are the replica
// lag apart lack it. Before that, it must have been searched for among the users who have left. The user may have
// been added just before the resource.
func (v *nameView) resultOf(name v1alpha1.Recipient, needs *nameNeeds, lag time.Duration) NameResult {
	ids := v.latest.find(name.Name)
	if len(ids) > 0 {
		delete(needs.absentSince, name)
	}
	switch len(ids) {
	case 0:
		first, known := needs.absentSince[name]
		if !known {
			first, needs.absentSince[name] = v.latest.at, v.latest.at
		}
		isTwice := first.Before(v.latest.at) && !v.latest.at.Before(later(needs.since, first).Add(lag))
		_, isSearched := v.latest.searched[name.Name]
		return NameResult{Cause: v.whyAbsent(name), Final: isTwice && (isSearched || v.groupsOf != 0)}
	case 1:
		return NameResult{ID: ids[0]}
	}
	return NameResult{Cause: v.ambiguous(name, ids), Final: true}
}

func (v *nameView) whyAbsent(name v1alpha1.Recipient) v1alpha1.Cause {
	departed, hasLeft := v.latest.ids[name.Name]
	switch {
	case name.Type == v1alpha1.RecipientGroup:
		return v1alpha1.Cause{Reason: v1alpha1.ReasonGroupNotFound, Message: fmt.Sprintf(
			"user %d is a member of no normal group with the name %q", v.sender, name.Name)}
	case hasLeft:
		return v1alpha1.Cause{Reason: v1alpha1.ReasonRecipientDeparted, Message: fmt.Sprintf(
			"user %d with the login name %q has left TeamTalk, and would not read it", departed, name.Name)}
	}
	return v1alpha1.Cause{Reason: v1alpha1.ReasonRecipientNotFound, Message: fmt.Sprintf(
		"no user has the login name %q; a user who has left may have had it", name.Name)}
}

func (v *nameView) ambiguous(name v1alpha1.Recipient, ids []uint32) v1alpha1.Cause {
	list := "users"
	if name.Type == v1alpha1.RecipientGroup {
		list = "groups"
	}
	return v1alpha1.Cause{Reason: v1alpha1.ReasonRecipientAmbiguous, Message: fmt.Sprintf(
		"%s %d and %d have the name %q: list the id in %[1]s instead", list, ids[0], ids[1], name.Name)}
}
