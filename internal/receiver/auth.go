// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// SignatureHeader has the signature of a body: sha256=<HMAC-SHA256 in hex>, as Flux's notification-controller sends it.
const SignatureHeader = "X-Signature"

// acceptedForms is what callers are told who are not authenticated, whether or not there is such a receiver.
const acceptedForms = "not authenticated: send Authorization: Bearer TOKEN, with the receiver's token or one of the " +
	"cluster, or sign the body: " + SignatureHeader + ": sha256=HMAC-SHA256 in hex; " +
	"the receiver's authentication says which"

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

// SecretProblem says why callers cannot be checked against a Secret, and what the user has to change.
type SecretProblem struct{ message string }

// Error implements error.
func (p *SecretProblem) Error() string { return p.message }

// LoadSecret reads what the receiver's callers are checked against. If the user has to change something, the error is a
// SecretProblem.
func LoadSecret(ctx context.Context, c client.Reader, namespace string, ref *v1alpha1.TokenSecretRef) ([]byte, error) {
	secret := &corev1.Secret{}
	err := c.Get(ctx, types.NamespacedName{Namespace: namespace, Name: ref.Name}, secret)
	switch {
	case apierrors.IsNotFound(err):
		return nil, &SecretProblem{fmt.Sprintf("Secret %q does not exist in namespace %q: create it with the key %q",
			ref.Name, namespace, ref.Key)}
	case apierrors.IsForbidden(err):
		return nil, &SecretProblem{fmt.Sprintf("Secret %q in namespace %q may not be read: grant get", ref.Name, namespace)}
	case err != nil:
		return nil, fmt.Errorf("read Secret %s/%s: %w", namespace, ref.Name, err)
	}
	if len(strings.TrimSpace(string(secret.Data[ref.Key]))) == 0 {
		return nil, &SecretProblem{fmt.Sprintf("Secret %q has nothing under the key %q: add it, or correct the reference's "+
			"key", ref.Name, ref.Key)}
	}
	return secret.Data[ref.Key], nil
}

// authenticate checks who sent a request with this body.
func (h *Handler) authenticate(req *http.Request, r *v1alpha1.TeamTalkReceiver, body []byte) error {
	ref := r.SecretRef()
	if ref == nil {
		return h.authorize(req, r.Namespace)
	}
	secret, err := LoadSecret(req.Context(), h.client, r.Namespace, ref)
	if err != nil {
		return err
	}
	if r.Spec.Authentication.HMACSecretRef != nil {
		return checkSignature(req.Header.Get(SignatureHeader), body, secret)
	}
	return checkToken(req.Header.Get("Authorization"), secret)
}

// authorize asks Options.Authorize. Without it, all callers are refused.
func (h *Handler) authorize(req *http.Request, namespace string) error {
	if h.options.Authorize == nil {
		return ErrUnauthenticated
	}
	return h.options.Authorize(req, namespace)
}

// checkToken checks the token in an Authorization header.
func checkToken(header string, secret []byte) error {
	scheme, token, _ := strings.Cut(header, " ")
	// Digests have the same length, so that the time tells nothing about the token.
	a, b := sha256.Sum256([]byte(strings.TrimSpace(token))), sha256.Sum256(trimNewline(secret))
	if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(a[:], b[:]) != 1 {
		return ErrUnauthenticated
	}
	return nil
}

// trimNewline returns a secret without newlines at its end: a value that was created from a file ends in one.
func trimNewline(secret []byte) []byte { return bytes.TrimRight(secret, "\r\n") }

// parseSignature returns the digest in a SignatureHeader. Not ok: the header does not have this form.
func parseSignature(header string) (digest []byte, ok bool) {
	algorithm, text, _ := strings.Cut(header, "=")
	digest, err := hex.DecodeString(text)
	return digest, err == nil && algorithm == "sha256" && len(digest) == sha256.Size
}

// checkSignature checks the signature of a body. The caller has the key with or without a newline at its end.
func checkSignature(header string, body, key []byte) error {
	got, ok := parseSignature(header)
	if !ok {
		return ErrUnauthenticated
	}
	for _, key := range [][]byte{key, trimNewline(key)} {
		mac := hmac.New(sha256.New, key)
		mac.Write(body)
		if hmac.Equal(got, mac.Sum(nil)) {
			return nil
		}
	}
	return ErrUnauthenticated
}
