// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// acceptedForms is the text for callers that are not authenticated, whether or not the receiver exists.
const acceptedForms = "not authenticated: the receiver's authentication requires one of these: " +
	"a token, of the receiver or of the cluster, as Authorization: Bearer TOKEN; the receiver's token as " +
	"?token=, ?access_token= or ?key=, as X-Gitlab-Token, or as the last segment of the path; " +
	"a user name and password as Authorization: Basic; " +
	"the HMAC-SHA256 of the body in a header such as X-Hub-Signature-256: sha256=HEX; " +
	"the timestamp and sign of DingTalk in the query or of Feishu in the body, at most one hour old"

// Errors of an Authorize.
var (
	// ErrUnauthenticated: the caller is not known. Answered with 401.
	ErrUnauthenticated = errors.New("not authenticated")
	// ErrForbidden: the caller is known, but not permitted. Answered with 403.
	ErrForbidden = errors.New("not permitted")
)

// Authorize checks whether the caller of a request may create TeamTalkMessages in a namespace. It returns nil,
// ErrUnauthenticated, ErrForbidden, or why the check failed.
type Authorize func(r *http.Request, namespace string) error

// SecretProblem tells why callers cannot be authenticated with a Secret, and what the user must change.
type SecretProblem struct{ message string }

// Error implements error.
func (p *SecretProblem) Error() string { return p.message }

// CheckSecret reads the Secret that the receiver's callers are checked against, if it names one. If the user has to
// change something, the error is a SecretProblem.
func CheckSecret(ctx context.Context, c client.Reader, r *v1alpha1.TeamTalkReceiver) error {
	_, err := loadVerifier(ctx, c, r, time.Now)
	return err
}

// verifier checks requests against a receiver's Secret. Either function may be nil.
type verifier struct {
	// head checks a request before its body is read.
	head func(*http.Request) bool
	// body checks the rest.
	body func(*http.Request, []byte) bool
}

func (v *verifier) acceptsHead(req *http.Request) bool {
	return v != nil && v.head != nil && v.head(req)
}

func (v *verifier) acceptsBody(req *http.Request, body []byte) bool {
	return v != nil && v.body != nil && v.body(req, body)
}

// loadVerifier reads the Secret of a receiver. If the receiver names none, there is no verifier.
func loadVerifier(
	ctx context.Context, c client.Reader, r *v1alpha1.TeamTalkReceiver, now func() time.Time,
) (*verifier, error) {
	a := r.Spec.Authentication
	if a == nil {
		return nil, nil
	}
	var keys []string
	switch {
	case a.TokenSecretRef != nil:
		keys = []string{a.TokenSecretRef.Key}
	case a.BasicSecretRef != nil:
		keys = []string{corev1.BasicAuthUsernameKey, corev1.BasicAuthPasswordKey}
	case a.HMACSecretRef != nil:
		keys = []string{a.HMACSecretRef.Key}
	}
	values, err := readSecret(ctx, c, types.NamespacedName{Namespace: r.Namespace, Name: r.SecretName()}, keys)
	switch {
	case err != nil:
		return nil, err
	case a.TokenSecretRef != nil:
		return &verifier{head: func(req *http.Request) bool { return hasToken(req, values[0]) }}, nil
	case a.BasicSecretRef != nil:
		return &verifier{head: func(req *http.Request) bool { return hasPassword(req, values[0], values[1]) }}, nil
	}
	return signatureVerifier(r, values[0], now), nil
}

// readSecret returns the values of keys of a Secret, without a newline at their ends.
func readSecret(ctx context.Context, c client.Reader, name types.NamespacedName, keys []string) ([][]byte, error) {
	secret := &corev1.Secret{}
	err := c.Get(ctx, name, secret)
	switch {
	case apierrors.IsNotFound(err):
		return nil, &SecretProblem{fmt.Sprintf("Secret %q does not exist in namespace %q: create it with %s",
			name.Name, name.Namespace, quoteKeys(keys))}
	case apierrors.IsForbidden(err):
		return nil, &SecretProblem{fmt.Sprintf("Secret %q in namespace %q may not be read: grant get",
			name.Name, name.Namespace)}
	case err != nil:
		return nil, fmt.Errorf("read Secret %s: %w", name, err)
	}
	values := make([][]byte, len(keys))
	for i, key := range keys {
		if len(bytes.TrimSpace(secret.Data[key])) == 0 {
			return nil, &SecretProblem{fmt.Sprintf("Secret %q has nothing under the key %q: add it, or correct the "+
				"reference", name.Name, key)}
		}
		values[i] = trimNewline(secret.Data[key])
	}
	return values, nil
}

func quoteKeys(keys []string) string {
	if len(keys) == 1 {
		return fmt.Sprintf("the key %q", keys[0])
	}
	return fmt.Sprintf("the keys %q", keys)
}

// trimNewline returns a value without newlines at its end.
func trimNewline(value []byte) []byte { return bytes.TrimRight(value, "\r\n") }

// authorize calls Options.Authorize. If it is nil, all callers are refused.
func (h *Handler) authorize(req *http.Request, namespace string) error {
	if h.options.Authorize == nil {
		return ErrUnauthenticated
	}
	return h.options.Authorize(req, namespace)
}

// hasToken reports whether a request has the token in one of the places where callers can put one.
func hasToken(req *http.Request, token []byte) bool {
	var bearer string
	if scheme, rest, _ := strings.Cut(req.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		bearer = rest
	}
	query := req.URL.Query()
	// There is no early return, so that the time does not reveal the difference.
	found := false
	for _, got := range []string{
		bearer, req.Header.Get("X-Gitlab-Token"), req.PathValue("token"),
		query.Get("token"), query.Get("access_token"), query.Get("key"),
	} {
		found = equal(strings.TrimSpace(got), token) || found
	}
	return found
}

// hasPassword reports whether a request has this user name and password (RFC 7617).
func hasPassword(req *http.Request, username, password []byte) bool {
	name, pass, _ := req.BasicAuth()
	nameOK := equal(strings.TrimRight(name, "\r\n"), username)
	passOK := equal(strings.TrimRight(pass, "\r\n"), password)
	return nameOK && passOK
}

// equal compares in a time that depends on neither: the digests have the same length.
func equal(got string, want []byte) bool {
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256(want)
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}
