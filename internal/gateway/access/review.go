// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/webhook"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

const (
	// tokenTTL and allowedTTL are how long a revoked token or right still works, deniedTTL is how long
	// a new right may be denied.
	tokenTTL   = time.Minute
	allowedTTL = time.Minute
	deniedTTL  = 5 * time.Second
	// reviewTimeout is for one request to the API server.
	reviewTimeout = time.Second
)

// Reviewer reviews tokens and permissions with Kubernetes. See NewReviewer.
type Reviewer struct {
	Tokens    authenticator.Token
	Audiences authenticator.Audiences
	Rights    authorizer.Authorizer
}

// NewReviewer returns a caching Reviewer that creates TokenReviews and SubjectAccessReviews. A token must be for
// one of the audiences, or for the API server's own if there are none.
func NewReviewer(cfg *rest.Config, client *http.Client, audiences []string) (*Reviewer, error) {
	clients, err := kubernetes.NewForConfigAndClient(cfg, client)
	if err != nil {
		return nil, fmt.Errorf("set up the API client: %w", err)
	}
	// One retry: the caller waits.
	backoff := wait.Backoff{Duration: 100 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 2}
	tokens, err := webhook.NewFromInterface(clients.AuthenticationV1(), nil, backoff, reviewTimeout,
		webhook.AuthenticatorMetrics{
			RecordRequestTotal:   func(context.Context, string) {},
			RecordRequestLatency: func(context.Context, string, float64) {},
		})
	if err != nil {
		return nil, fmt.Errorf("set up token reviews: %w", err)
	}
	rights, err := authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: clients.AuthorizationV1(),
		AllowCacheTTL:             allowedTTL,
		DenyCacheTTL:              deniedTTL,
		WebhookRetryBackoff:       &backoff,
	}.New()
	if err != nil {
		return nil, fmt.Errorf("set up access reviews: %w", err)
	}
	// The cache holds hashes of tokens.
	return &Reviewer{Tokens: cache.New(tokens, false, tokenTTL, tokenTTL), Audiences: audiences, Rights: rights}, nil
}

// Token returns the user of a token.
func (v *Reviewer) Token(ctx context.Context, token string) (user.Info, *Denial) {
	if len(v.Audiences) > 0 {
		ctx = authenticator.WithAudiences(ctx, v.Audiences)
	}
	answer, ok, err := v.Tokens.AuthenticateToken(ctx, token)
	switch {
	case err != nil && isUnavailable(err):
		log.FromContext(ctx).Info("the review of a token failed", "reason", err.Error())
		return nil, &Denial{Unavailable, "Kubernetes could not check the token: try again later"}
	case err != nil || !ok:
		// The API server's error may describe the token.
		return nil, &Denial{Unauthenticated, "the token is not valid, or not for this audience"}
	}
	return answer.User, nil
}

// May returns a Denial unless the user has the right in the namespace.
func (v *Reviewer) May(ctx context.Context, who user.Info, right Right, namespace string) *Denial {
	return v.authorize(ctx, authorizer.AttributesRecord{
		User: who, Verb: right.Verb, Namespace: namespace, ResourceRequest: true,
		APIGroup: v1alpha1.GroupVersion.Group, APIVersion: v1alpha1.GroupVersion.Version, Resource: right.Resource,
	}, fmt.Sprintf("%s %s.%s in namespace %q", right.Verb, right.Resource, v1alpha1.GroupVersion.Group, namespace))
}

// MayGet returns a Denial unless the user may get the path of a URL.
func (v *Reviewer) MayGet(ctx context.Context, who user.Info, path string) *Denial {
	return v.authorize(ctx, authorizer.AttributesRecord{User: who, Verb: "get", Path: path}, "get "+path)
}

// authorize reviews an access, which action describes.
func (v *Reviewer) authorize(ctx context.Context, access authorizer.AttributesRecord, action string) *Denial {
	ctx, cancel := context.WithTimeout(ctx, 2*reviewTimeout)
	defer cancel()
	decision, _, err := v.Rights.Authorize(ctx, access)
	switch {
	case err != nil:
		log.FromContext(ctx).Info("the review of an access failed", "reason", err.Error())
		return &Denial{Unavailable, "Kubernetes could not check the caller's permissions: try again later"}
	case decision != authorizer.DecisionAllow:
		return &Denial{Forbidden, fmt.Sprintf("%s may not %s", access.User.GetName(), action)}
	}
	return nil
}

// isUnavailable reports whether the review failed, as opposed to the token.
func isUnavailable(err error) bool {
	var status apierrors.APIStatus
	var network net.Error
	return errors.As(err, &status) || errors.As(err, &network) || wait.Interrupted(err)
}
