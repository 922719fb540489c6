// SPDX-License-Identifier: Apache-2.0

package legacy

import (
	"net/http"
	"slices"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
)

// Values of msg_type. Stock TeamTalk's db_proxy does not answer a 3, which is the default in the documentation of
// SendP2PMessage and SendBroadCastMessage. It is sent as text, because that is what clients show.
const (
	typeSingleText   = 1 // the default
	typeNotification = 3
	typeGroupText    = 17
)

// maxMembers limits the members in one request.
const maxMembers = 1000

// sendTo sends to one recipient of a type.
func (h *Handlers) sendTo(to v1alpha1.RecipientType) func(*http.Request, *request) response {
	return func(r *http.Request, q *request) response { return h.sendToOne(r, q, to, "from_user_id") }
}

// sendP2P sends to a user or a group, depending on msg_type.
func (h *Handlers) sendP2P(r *http.Request, q *request) response {
	return h.sendToOne(r, q, q.recipientType(), q.senderField())
}

func (h *Handlers) sendToOne(r *http.Request, q *request, to v1alpha1.RecipientType, senderField string) response {
	field := "session_id"
	if !q.has(field) && q.has("to_user_id") {
		field = "to_user_id"
	}
	a := h.send(r, q, senderField, to, []uint32{q.id(field)})
	if len(a.Results) == 1 {
		a.MsgID, a.Results = a.Results[0].MsgID, nil
	}
	return a
}

func (h *Handlers) sendBroadcast(r *http.Request, q *request) response {
	to, ids := q.recipientType(), q.ids("session_ids", v1alpha1.MaxRecipients)
	return h.send(r, q, q.senderField(), to, ids)
}

// senderField returns the name of the sender's field. http_msg_server's documentation and its examples differ.
func (q *request) senderField() string {
	if !q.has("from_user_id") && q.has("req_user_id") {
		return "req_user_id"
	}
	return "from_user_id"
}

// recipientType returns the one that msg_type stands for. The default is a text to users.
func (q *request) recipientType() v1alpha1.RecipientType {
	switch q.number("msg_type") {
	case typeSingleText, typeNotification:
		return v1alpha1.RecipientUser
	case typeGroupText:
		return v1alpha1.RecipientGroup
	}
	q.fail("msg_type must be %d or %d (text to users) or %d (text to groups): nothing else can be sent here; "+
		"without it, the text is sent to users", typeSingleText, typeNotification, typeGroupText).Code = CodeBadType
	return ""
}

// send sends a message. The response has the results of all recipients.
func (h *Handlers) send(
	r *http.Request, q *request, senderField string, to v1alpha1.RecipientType, ids []uint32,
) response {
	sender, text := q.id(senderField), q.msg()
	q.checkSender(sender)
	if q.bad == nil && to == v1alpha1.RecipientUser && slices.Contains(ids, sender) {
		q.fail("user %d is the sender: TeamTalk stores no message to oneself", sender).Code = CodeIDNotAllowed
	}
	if q.bad != nil {
		return *q.bad
	}
	got, err := h.Sender.Send(r.Context(), api.Request{
		Caller: q.caller.Name, Namespace: q.caller.Namespace, Server: q.caller.Server, Sender: sender,
		Type: to, Recipients: ids, Text: text, Key: q.key, Wait: q.wait,
	})
	if err != nil {
		a := errorResponse(r, err, "try again later, and always with an "+KeyHeader+", so that nothing is sent twice")
		a.MessageName = got.MessageName
		return a
	}
	return responseOf(got, q.wait == 0)
}

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
		return response{Code: failed, Detail: "this gateway creates TeamTalkMessages and has no connection to TeamTalk: " +
			"declare the group as a TeamTalkGroup, or change it through a gateway with --mode direct"}
	}
	got, err := change()
	if err != nil {
		a := errorResponse(r, err, "check whether it is done, and try again later")
		a.Code = failed
		return a
	}
	return response{GroupID: got.Group, Detail: got.Detail}
}
