// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"sort"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

// maxAttempts limits the messages of one key. A retry after nothing was stored is another message. The limit is not
// reached in practice: an attempt takes seconds, and finished messages are deleted.
const maxAttempts = 1 << 16

// nextAttempt returns the attempt to continue with after one that ended with nothing stored: the last one that
// exists, or else the next one. It searches by doubling and halving.
func (s *Sender) nextAttempt(ctx context.Context, r api.Request, attempt int) (int, error) {
	var failed error
	isFree := func(attempt int) bool {
		if failed == nil {
			m := &metav1.PartialObjectMetadata{}
			m.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("TeamTalkMessage"))
			failed = s.client.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: nameOf(r, attempt)}, m)
			if failed == nil {
				return false
			}
			failed = client.IgnoreNotFound(failed)
		}
		return true
	}
	step := 1
	for !isFree(attempt + step) {
		step *= 2
	}
	free := attempt + 1 + sort.Search(step-1, func(i int) bool { return isFree(attempt + 1 + i) })
	switch {
	case failed != nil:
		return 0, fmt.Errorf("search the attempts of a key: %w", failed)
	case free > attempt+1:
		return free - 1, nil
	case free > maxAttempts:
		return 0, api.Refuse(v1alpha1.ReasonRetriesExhausted,
			"the key was tried %d times with nothing stored: use another key", maxAttempts)
	}
	return free, nil
}

// nameOf names the message of an attempt after everything that identifies the request. It leaves the text out: a
// request with the same key and another text finds the name taken.
func nameOf(r api.Request, attempt int) string {
	fields := []string{r.Key, r.Server, fmt.Sprint(r.Sender), string(r.Type)}
	for _, id := range slices.Sorted(slices.Values(r.Recipients)) {
		fields = append(fields, fmt.Sprint(id))
	}
	digest := cipher.Digest(fields...)
	name := "gateway-" + hex.EncodeToString(digest[:16])
	if attempt > 1 {
		name += fmt.Sprint("-", attempt)
	}
	return name
}
