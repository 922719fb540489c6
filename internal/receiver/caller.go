// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// callerClass is what is known about a request's caller.
type callerClass int

const (
	// anonymous: the receiver does not exist or could not be read. Not counted.
	anonymous callerClass = iota
	// unauthenticated callers are counted, but do not change the receiver's status.
	unauthenticated
	// authenticated callers are counted, and recorded in the receiver's status.
	authenticated
)

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
		// Its messages would be deleted with it.
		return nil, h.failed(key, errors.New("the receiver is being deleted")), authenticated
	case h.options.Identify != nil && !h.options.Identify(ctx, "receiver "+key.String()):
		return nil, h.failed(key, errors.New("too many requests to it at once")), authenticated
	}
	return r, answer{}, authenticated
}

// find reads a receiver. It returns nil if there is none. The API client reports an invalid name as an error of its
// caller, so such a name is not looked up.
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
