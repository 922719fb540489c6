// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net/http"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/apiproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

func apiScenarios() []scenario {
	during := func(name, clause string, rules func(*world) []apiproxy.Rule) scenario {
		return scenario{name: name, clause: clause, alone: true, short: true, run: func(ctx context.Context, w *world) {
			for _, r := range rules(w) {
				r.Match = apiproxy.StatusWrite
				w.counts(w.leader.api.Add(r).Fired)
			}
			w.send(ctx, w.size)
		}}
	}
	return []scenario{
		during("api-refuses", "the API server fails status writes", func(*world) []apiproxy.Rule {
			return []apiproxy.Rule{
				{Every: 3, Count: 40, Do: apiproxy.Refuse(http.StatusInternalServerError, metav1.StatusReasonInternalError)},
				{Every: 5, Count: 40, Do: apiproxy.Refuse(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable)},
			}
		}),
		during("api-conflicts", "status writes conflict, with or without another write",
			func(w *world) []apiproxy.Rule {
				return []apiproxy.Rule{
					{Every: 3, Count: w.size / 4, Do: w.touch},
					{Every: 3, Count: w.size / 4, Do: apiproxy.Refuse(http.StatusConflict, metav1.StatusReasonConflict)},
				}
			}),
		during("api-cut", "connections to the API server end before or after a status write is executed",
			func(*world) []apiproxy.Rule {
				return []apiproxy.Rule{{Every: 3, Count: 40, Do: apiproxy.CutAfter}, {Every: 3, Count: 40, Do: apiproxy.CutBefore}}
			}),
		{
			name: "api-gone", clause: "the API server is down during status writes, and returns", alone: true, run: apiGone,
		},
	}
}

// touch changes a message before its status is written.
func (w *world) touch(rw http.ResponseWriter, r *http.Request, next http.Handler) {
	// .../namespaces/NAMESPACE/teamtalkmessages/NAME/status
	parts := strings.Split(r.URL.Path, "/")
	m := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: parts[len(parts)-2]}}
	const patch = `{"metadata":{"annotations":{"chaos":"%d"}}}`
	if framework.MergePatch(r.Context(), w.cluster.admin, m, patch, time.Now().UnixNano()) != nil {
		panic(http.ErrAbortHandler)
	}
	next.ServeHTTP(rw, r)
}

func apiGone(ctx context.Context, w *world) {
	w.counts(w.leader.api.Refused)
	hang := w.leader.api.Add(apiproxy.Rule{Match: apiproxy.StatusWrite, Do: apiproxy.Hang})
	w.counts(hang.Fired)
	w.send(ctx, w.size)
	framework.Must(hang.Await(ctx, 1))
	w.leader.api.SetGone(true)
	hang.Remove()
	// All messages can be sent in this time, and the Lease is not lost.
	after(ctx, 4*time.Second)
	w.leader.api.SetGone(false)
}
