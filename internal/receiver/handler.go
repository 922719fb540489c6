// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/digest"
)

// Patterns for a Handler in a http.ServeMux.
const (
	Pattern = "/v1/receivers/{namespace}/{name}"
	// TokenPattern is for callers whose token is in the path.
	TokenPattern = Pattern + "/{token}"
)

// Path returns the path of a receiver's URL, without a token.
func Path(receiver types.NamespacedName) string {
	return "/v1/receivers/" + receiver.Namespace + "/" + receiver.Name
}

// ConfigMaps are for flood control: the names of digests are not known before.
// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkreceivers,verbs=get
// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkreceivers/status,verbs=patch
// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkmessages,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;create;update;patch

// answerTimeout limits what follows the reading of the body. Callers give up after 10 seconds in all.
const answerTimeout = 6 * time.Second

// Options are the dependencies of a Handler.
type Options struct {
	// Client reads live: receivers, Secrets, the messages of a notification, and with flood control ConfigMaps. It
	// creates messages, and watches them.
	Client client.WithWatch
	// Authorize authorizes callers of receivers without a Secret. If nil, all of them are refused.
	Authorize Authorize
	// Identify gets the receiver of an authenticated request, and reports whether it may continue. If it returns false,
	// too many of the receiver's requests are in progress, and the caller is to retry. If nil, all may continue.
	Identify func(ctx context.Context, caller string) bool
	// ReadBody reads a body within the limits of the server. If nil, the body is read without them.
	ReadBody func(*http.Request) ([]byte, error)
	Log      logr.Logger
}

// Handler handles the requests of other systems to TeamTalkReceivers. It answers 200 after all messages exist, 503 if
// the caller must retry, and 4xx if a retry would get the same answer.
type Handler struct {
	options Options
	client  client.Client
	status  *statusWriter
	index   *index
	digests *digest.Store
	now     func() time.Time
}

// NewHandler returns a Handler. Statuses are written only while Start runs.
func NewHandler(o Options) *Handler {
	h := &Handler{
		options: o, client: o.Client, status: newStatusWriter(o.Client, o.Log),
		index: newIndex(o.Client, o.Log), now: time.Now,
	}
	h.digests = h.newDigests(lineTime)
	return h
}

// Start watches messages, and writes the statuses of receivers, until ctx is done. It implements manager.Runnable.
func (h *Handler) Start(ctx context.Context) error {
	var background sync.WaitGroup
	background.Go(func() { h.index.run(ctx) })
	background.Go(func() { counted.sweep(ctx, h.client) })
	h.status.run(ctx)
	background.Wait()
	return nil
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: every replica receives.
func (h *Handler) NeedLeaderElection() bool { return false }

// ServeHTTP implements http.Handler. The stages of a request are in serve.
func (h *Handler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	key := types.NamespacedName{Namespace: req.PathValue("namespace"), Name: req.PathValue("name")}
	began := h.now()
	a, class := h.serve(w, req, key)
	observeRequest(key, class, a, h.now().Sub(began))
	if class == authenticated {
		h.record(key, a)
	}
	a.write(w, req)
}

// serve authenticates the caller, reads the body, and creates the messages.
func (h *Handler) serve(
	w http.ResponseWriter, req *http.Request, key types.NamespacedName,
) (a answer, class callerClass) {
	if req.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return refuse(http.StatusMethodNotAllowed, "only POST is accepted here"), anonymous
	}
	caller := h.admitCaller(w, req, key)
	if caller.class == authenticated {
		defer func() { a.form = formOf(caller.receiver) }()
	}
	if caller.code != 0 {
		return caller.answer, caller.class
	}
	ctx, cancel := context.WithTimeout(req.Context(), answerTimeout)
	defer cancel()
	release, err := acquireBody(ctx, key, caller.body)
	if err != nil {
		return h.busy(key, errors.New("too many large bodies at once: send fewer alerts at once (Alertmanager's "+
			"max_alerts)")), authenticated
	}
	defer release()
	return h.receive(ctx, caller.receiver, caller.body, req.Header.Get("Content-Type")), authenticated
}
