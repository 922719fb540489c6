// SPDX-License-Identifier: Apache-2.0

package legacy

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/httpserver"
)

// response answers a request. Like http_msg_server it leaves out what does not apply.
type response struct {
	Code Code `json:"error_code"`
	// Text is set by write.
	Text    string `json:"error_msg"`
	Detail  string `json:"error_detail,omitempty"`
	MsgID   int64  `json:"msg_id,omitempty"`
	GroupID uint32 `json:"group_id,omitempty"`
	// MessageName is the namespace/name of the TeamTalkMessage.
	MessageName string `json:"message,omitempty"`
	// Results are those of a broadcast, one for each recipient.
	Results []result `json:"results,omitempty"`

	// status is the HTTP status. If 0, it is 200.
	status int
	// reason is the API's reason for Detail, if there is one.
	reason string
}

// result is the result for one recipient.
type result struct {
	SessionID uint32 `json:"session_id"`
	Code      Code   `json:"error_code"`
	Detail    string `json:"error_detail,omitempty"`
	MsgID     int64  `json:"msg_id,omitempty"`

	// reason is the API's reason for Detail, if there is one.
	reason string
}

// responseOf answers with the result of a message. accepted is for callers who do not wait: a pending message is a
// success for them.
func responseOf(got api.Result, accepted bool) response {
	a := response{MessageName: got.MessageName, reason: got.Cause.Reason}
	a.Code, a.Detail = codeAndDetail(got.State, got.Cause)
	for _, to := range got.Recipients {
		one := result{SessionID: to.ID, MsgID: to.MessageID, reason: to.Cause.Reason}
		one.Code, one.Detail = codeAndDetail(to.State, to.Cause)
		a.Results = append(a.Results, one)
	}
	if got.State == api.Pending && accepted {
		a.status, a.Code, a.Detail = http.StatusAccepted, CodeOK, "recorded, not delivered yet"
	}
	return a
}

func codeAndDetail(state api.State, cause v1alpha1.Cause) (Code, string) {
	switch state {
	case api.Delivered:
		return CodeOK, ""
	case api.Failed, api.Rejected:
		return codeOf(cause.Reason), cause.Message
	}
	return CodeUnknown, cause.Message
}

// errorResponse answers with a Refusal, or with an error of the gateway and advice.
func errorResponse(r *http.Request, err error, advice string) response {
	if refusal, ok := errors.AsType[*api.Refusal](err); ok {
		a := response{Code: codeOf(refusal.Reason), Detail: refusal.Message, reason: refusal.Reason}
		if refusal.Reason == v1alpha1.ReasonServerNotReady {
			a.status = http.StatusServiceUnavailable // the same request may succeed later
		}
		return a
	}
	httpserver.AddLogValue(r.Context(), "fault", err.Error())
	return response{
		Code: CodeServerFault, status: http.StatusServiceUnavailable,
		Detail: "the gateway could not process the request: " + advice,
	}
}

// badParameter answers a request that cannot be used. The text must not contain values of the request.
func badParameter(format string, args ...any) *response {
	return &response{Code: CodeBadParameter, Detail: fmt.Sprintf(format, args...)}
}

// writeError answers where an operation cannot.
func writeError(w http.ResponseWriter, r *http.Request, status int, detail string) {
	write(w, r, response{Code: CodeServerFault, Detail: detail, status: status})
}

// write writes a response as http_msg_server does, including its Content-Type. Only the details are in the caller's
// language: callers may compare error_msg.
func write(w http.ResponseWriter, r *http.Request, a response) {
	if prefersChinese(r) {
		a.Detail = chinese(a.Detail, a.reason)
		for i, one := range a.Results {
			a.Results[i].Detail = chinese(one.Detail, one.reason)
		}
		w.Header().Set("Content-Language", "zh")
	}
	a.Text, a.status = messages[a.Code], cmp.Or(a.status, http.StatusOK)
	body, err := json.Marshal(a)
	if err != nil {
		panic(fmt.Sprintf("encode a response: %v", err)) // unreachable
	}
	w.Header().Set("Content-Type", "text/html;charset=utf-8")
	// Details may contain parts of the request: a browser must not show them as a page.
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; sandbox")
	switch a.status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(body)
}
