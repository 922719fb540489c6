// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/digest"
)

// Pattern is where a Handler belongs in a http.ServeMux: it takes the receiver from
// the path.
const Pattern = "/v1/receivers/{namespace}/{name}"

// ConfigMaps are for flood control: digests have names that nobody can know before.
// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkreceivers,verbs=get
// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkreceivers/status,verbs=patch
// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkmessages,verbs=get;list;watch;create
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;create;update;patch

// Bounds of one request.
const (
	// MaxBody is the longest body, in bytes.
	MaxBody = 1 << 20
	// readTimeout bounds the reading of a body, answerTimeout what follows: callers
	// give up after 10 seconds.
	readTimeout   = 3 * time.Second
	answerTimeout = 6 * time.Second
)

// Options are what a Handler needs.
type Options struct {
	// Client reads live: receivers, Secrets, the messages of a notification, and
	// with flood control ConfigMaps. It creates messages, and watches them.
	Client client.WithWatch
	// Authorize is asked about callers of receivers that name no Secret. Nil lets
	// nobody in.
	Authorize Authorize
	// Identify is told whose a request is, once that is known, and reports whether
	// so many are in flight that this one must come again. Nil: they never are.
	Identify func(ctx context.Context, caller string) bool
	// ReadBody reads a body within the limits of the server. If nil, the body is read without them.
	ReadBody func(*http.Request) ([]byte, error)
	Log      logr.Logger
}

// Handler takes what other systems post to TeamTalkReceivers. It answers 200 once
// every message of it exists, 503 where the caller is to try again, and 4xx only
// for what would not be better then.
type Handler struct {
	options Options
	client  client.Client
	status  *statusWriter
	index   *index
	digests *digest.Store
	now     func() time.Time
}

// NewHandler returns a Handler. Start has to run for statuses to be written.
func NewHandler(o Options) *Handler {
	h := &Handler{
		options: o, client: o.Client, status: newStatusWriter(o.Client, o.Log),
		index: newIndex(o.Client, o.Log), now: time.Now,
	}
	h.digests = h.newDigests(lineTime)
	return h
}

// Start watches messages, and writes the statuses of receivers, until ctx is done,
// and what is left then. It is a manager's Runnable.
func (h *Handler) Start(ctx context.Context) error {
	var background sync.WaitGroup
	background.Go(func() { h.index.run(ctx) })
	background.Go(func() { counted.sweep(ctx, h.client) })
	err := h.status.run(ctx)
	background.Wait()
	return err
}

// NeedLeaderElection tells a manager that every replica receives.
func (h *Handler) NeedLeaderElection() bool { return false }

// answer is what a caller is told.
type answer struct {
	code int
	// Messages are the names of those that were made.
	Messages []string `json:"messages,omitempty"`
	// Duplicates counts messages that were there before.
	Duplicates int `json:"duplicates,omitempty"`
	// Folded counts what goes to somebody's digest.
	Folded int    `json:"folded,omitempty"`
	Error  string `json:"error,omitempty"`
	// cause is what the receiver's status says of a failure; the caller is not told.
	cause string
}

func refuse(code int, format string, args ...any) answer {
	return answer{code: code, Error: fmt.Sprintf(format, args...)}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	key := types.NamespacedName{Namespace: req.PathValue("namespace"), Name: req.PathValue("name")}
	began := h.now()
	a, class := h.serve(w, req, key)
	if class != anonymous {
		count(key, a)
	}
	if class == authenticated {
		h.note(key, a)
	}
	observe(a.code, h.now().Sub(began))
	if a.code == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="teamtalk"`)
	}
	write(w, a)
}

// Refuse answers in a Handler's form, for what keeps a request from it.
func Refuse(w http.ResponseWriter, status int, detail string) {
	write(w, answer{code: status, Error: detail})
}

func write(w http.ResponseWriter, a answer) {
	w.Header().Set("Content-Type", "application/json")
	if a.code == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(a.code)
	_ = json.NewEncoder(w).Encode(a) // who does not listen any more asks again
}

// callerClass says what is known of a request's caller.
type callerClass int

const (
	// anonymous: the receiver does not exist or could not be read. Not counted.
	anonymous callerClass = iota
	// unauthenticated callers are counted, but do not change the receiver's status.
	unauthenticated
	// authenticated callers are counted, and recorded in the receiver's status.
	authenticated
)

// tooLarge answers a body that is too large.
func tooLarge() answer {
	return refuse(http.StatusRequestEntityTooLarge,
		"the body is longer than %d bytes: have fewer alerts sent at once (Alertmanager's max_alerts)", MaxBody)
}

// readBody reads the body of a request. The answer has no code if it was read.
func (h *Handler) readBody(w http.ResponseWriter, req *http.Request, key types.NamespacedName) ([]byte, answer) {
	// A connection that knows no deadlines is bounded by its server.
	_ = http.NewResponseController(w).SetReadDeadline(h.now().Add(readTimeout))
	read := h.options.ReadBody
	if read == nil {
		read = func(r *http.Request) ([]byte, error) { return io.ReadAll(r.Body) }
	}
	req.Body = http.MaxBytesReader(w, req.Body, MaxBody)
	body, err := read(req)
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return nil, tooLarge()
	} else if err != nil {
		// Not 408: callers would give up.
		return nil, h.failed(key, fmt.Errorf("a body was not received completely and in time: %w", err))
	}
	return body, answer{}
}

// serve is ServeHTTP without its answer.
func (h *Handler) serve(w http.ResponseWriter, req *http.Request, key types.NamespacedName) (answer, callerClass) {
	if req.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return refuse(http.StatusMethodNotAllowed, "only POST is taken here"), anonymous
	}
	// Only a signature needs the body to authenticate the caller. Unauthenticated callers get the same answers whether
	// or not there is such a receiver: what they send decides, not what the receiver asks for.
	signed := isSignature(req.Header.Get(SignatureHeader))
	var body []byte
	var unread answer
	switch {
	case req.ContentLength > MaxBody:
		unread = tooLarge()
	case signed:
		body, unread = h.readBody(w, req, key)
	}
	r, a, class := h.admitCaller(req, key, body, unread)
	if a.code != 0 {
		return a, class
	}
	if !signed && unread.code == 0 {
		body, unread = h.readBody(w, req, key)
	}
	if unread.code != 0 {
		return unread, authenticated
	}
	ctx, cancel := context.WithTimeout(req.Context(), answerTimeout)
	defer cancel()
	leave, err := admit(ctx, key, body)
	if err != nil {
		return h.failed(key, errors.New("too many large bodies at once: have fewer alerts sent at once (Alertmanager's "+
			"max_alerts)")), authenticated
	}
	defer leave()
	return h.receive(ctx, r, body, req.Header.Get("Content-Type")), authenticated
}

// admitCaller returns the receiver of a caller who may post to it now. Otherwise the answer has a code. unread is the
// answer to a body that could not be read.
func (h *Handler) admitCaller(
	req *http.Request, key types.NamespacedName, body []byte, unread answer,
) (*v1alpha1.TeamTalkReceiver, answer, callerClass) {
	ctx, cancel := context.WithTimeout(req.Context(), answerTimeout)
	defer cancel()
	req = req.WithContext(ctx)
	r, err := h.find(ctx, key)
	if err != nil {
		return nil, h.failed(key, fmt.Errorf("read TeamTalkReceiver %s: %w", key, err)), anonymous
	}
	if r == nil {
		counted.end(key)
		if unread.code != 0 {
			return nil, unread, anonymous
		}
		if err := h.authorize(req, key.Namespace); err != nil {
			return nil, h.refused(key, err), anonymous
		}
		return nil, refuse(http.StatusNotFound, "there is no TeamTalkReceiver %q in namespace %q", key.Name,
			key.Namespace), anonymous
	}
	if err := h.authenticate(req, r, body); err != nil {
		if unread.code != 0 {
			return nil, unread, unauthenticated
		}
		if errors.Is(err, ErrUnauthenticated) && r.SecretRef() != nil {
			if other := h.authorize(req, key.Namespace); other != nil {
				err = other
			}
		}
		return nil, h.refused(key, err), unauthenticated
	}
	switch {
	case unread.code != 0:
		return nil, unread, authenticated
	case !r.DeletionTimestamp.IsZero():
		// What it made would be deleted with it.
		return nil, h.failed(key, errors.New("the receiver is being deleted")), authenticated
	case h.options.Identify != nil && !h.options.Identify(ctx, "receiver "+key.String()):
		return nil, h.failed(key, errors.New("too many requests to it at once")), authenticated
	}
	return r, answer{}, authenticated
}

// find reads a receiver; nil: there is none. No object has a name that is not valid,
// and the API client takes some for a mistake in the program.
func (h *Handler) find(ctx context.Context, key types.NamespacedName) (*v1alpha1.TeamTalkReceiver, error) {
	if validation.IsDNS1123Label(key.Namespace) != nil || validation.IsDNS1123Subdomain(key.Name) != nil {
		return nil, nil
	}
	r := &v1alpha1.TeamTalkReceiver{}
	if err := h.client.Get(ctx, key, r); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	return r, nil
}

// refused answers a caller who is not known, or cannot be checked.
func (h *Handler) refused(key types.NamespacedName, err error) answer {
	switch {
	case errors.Is(err, ErrUnauthenticated):
		return refuse(http.StatusUnauthorized,
			"not authenticated: present the token or the signature that the receiver asks for")
	case errors.Is(err, ErrForbidden):
		return refuse(http.StatusForbidden, "not permitted to create TeamTalkMessages in namespace %q", key.Namespace)
	}
	return h.failed(key, fmt.Errorf("check the caller: %w", err))
}

// failed answers what is to be tried again.
func (h *Handler) failed(key types.NamespacedName, err error) answer {
	h.options.Log.Info("a request is to be sent again", "receiver", key.String(), "reason", err.Error())
	a := refuse(http.StatusServiceUnavailable, "it cannot be taken now: try again; the receiver's status says why")
	a.cause = err.Error()
	return a
}

// note has an answer counted in the receiver's status.
func (h *Handler) note(key types.NamespacedName, a answer) {
	h.status.note(key, func(d *delta) {
		if a.code == http.StatusOK || len(a.Messages) > 0 {
			d.received = h.now()
		}
		d.counts.Messages += int64(len(a.Messages))
		d.counts.Duplicates += int64(a.Duplicates)
		d.counts.Folded += int64(a.Folded)
		if len(a.Messages) > 0 {
			d.lastMessage = a.Messages[len(a.Messages)-1]
		}
		switch {
		case a.code == http.StatusOK:
			d.counts.Received++
		case a.code < http.StatusInternalServerError:
			d.counts.Refused++
			d.fail(h.now(), fmt.Sprintf("answered with %d: %s", a.code, a.Error))
		default:
			d.counts.Failed++
			d.fail(h.now(), a.cause)
		}
	})
}
