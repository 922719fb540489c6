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

// User is the user of a token.
type User = user.Info

// review asks the API server, and caches its answers.
type review struct {
	tokens    authenticator.Token
	audiences authenticator.Audiences
	rights    authorizer.Authorizer
}

var _ Reviewer = (*review)(nil)

// NewReviewer returns a Reviewer that creates TokenReviews and SubjectAccessReviews. A token must be for
// one of the audiences, or for the API server's own if there are none.
func NewReviewer(cfg *rest.Config, client *http.Client, audiences []string) (Reviewer, error) {
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
	return &review{tokens: cache.New(tokens, false, tokenTTL, tokenTTL), audiences: audiences, rights: rights}, nil
}

// Token implements Reviewer.
func (v *review) Token(ctx context.Context, token string) (User, *Denial) {
	if len(v.audiences) > 0 {
		ctx = authenticator.WithAudiences(ctx, v.audiences)
	}
	answer, ok, err := v.tokens.AuthenticateToken(ctx, token)
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

// May implements Reviewer.
func (v *review) May(ctx context.Context, user User, right Right, namespace string) *Denial {
	return v.authorize(ctx, authorizer.AttributesRecord{
		User: user, Verb: right.Verb, Namespace: namespace, ResourceRequest: true,
		APIGroup: v1alpha1.GroupVersion.Group, APIVersion: v1alpha1.GroupVersion.Version, Resource: right.Resource,
	}, fmt.Sprintf("%s %s.%s in namespace %q", right.Verb, right.Resource, v1alpha1.GroupVersion.Group, namespace))
}

// MayGet implements Reviewer.
func (v *review) MayGet(ctx context.Context, user User, path string) *Denial {
	return v.authorize(ctx, authorizer.AttributesRecord{User: user, Verb: "get", Path: path}, "get "+path)
}

// authorize asks about an access, which action describes.
func (v *review) authorize(ctx context.Context, access authorizer.AttributesRecord, action string) *Denial {
	ctx, cancel := context.WithTimeout(ctx, 2*reviewTimeout)
	defer cancel()
	decision, _, err := v.rights.Authorize(ctx, access)
	switch {
	case err != nil:
		log.FromContext(ctx).Info("the review of an access failed", "reason", err.Error())
		return &Denial{Unavailable, "Kubernetes could not check the caller's rights: try again later"}
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
