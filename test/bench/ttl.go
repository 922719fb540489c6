// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net/http"
	"time"

	"k8s.io/utils/ptr"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

const (
	// ttlMessages expire at once.
	ttlMessages = 100_000
	// ttlPause is from one new message to the next, so that they take half a minute.
	ttlPause = 100 * time.Millisecond
)

// ttl measures how fast the operator deletes messages that expired while no operator ran. It also measures how long
// new messages take meanwhile.
func ttl(ctx context.Context, w *world, r *report) {
	const pattern = "ttl-pattern"
	w.deliverOne(ctx, pattern)
	w.retire(ctx)
	// In a namespace that the tracker does not watch.
	w.multiply(ctx, pattern, copies{
		batch:      batch{namespace: bareNamespace, prefix: "expired", n: ttlMessages, users: w.o.users},
		ttlSeconds: ptr.To[int32](0),
	})
	w.operator = w.startOperator()
	w.operator.ready(ctx)
	w.deliverOne(ctx, "ttl-warm")
	from, began := w.audit.end(), time.Now()
	w.deliverEach(ctx, r, "ttl_new", ttlPause)
	took := time.Since(began)
	deleted := 0
	for _, q := range w.audit.since(from) {
		if q.Verb == "delete" && q.ObjectRef.Resource == messages && q.ResponseStatus.Code == http.StatusOK {
			deleted++
		}
	}
	r.add("ttl_delete_per_s", perSecond(deleted, took), 0)
	if deleted == 0 {
		framework.Failf("no expired message was deleted within %.0f s", took.Seconds())
	}
}
