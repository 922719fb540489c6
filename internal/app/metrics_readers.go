package app

import (
	"crypto/sha256"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/access"
)

// Bounds of what the API server is asked about readers of /metrics. Answers are
// remembered (access.NewReviewer), so it is about different tokens, which whoever
// reaches the port can make up.
const (
	// strangersPerSecond are asked about on and on, strangersAtOnce after a pause.
	strangersPerSecond = 10
	strangersAtOnce    = 20
	// acquainted is how long somebody who was let in is no stranger: longer than
	// Prometheus' longest interval, and about as long as a pod's token is used.
	acquainted = time.Hour
	// maxAcquainted bounds how many are remembered.
	maxAcquainted = 64
)

// metricsReaders lets those in whose token the cluster knows, and whom it permits to get
// the URL. controller-runtime's own filter answers a token that is not known with 500,
// as if something were out of order here.
func metricsReaders(cfg *rest.Config, client *http.Client) (server.Filter, error) {
	reviewer, err := access.NewReviewer(cfg, client, nil)
	if err != nil {
		return nil, err
	}
	return newReaders(reviewer).filter, nil
}

// readers knows who may read /metrics. Strangers share a bound on how often the API
// server is asked; those who were let in lately are asked about in any case, so that
// strangers do not keep Prometheus from them.
type readers struct {
	reviewer  access.Reviewer
	strangers *rate.Limiter

	mu sync.Mutex
	// letIn is when tokens were last let in, by their hash.
	letIn map[[sha256.Size]byte]time.Time
}

func newReaders(reviewer access.Reviewer) *readers {
	return &readers{
		reviewer: reviewer, strangers: rate.NewLimiter(strangersPerSecond, strangersAtOnce), letIn: map[[sha256.Size]byte]time.Time{},
	}
}

// filter is a server.Filter.
func (r *readers) filter(_ logr.Logger, next http.Handler) (http.Handler, error) {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		status, detail := r.admit(req)
		switch status {
		case http.StatusOK:
			next.ServeHTTP(w, req)
			return
		case http.StatusUnauthorized:
			w.Header().Set("WWW-Authenticate", "Bearer")
		case http.StatusTooManyRequests:
			w.Header().Set("Retry-After", "1")
		}
		http.Error(w, detail, status)
	}), nil
}

// admit returns 200, or with what who asks is answered, and why.
func (r *readers) admit(req *http.Request) (status int, detail string) {
	scheme, token, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
		return http.StatusUnauthorized, "send a Kubernetes token: Authorization: Bearer TOKEN"
	}
	hash := sha256.Sum256([]byte(token))
	if !r.knows(hash) && !r.strangers.Allow() {
		return http.StatusTooManyRequests, "too many different tokens at once: try again later"
	}
	user, denial := r.reviewer.Token(req.Context(), token)
	if denial == nil {
		denial = r.reviewer.MayGet(req.Context(), user, req.URL.Path)
	}
	switch {
	case denial == nil:
		r.remember(hash)
		return http.StatusOK, ""
	case denial.Kind == access.Unavailable:
		return http.StatusServiceUnavailable, denial.Detail
	}
	r.forget(hash)
	if denial.Kind == access.Forbidden {
		return http.StatusForbidden, denial.Detail
	}
	return http.StatusUnauthorized, denial.Detail
}

func (r *readers) knows(hash [sha256.Size]byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.letIn[hash]
	return ok && time.Since(at) < acquainted
}

func (r *readers) remember(hash [sha256.Size]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.letIn[hash] = time.Now()
	if len(r.letIn) <= maxAcquainted {
		return
	}
	oldest := hash
	for other, at := range r.letIn {
		if at.Before(r.letIn[oldest]) {
			oldest = other
		}
	}
	delete(r.letIn, oldest)
}

func (r *readers) forget(hash [sha256.Size]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.letIn, hash)
}
