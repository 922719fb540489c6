// SPDX-License-Identifier: Apache-2.0

package legacy

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/access"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/httpserver"
)

const (
	// KeyHeader is the header with the idempotency key; see api.Request.
	KeyHeader = "Idempotency-Key"
	// maxKey is the longest key, in bytes, that a TeamTalkMessage can have.
	maxKey = 253
	// MaxWait is the longest wait for a delivery. It leaves time to answer before the request's deadline.
	MaxWait = 8 * time.Second
)

// Handlers serve http_msg_server's operations.
type Handlers struct {
	Guard  *access.Guard
	Sender api.Sender
	// Groups is nil if this gateway cannot change groups.
	Groups api.Groups
	// Wait is how long a request without ?wait= waits for the delivery.
	Wait time.Duration
}

// operation is one of http_msg_server's, and the right that callers need for it.
type operation struct {
	right access.Right
	serve func(*http.Request, *request) response
}

// request is a request whose caller was admitted.
type request struct {
	fields
	caller access.Caller
	key    string
	wait   time.Duration
}

// Mount adds the operations: where http_msg_server has them, and below /namespaces/NAMESPACE for callers that name
// their namespace.
func (h *Handlers) Mount(s *httpserver.Server) {
	s.NotFound = func(w http.ResponseWriter, r *http.Request, status int, detail string) {
		write(w, r, response{Code: CodeBadParameter, Detail: detail, status: status})
	}
	for name, o := range map[string]operation{
		"SendSingleMessage":    {access.SendMessages, h.sendTo(v1alpha1.RecipientUser)},
		"SendGroupMessage":     {access.SendMessages, h.sendTo(v1alpha1.RecipientGroup)},
		"SendP2PMessage":       {access.SendMessages, h.sendP2P},
		"SendBroadCastMessage": {access.SendMessages, h.sendBroadcast},
		"CreateGroup":          {access.CreateGroups, h.createGroup},
		"ChangeMembers":        {access.ChangeGroups, h.changeMembers},
	} {
		for _, prefix := range []string{"", "/namespaces/{namespace}"} {
			pattern := prefix + "/query/" + name
			route := httpserver.Route{Pattern: "POST " + pattern, Name: name, Handler: h.handler(o), WriteError: writeError}
			s.Handle(route)
			route.Pattern, route.Handler = pattern, http.HandlerFunc(onlyPost)
			s.Handle(route)
		}
	}
}

func (h *Handlers) handler(o operation) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A request that was read is executed even if the caller disconnects.
		ctx, cancel := httpserver.Detach(r.Context())
		defer cancel()
		r = r.WithContext(ctx)
		q := h.decode(r, o.right)
		if q.bad != nil {
			respond(w, r, *q.bad)
			return
		}
		httpserver.AddLogValue(r.Context(), "caller", q.caller.Name)
		httpserver.AddLogValue(r.Context(), "namespace", q.caller.Namespace)
		respond(w, r, o.serve(r, q))
	})
}

// onlyPost answers other methods.
func onlyPost(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Allow", http.MethodPost)
	respond(w, r, response{
		Code: CodeBadParameter, Detail: "send a JSON object with POST", status: http.StatusMethodNotAllowed,
	})
}

func respond(w http.ResponseWriter, r *http.Request, a response) {
	httpserver.SetErrorCode(r.Context(), int(a.Code))
	if a.MessageName != "" {
		httpserver.AddLogValue(r.Context(), "message", a.MessageName)
	}
	write(w, r, a)
}

// decode admits the caller and reads the request. It does not read the body of a caller who is denied without it, and
// decodes only the app_key before the caller is authenticated.
func (h *Handlers) decode(r *http.Request, right access.Right) *request {
	q := &request{key: r.Header.Get(KeyHeader)}
	byAppKey := h.Guard.NeedsAppKey(r)
	if !byAppKey {
		h.admit(r, q, right, "")
	}
	var body *object
	if q.bad == nil {
		body, q.bad = readObject(r)
	}
	if byAppKey && q.bad == nil {
		h.admit(r, q, right, body.appKey())
	}
	if q.bad == nil {
		q.raw, q.bad = body.raw, body.check()
	}
	if len(q.key) > maxKey || strings.ContainsFunc(q.key, func(c rune) bool { return c < ' ' || c > '~' }) {
		q.fail("%s must be at most %d characters of ASCII", KeyHeader, maxKey)
	}
	if strings.HasPrefix(q.key, v1alpha1.GeneratedKeyPrefix) {
		q.fail("%s must not begin with %q: the gateway generates such keys", KeyHeader, v1alpha1.GeneratedKeyPrefix)
	}
	q.wait = h.waitOf(r, q)
	return q
}

// admit sets the caller, or fails if it is denied.
func (h *Handlers) admit(r *http.Request, q *request, right access.Right, appKey string) {
	caller, denial := h.Guard.Admit(r, right, appKey, r.PathValue("namespace"))
	switch {
	case denial != nil:
		bad := denials[denial.Kind]
		bad.Detail = denial.Detail
		q.bad = &bad
	case !httpserver.Identify(r.Context(), caller.Name):
		q.bad = &response{
			Code: CodeServerFault, status: http.StatusTooManyRequests,
			Detail: "you have too many requests in flight: retry later",
		}
	}
	q.caller = caller
}

// waitOf reads ?wait=, in seconds or as a duration.
func (h *Handlers) waitOf(r *http.Request, q *request) time.Duration {
	text := r.URL.Query().Get("wait")
	if text == "" {
		return h.Wait
	}
	wait, err := time.ParseDuration(text)
	if n, notNumber := strconv.ParseFloat(text, 64); notNumber == nil && n >= 0 && n <= MaxWait.Seconds() {
		wait, err = time.Duration(n*float64(time.Second)), nil
	}
	if err != nil || wait < 0 || wait > MaxWait {
		q.fail("wait must be seconds, from 0 to %d", int(MaxWait.Seconds()))
	}
	return wait
}

// checkSender fails if the caller may not speak as the user. The TeamTalkServer must permit it as well.
func (q *request) checkSender(id uint32) {
	if q.bad == nil && q.caller.Senders != nil && !slices.Contains(q.caller.Senders, id) {
		q.fail("the app_key may not speak as user %d", id).Code = CodeKeyNotForUser
	}
}
