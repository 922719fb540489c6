package legacy

import (
	"fmt"
	"net/http"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
)

// Message types of http_msg_server's msg_type. Its author's 3, a notification of an
// app's own, is in no stock TeamTalk: db_proxy does not answer it.
const (
	typeSingleText = 1
	typeGroupText  = 17
)

func (h *Handlers) sendSingle(r *http.Request, q request) answer {
	return h.sendTo(r, q, v1alpha1.RecipientUser, "from_user_id")
}

func (h *Handlers) sendGroup(r *http.Request, q request) answer {
	return h.sendTo(r, q, v1alpha1.RecipientGroup, "from_user_id")
}

// sendP2P sends to one user; or, where msg_type says so, to one group.
func (h *Handlers) sendP2P(r *http.Request, q request) answer {
	to, bad := q.msgType()
	if bad != nil {
		return bad.answer()
	}
	return h.sendTo(r, q, to, q.senderField())
}

// sendTo sends to one recipient.
func (h *Handlers) sendTo(r *http.Request, q request, to v1alpha1.RecipientType, senderField string) answer {
	field := "session_id"
	if !q.has(field) && q.has("to_user_id") {
		field = "to_user_id"
	}
	id, bad := q.id(field)
	if bad != nil {
		return bad.answer()
	}
	return h.send(r, q, senderField, to, []int64{id}, false)
}

func (h *Handlers) sendBroadcast(r *http.Request, q request) answer {
	to, bad := q.msgType()
	if bad != nil {
		return bad.answer()
	}
	ids, bad := q.ids("session_ids", v1alpha1.MaxRecipients)
	if bad != nil {
		return bad.answer()
	}
	return h.send(r, q, q.senderField(), to, ids, true)
}

// senderField: for these two, http_msg_server's documentation names the sender
// req_user_id, and its examples from_user_id.
func (q request) senderField() string {
	if !q.has("from_user_id") && q.has("req_user_id") {
		return "req_user_id"
	}
	return "from_user_id"
}

// msgType reads msg_type; left out: a text to users.
func (q request) msgType() (v1alpha1.RecipientType, *wrong) {
	n, bad := q.small("msg_type", typeSingleText)
	switch {
	case bad != nil:
		return "", bad
	case n == typeSingleText:
		return v1alpha1.RecipientUser, nil
	case n == typeGroupText:
		return v1alpha1.RecipientGroup, nil
	}
	return "", &wrong{CodeBadType, http.StatusOK, fmt.Sprintf(
		"msg_type must be %d (text to users) or %d (text to groups): nothing else can be sent here", typeSingleText, typeGroupText)}
}

// send sends, and says what became of it; of each recipient, where it is a broadcast.
func (h *Handlers) send(r *http.Request, q request, senderField string, to v1alpha1.RecipientType, ids []int64, broadcast bool) answer {
	sender, bad := q.id(senderField)
	if bad != nil {
		return bad.answer()
	}
	text, bad := q.msg()
	if bad != nil {
		return bad.answer()
	}
	if !q.caller.MaySpeakAs(sender) {
		return answer{Code: CodeKeyNotForUser, Detail: fmt.Sprintf("the app_key may not speak as user %d", sender)}
	}
	if to == v1alpha1.RecipientUser {
		for _, id := range ids {
			if id == sender {
				return answer{Code: CodeIDNotAllowed, Detail: fmt.Sprintf("user %d is the sender: TeamTalk stores no message to oneself", id)}
			}
		}
	}
	got, err := h.Sender.Send(r.Context(), api.Request{
		Namespace: q.caller.Namespace, Server: q.caller.Server, Sender: sender,
		Type: to, Recipients: ids, Text: text, Key: q.key, Wait: q.wait,
	})
	if err != nil {
		a := fault(r, err, againWithKey)
		a.Message = got.Message
		return a
	}
	a := answerOf(got, q.wait == 0)
	if !broadcast && len(a.Results) == 1 {
		a.MsgID, a.Results = a.Results[0].MsgID, nil
	}
	return a
}

// answerOf is the answer to what became of a message. Success is what the store has;
// with recorded, who did not want to wait is told that it is on record.
func answerOf(got api.Result, recorded bool) answer {
	a := answer{Message: got.Message}
	for _, to := range got.Recipients {
		one := result{SessionID: to.ID, MsgID: to.MessageID}
		if to.State != api.Delivered {
			one.Code, one.Detail = code(to.State, to.Reason), to.Detail
		}
		a.Results = append(a.Results, one)
	}
	switch {
	case got.State == api.Delivered:
	case got.State == api.UnderWay && recorded:
		a.status = http.StatusAccepted
		a.Detail = "on record, not delivered yet"
	default:
		a.Code, a.Detail = code(got.State, got.Reason), got.Detail
	}
	return a
}

// code of a message, or of one recipient's part.
func code(state api.State, reason string) Code {
	if state == api.Failed || state == api.Objected {
		return codeOf(reason)
	}
	return CodeUnknown
}
