package legacy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/access"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/httpserver"
)

const (
	// KeyHeader makes requests one: see api.Request.
	KeyHeader = "Idempotency-Key"
	// maxKey is how long the API lets a key be.
	maxKey = 253
	// maxWait keeps the answer within the time that a request may take.
	maxWait = 8 * time.Second
)

// Handlers serve http_msg_server's endpoints.
type Handlers struct {
	Guard  *access.Guard
	Sender api.Sender
	// Groups changes groups; nil: this gateway cannot.
	Groups api.Groups
	// Wait is how long a request waits for its end where it does not say.
	Wait time.Duration
}

// answer is what every endpoint answers with. Like http_msg_server it says nothing of
// what does not apply.
type answer struct {
	Code    Code   `json:"error_code"`
	Text    string `json:"error_msg"`
	Detail  string `json:"error_detail,omitempty"`
	MsgID   int64  `json:"msg_id,omitempty"`
	GroupID int64  `json:"group_id,omitempty"`
	// Message names the TeamTalkMessage, for callers that want to look.
	Message string `json:"message,omitempty"`
	// Results are of each recipient of a broadcast.
	Results []result `json:"results,omitempty"`

	status int
}

// result is one recipient's, of a broadcast.
type result struct {
	SessionID int64  `json:"session_id"`
	Code      Code   `json:"error_code"`
	Detail    string `json:"error_detail,omitempty"`
	MsgID     int64  `json:"msg_id,omitempty"`
}

// Mount serves the endpoints: as http_msg_server has them, and below
// /namespaces/NAMESPACE for callers that name theirs.
func (h *Handlers) Mount(s *httpserver.Server) {
	for name, e := range map[string]endpoint{
		"SendSingleMessage":    {access.SendMessages, h.sendSingle},
		"SendGroupMessage":     {access.SendMessages, h.sendGroup},
		"SendP2PMessage":       {access.SendMessages, h.sendP2P},
		"SendBroadCastMessage": {access.SendMessages, h.sendBroadcast},
		"CreateGroup":          {access.CreateGroups, h.createGroup},
		"ChangeMembers":        {access.ChangeGroups, h.changeMembers},
	} {
		for _, prefix := range []string{"", "/namespaces/{namespace}"} {
			pattern := prefix + "/query/" + name
			s.Handle(httpserver.Route{Pattern: "POST " + pattern, Name: name, Handler: h.handler(e), Refuse: refuse})
			s.Handle(httpserver.Route{Pattern: pattern, Name: name, Handler: http.HandlerFunc(notPost), Refuse: refuse})
		}
	}
}

// notPost answers other methods.
func notPost(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Allow", http.MethodPost)
	write(w, r, answer{Code: CodeBadParameter, Detail: "send a JSON object with POST", status: http.StatusMethodNotAllowed})
}

// endpoint is what serves one, and the right that it takes.
type endpoint struct {
	right access.Right
	serve func(*http.Request, request) answer
}

// request is what an endpoint gets: let in, and with its fields.
type request struct {
	fields
	caller access.Caller
	key    string
	wait   time.Duration
}

// handler reads a request, lets it in or not, and writes the answer.
func (h *Handlers) handler(e endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q, bad := h.read(r, e.right)
		if bad != nil {
			write(w, r, bad.answer())
			return
		}
		httpserver.NoteOf(r.Context()).Add("caller", q.caller.Name)
		httpserver.NoteOf(r.Context()).Add("namespace", q.caller.Namespace)
		write(w, r, e.serve(r, q))
	})
}

func (h *Handlers) read(r *http.Request, right access.Right) (request, *wrong) {
	q := request{key: r.Header.Get(KeyHeader)}
	// Where no app_key decides, the body of who is not let in is not read.
	byKey := h.Guard.AsksForKey(r)
	var bad *wrong
	if !byKey {
		if q.caller, bad = h.admit(r, right, ""); bad != nil {
			return request{}, bad
		}
	}
	if q.fields, bad = readFields(r); bad != nil {
		return request{}, bad
	}
	if byKey {
		if q.caller, bad = h.admit(r, right, q.appKey()); bad != nil {
			return request{}, bad
		}
	}
	if printable := strings.IndexFunc(q.key, func(c rune) bool { return c < ' ' || c > '~' }) < 0; !printable || len(q.key) > maxKey {
		return request{}, badParameter("%s must be at most %d characters of ASCII", KeyHeader, maxKey)
	}
	q.wait, bad = h.waitOf(r)
	return q, bad
}

// admit lets a caller in, or says why not.
func (h *Handlers) admit(r *http.Request, right access.Right, appKey string) (access.Caller, *wrong) {
	caller, denial := h.Guard.Admit(r, right, appKey, r.PathValue("namespace"))
	if denial != nil {
		d := denials[denial.Kind]
		return access.Caller{}, &wrong{d.code, d.status, denial.Detail}
	}
	if !httpserver.Identify(r.Context(), caller.Name) {
		return access.Caller{}, &wrong{CodeServerFault, http.StatusTooManyRequests, "too many requests of yours in flight: try again later"}
	}
	return caller, nil
}

// waitOf reads ?wait=, in seconds or as a duration.
func (h *Handlers) waitOf(r *http.Request) (time.Duration, *wrong) {
	text := r.URL.Query().Get("wait")
	if text == "" {
		return h.Wait, nil
	}
	d, err := time.ParseDuration(text)
	if seconds, bad := strconv.ParseFloat(text, 64); bad == nil && seconds >= 0 && seconds <= maxWait.Seconds() {
		d, err = time.Duration(seconds*float64(time.Second)), nil
	}
	if err != nil || d < 0 || d > maxWait {
		return 0, badParameter("wait must be seconds, from 0 to %d", int(maxWait.Seconds()))
	}
	return d, nil
}

// What to do about a fault.
const (
	againWithKey = "try again later, and always with an " + KeyHeader + ", so that nothing is sent twice"
	againGroup   = "look whether it is done, and try again later"
)

// fault is the answer to what is the gateway's own fault, and what to do about it; or
// to what was refused. Where that passes without the caller's doing, it is to come again.
func fault(r *http.Request, err error, todo string) answer {
	if refused, ok := errors.AsType[*api.Refusal](err); ok {
		a := answer{Code: codeOf(refused.Reason), Detail: refused.Detail}
		if refused.Reason == v1alpha1.ReasonServerNotReady {
			a.status = http.StatusServiceUnavailable
		}
		return a
	}
	httpserver.NoteOf(r.Context()).Add("fault", err.Error())
	return answer{
		Code: CodeServerFault, status: http.StatusServiceUnavailable,
		Detail: "the gateway could not do it now: " + todo,
	}
}

func (w *wrong) answer() answer { return answer{Code: w.code, Detail: w.detail, status: w.status} }

func refuse(w http.ResponseWriter, status int, detail string) {
	write(w, nil, answer{Code: CodeServerFault, Detail: detail, status: status})
}

// write writes an answer as http_msg_server does, its Content-Type included.
func write(w http.ResponseWriter, r *http.Request, a answer) {
	if r != nil {
		note := httpserver.NoteOf(r.Context())
		note.Code(int(a.Code))
		if a.Message != "" {
			note.Add("message", a.Message)
		}
	}
	a.Text = messages[a.Code]
	if a.status == 0 {
		a.status = http.StatusOK
	}
	body, err := json.Marshal(a)
	if err != nil {
		panic(fmt.Sprintf("an answer is no JSON: %v", err)) // cannot be
	}
	w.Header().Set("Content-Type", "text/html;charset=utf-8")
	// What it says may come from a caller: no browser must take it for a page.
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; sandbox")
	if a.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	if a.status == http.StatusServiceUnavailable || a.status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(body)
}
