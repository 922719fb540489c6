// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// callerClass classifies a request's caller.
type callerClass int

const (
	// anonymous: the receiver does not exist or could not be read. Not counted.
	anonymous callerClass = iota
	// unauthenticated callers are counted, but do not change the receiver's status.
	unauthenticated
	// authenticated callers are counted, and recorded in the receiver's status.
	authenticated
)

// noSecret is the name of a Secret that need not exist.
const noSecret = "teamtalk-receiver-without-secret"

// admitted is a request that may be processed, unless its answer has a code.
type admitted struct {
	answer

	class    callerClass
	receiver *v1alpha1.TeamTalkReceiver
	body     []byte
}

// admitCaller finds out who sent a request, and reads its body. Callers who prove who they are without the body are
// admitted before it is read.
//
// Callers without permissions in the namespace get the same answers, after the same requests to the API server, whether
// or not the receiver exists, and for all its kinds of authentication. So the bodies of all of them are read. The
// exception is a receiver whose Secret is missing.
func (h *Handler) admitCaller(w http.ResponseWriter, req *http.Request, key types.NamespacedName) admitted {
	ctx, cancel := context.WithTimeout(req.Context(), answerTimeout)
	defer cancel()
	r, err := h.find(ctx, key)
	if err != nil {
		return admitted{answer: h.failed(withoutName(key), fmt.Errorf("read the TeamTalkReceiver: %s", readFailure(err)))}
	}
	class := unauthenticated
	var v *verifier
	if r == nil {
		counted.end(key)
		class = anonymous
	} else if v, err = h.loadVerifier(ctx, r); err != nil {
		return admitted{answer: h.refused(key, err), class: class}
	}
	denied := h.checkHead(req.WithContext(ctx), key, r, v)
	if r == nil && denied == nil {
		return admitted{answer: refuse(http.StatusNotFound, "there is no TeamTalkReceiver %q in namespace %q", key.Name,
			key.Namespace)}
	}
	if r == nil {
		key = withoutName(key)
	}
	if denied == nil {
		a := h.admitReceiver(ctx, r)
		if a.code == 0 {
			a.body, a.answer = h.readBody(w, req, key)
		}
		return a
	}
	body, unread := h.readBody(w, req, key)
	switch {
	case unread.code != 0:
		return admitted{answer: unread, class: class}
	case !v.acceptsBody(req, body):
		a := h.refused(key, denied)
		if _, sign := feishuSign(body, req.Header.Get("Content-Type")); sign != "" && a.code == http.StatusUnauthorized {
			a.reason = invalidSignature
		}
		return admitted{answer: a, class: class}
	}
	a := h.admitReceiver(ctx, r)
	a.body = body
	return a
}

// loadVerifier reads the Secret of a receiver, and records in the receiver's status whether callers can be
// authenticated.
func (h *Handler) loadVerifier(ctx context.Context, r *v1alpha1.TeamTalkReceiver) (*verifier, error) {
	v, err := loadVerifier(ctx, h.client, r, h.now)
	problem, isProblem := errors.AsType[*SecretProblem](err)
	if err == nil || isProblem {
		h.status.serve(r, h.now(), problem)
	}
	return v, err
}

// checkHead checks a caller before the body is read. It returns nil if the caller is authenticated. If the receiver
// does not exist, that is a caller who may know this.
func (h *Handler) checkHead(
	req *http.Request, key types.NamespacedName, r *v1alpha1.TeamTalkReceiver, v *verifier,
) error {
	if v.acceptsHead(req) {
		return nil
	}
	err := h.authorize(req, key.Namespace)
	switch {
	case v == nil && err != nil && (r != nil || isName(key)):
		// As many reads as for a receiver that names a Secret. The result does not matter.
		_ = h.client.Get(req.Context(), types.NamespacedName{Namespace: key.Namespace, Name: noSecret}, &corev1.Secret{})
	case v != nil && err == nil:
		return ErrUnauthenticated // the receiver's Secret decides
	}
	return err
}

// admitReceiver admits an authenticated caller, unless the receiver accepts no requests now.
func (h *Handler) admitReceiver(ctx context.Context, r *v1alpha1.TeamTalkReceiver) admitted {
	key := client.ObjectKeyFromObject(r)
	a := admitted{class: authenticated, receiver: r}
	switch {
	case !r.DeletionTimestamp.IsZero():
		// Its messages would be deleted with it.
		a.answer = h.failed(key, errors.New("the receiver is being deleted"))
	case h.options.Identify != nil && !h.options.Identify(ctx, "receiver "+key.String()):
		a.answer = h.busy(key, errors.New("too many requests to it at once"))
	}
	return a
}

// find reads a receiver. It returns nil if there is none. The API client reports an invalid name as an error of its
// caller, so such a name is not looked up.
func (h *Handler) find(ctx context.Context, key types.NamespacedName) (*v1alpha1.TeamTalkReceiver, error) {
	if !isName(key) {
		return nil, nil
	}
	r := &v1alpha1.TeamTalkReceiver{}
	if err := h.client.Get(ctx, key, r); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	return r, nil
}

// isName reports whether an object may have this name.
func isName(key types.NamespacedName) bool {
	return validation.IsDNS1123Label(key.Namespace) == nil && validation.IsDNS1123Subdomain(key.Name) == nil
}

// withoutName is logged instead of the name of a receiver that does not exist or could not be read. The name may be a
// token that the caller put into the wrong place of the path.
func withoutName(key types.NamespacedName) types.NamespacedName {
	return types.NamespacedName{Namespace: key.Namespace}
}

// readFailure returns why a receiver could not be read, without its name.
func readFailure(err error) string {
	if reason := apierrors.ReasonForError(err); reason != metav1.StatusReasonUnknown {
		return string(reason)
	}
	if request, ok := errors.AsType[*url.Error](err); ok {
		return request.Err.Error()
	}
	return err.Error()
}

// refused returns the answer to a caller who failed authentication, or could not be checked.
func (h *Handler) refused(key types.NamespacedName, err error) answer {
	switch {
	case errors.Is(err, ErrUnauthenticated):
		return refuse(http.StatusUnauthorized, acceptedForms)
	case errors.Is(err, ErrForbidden):
		return refuse(http.StatusForbidden, "not permitted to create TeamTalkMessages in namespace %q", key.Namespace)
	}
	return h.failed(key, fmt.Errorf("check the caller: %w", err))
}
