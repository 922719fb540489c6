// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/apiproxy"
)

func apiScenarios() []scenario {
	during := func(name, clause string, short bool, rules ...apiproxy.Rule) scenario {
		return scenario{name: name, clause: clause, bound: retryBound, alone: true, short: short,
			run: func(ctx context.Context, w *world) error {
				for _, r := range rules {
					r.Match = apiproxy.StatusWrite
					w.counts(w.leader.api.Add(r).Fired)
				}
				return w.send(ctx, w.size)
			}}
	}
	return []scenario{
		during("api-refuses", "the API server fails at status writes", true,
			apiproxy.Rule{Every: 3, Count: 40,
				Do: apiproxy.Refuse(http.StatusInternalServerError, metav1.StatusReasonInternalError)},
			apiproxy.Rule{Every: 5, Count: 40,
				Do: apiproxy.Refuse(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable)}),
		{
			name: "api-conflicts", clause: "status writes conflict: somebody else was first, or something says so",
			bound: retryBound, alone: true, short: true, run: apiConflicts,
		},
		during("api-cut", "connections to the API server end before or after a status write was done", true,
			apiproxy.Rule{Every: 3, Count: 40, Do: apiproxy.CutAfter},
			apiproxy.Rule{Every: 3, Count: 40, Do: apiproxy.CutBefore}),
		{
			name: "api-gone", clause: "the API server is gone during status writes, and comes back",
			bound: retryBound, alone: true, run: apiGone,
		},
	}
}

func apiConflicts(ctx context.Context, w *world) error {
	touch := func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		// .../namespaces/NAMESPACE/teamtalkmessages/NAME/status
		parts := strings.Split(r.URL.Path, "/")
		m := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: parts[len(parts)-2]}}
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"chaos":"%d"}}}`, time.Now().UnixNano())
		if w.lane.admin.Patch(r.Context(), m, client.RawPatch("application/merge-patch+json", patch)) != nil {
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(rw, r)
	}
	for _, do := range []apiproxy.Action{touch, apiproxy.Refuse(http.StatusConflict, metav1.StatusReasonConflict)} {
		w.counts(w.leader.api.Add(apiproxy.Rule{Match: apiproxy.StatusWrite, Every: 3, Count: w.size / 4, Do: do}).Fired)
	}
	return w.send(ctx, w.size)
}

func apiGone(ctx context.Context, w *world) error {
	w.counts(w.leader.api.Refused)
	hang := w.leader.api.Add(apiproxy.Rule{Match: apiproxy.StatusWrite, Do: apiproxy.Hang})
	w.counts(hang.Fired)
	if err := w.send(ctx, w.size); err != nil {
		return err
	}
	if err := hang.Await(ctx, 1); err != nil {
		return err
	}
	w.leader.api.SetGone(true)
	hang.Remove()
	// Long enough for everything to be sent, too short for the Lease to be lost.
	if err := after(ctx, 4*time.Second); err != nil {
		return err
	}
	w.leader.api.SetGone(false)
	return nil
}
