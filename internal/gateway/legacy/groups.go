// SPDX-License-Identifier: Apache-2.0

package legacy

import (
	"net/http"

	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
)

const (
	// maxMembers limits the members in one request.
	maxMembers = 1000
	// noGroups answers where Handlers.Groups is nil.
	noGroups = "this gateway creates TeamTalkMessages and has no connection to TeamTalk: " +
		"change groups through a gateway with --mode direct"
	// checkGroup is the advice after a fault.
	checkGroup = "check whether it is done, and try again later"
)

func (h *Handlers) createGroup(r *http.Request, q *request) response {
	g := api.NewGroup{Namespace: q.caller.Namespace, Server: q.caller.Server}
	g.By, g.Name = q.id("req_user_id"), q.name("group_name")
	if g.Name == "" {
		q.fail("group_name is empty")
	}
	g.Temporary = q.isTwo("group_type", "1 (normal) or 2 (temporary)")
	if q.has("group_avatar") {
		g.Avatar = q.name("group_avatar")
	}
	g.Members = q.ids("user_id_list", maxMembers)
	return h.changeGroup(r, q, g.By, CodeCreateGroup, func() (api.GroupResult, error) {
		return h.Groups.CreateGroup(r.Context(), g)
	})
}

func (h *Handlers) changeMembers(r *http.Request, q *request) response {
	c := api.MemberChange{Namespace: q.caller.Namespace, Server: q.caller.Server}
	c.By, c.Group = q.id("req_user_id"), q.id("group_id")
	c.Remove = q.require("modify_type") && q.isTwo("modify_type", "1 (add) or 2 (remove)")
	c.Members = q.ids("user_id_list", maxMembers)
	return h.changeGroup(r, q, c.By, CodeChangeMembers, func() (api.GroupResult, error) {
		return h.Groups.ChangeMembers(r.Context(), c)
	})
}

// changeGroup calls change for a caller who may act as the user. failed is the code if it is not done.
func (h *Handlers) changeGroup(
	r *http.Request, q *request, by uint32, failed Code, change func() (api.GroupResult, error),
) response {
	q.checkSender(by)
	switch {
	case q.bad != nil:
		return *q.bad
	case h.Groups == nil:
		return response{Code: failed, Detail: noGroups}
	}
	got, err := change()
	if err != nil {
		a := errorResponse(r, err, checkGroup)
		a.Code = failed
		return a
	}
	return response{GroupID: got.Group, Detail: got.Detail}
}
