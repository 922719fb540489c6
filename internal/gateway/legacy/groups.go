package legacy

import (
	"fmt"
	"net/http"

	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
)

const (
	// maxMembers of one request.
	maxMembers = 1000
	// maxName is how many characters TeamTalk's tables hold of a group's name or avatar.
	maxName = 256
)

// noGroups is why this gateway leaves groups alone.
const noGroups = "this gateway puts messages on record and has no way to TeamTalk itself: change groups through one that runs with --mode direct"

func (h *Handlers) createGroup(r *http.Request, q request) answer {
	n := api.NewGroup{Namespace: q.caller.Namespace, Server: q.caller.Server}
	var bad *wrong
	if n.By, bad = q.id("req_user_id"); bad != nil {
		return bad.answer()
	}
	if n.Name, bad = q.name("group_name"); bad != nil {
		return bad.answer()
	}
	if n.Name == "" {
		return badParameter("group_name is empty").answer()
	}
	kind, bad := q.small("group_type", 1)
	switch {
	case bad != nil:
		return bad.answer()
	case kind > 2:
		return badParameter("group_type must be 1 (normal) or 2 (temporary)").answer()
	}
	n.Temporary = kind == 2
	if q.has("group_avatar") {
		if n.Avatar, bad = q.name("group_avatar"); bad != nil {
			return bad.answer()
		}
	}
	if n.Members, bad = q.ids("user_id_list", maxMembers); bad != nil {
		return bad.answer()
	}
	return h.group(r, q, n.By, CodeCreateGroup, func() (api.GroupResult, error) {
		return h.Groups.CreateGroup(r.Context(), n)
	})
}

func (h *Handlers) changeMembers(r *http.Request, q request) answer {
	c := api.MemberChange{Namespace: q.caller.Namespace, Server: q.caller.Server}
	var bad *wrong
	if c.By, bad = q.id("req_user_id"); bad != nil {
		return bad.answer()
	}
	if c.Group, bad = q.id("group_id"); bad != nil {
		return bad.answer()
	}
	if !q.has("modify_type") {
		return badParameter("modify_type is missing").answer()
	}
	kind, bad := q.small("modify_type", 0)
	switch {
	case bad != nil:
		return bad.answer()
	case kind > 2:
		return badParameter("modify_type must be 1 (add) or 2 (remove)").answer()
	}
	c.Remove = kind == 2
	if c.Members, bad = q.ids("user_id_list", maxMembers); bad != nil {
		return bad.answer()
	}
	return h.group(r, q, c.By, CodeChangeMembers, func() (api.GroupResult, error) {
		return h.Groups.ChangeMembers(r.Context(), c)
	})
}

// group does what is asked of a group; failed is the code for what is not done.
func (h *Handlers) group(r *http.Request, q request, by int64, failed Code, do func() (api.GroupResult, error)) answer {
	switch {
	case !q.caller.MaySpeakAs(by):
		return answer{Code: CodeKeyNotForUser, Detail: fmt.Sprintf("the app_key may not act as user %d", by)}
	case h.Groups == nil:
		return answer{Code: failed, Detail: noGroups}
	}
	got, err := do()
	switch {
	case err != nil:
		a := fault(r, err, againGroup)
		a.Code = failed
		return a
	case !got.Done:
		return answer{Code: failed, Detail: got.Detail}
	}
	return answer{GroupID: got.Group, Detail: got.Detail}
}
