// SPDX-License-Identifier: Apache-2.0

package teamtalkserver

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
)

func TestSetStatus(t *testing.T) {
	up := connection.Health{DBProxyConnected: 1, DBProxyDesired: 2, RouterConnected: 1, RouterDesired: 1}
	noRouter, noDBProxy := up, up
	noRouter.RouterConnected, noDBProxy.DBProxyConnected = 0, 0
	key := &v1alpha1.Cause{Reason: v1alpha1.ReasonKeyInvalid, Message: "31 bytes"}
	tests := map[string]struct {
		key     *v1alpha1.Cause
		health  connection.Health
		refused connection.Refusals
		// want are the statuses of Ready, KeyLoaded, DBProxyConnected, RouterConnected.
		want       [4]metav1.ConditionStatus
		wantReason string
	}{
		"all is up":            {nil, up, connection.Refusals{}, [4]metav1.ConditionStatus{"True", "True", "True", "True"}, v1alpha1.ReasonReady},
		"one of several":       {nil, up, connection.Refusals{NotPermitted: []string{"db:1"}}, [4]metav1.ConditionStatus{"True", "True", "True", "True"}, v1alpha1.ReasonReady},
		"a db_proxy refused":   {nil, noDBProxy, connection.Refusals{NotPermitted: []string{"db:1"}}, [4]metav1.ConditionStatus{"False", "True", "False", "True"}, v1alpha1.ReasonEndpointNotPermitted},
		"a router refused":     {nil, noRouter, connection.Refusals{NotPermitted: []string{"router:1"}}, [4]metav1.ConditionStatus{"False", "True", "True", "False"}, v1alpha1.ReasonEndpointNotPermitted},
		"the other refused":    {nil, noRouter, connection.Refusals{NotPermitted: []string{"db:1"}}, [4]metav1.ConditionStatus{"False", "True", "True", "False"}, v1alpha1.ReasonConnecting},
		"no db_proxy, limited": {nil, noDBProxy, connection.Refusals{Limited: []string{"db:1"}}, [4]metav1.ConditionStatus{"False", "True", "False", "True"}, v1alpha1.ReasonConnectionLimit},
		"no router, limited":   {nil, noRouter, connection.Refusals{Limited: []string{"router:1"}}, [4]metav1.ConditionStatus{"False", "True", "True", "False"}, v1alpha1.ReasonConnectionLimit},
		"some of them":         {nil, up, connection.Refusals{Limited: []string{"db:1"}}, [4]metav1.ConditionStatus{"True", "True", "True", "True"}, v1alpha1.ReasonReady},
		"no router":            {nil, noRouter, connection.Refusals{}, [4]metav1.ConditionStatus{"False", "True", "True", "False"}, v1alpha1.ReasonConnecting},
		"no db_proxy":          {nil, noDBProxy, connection.Refusals{}, [4]metav1.ConditionStatus{"False", "True", "False", "True"}, v1alpha1.ReasonConnecting},
		"a bad key":            {key, up, connection.Refusals{}, [4]metav1.ConditionStatus{"False", "False", "True", "True"}, v1alpha1.ReasonKeyInvalid},
		"the key comes first":  {key, connection.Health{}, connection.Refusals{}, [4]metav1.ConditionStatus{"False", "False", "False", "False"}, v1alpha1.ReasonKeyInvalid},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := &v1alpha1.TeamTalkServer{ObjectMeta: metav1.ObjectMeta{Generation: 3}}
			s.Spec.DBProxy.Endpoints, s.Spec.Router.Endpoints = []v1alpha1.Endpoint{"db:1"}, []v1alpha1.Endpoint{"router:1"}
			setStatus(s, tc.key, tc.health, tc.refused)
			for i, condition := range []string{
				v1alpha1.ConditionReady, v1alpha1.ConditionKeyLoaded, v1alpha1.ConditionDBProxyConnected, v1alpha1.ConditionRouterConnected,
			} {
				c := meta.FindStatusCondition(s.Status.Conditions, condition)
				if c == nil || c.Status != tc.want[i] || c.ObservedGeneration != 3 || c.Message == "" {
					t.Errorf("%s: %+v, want %s", condition, c, tc.want[i])
				}
			}
			if got := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionReady).Reason; got != tc.wantReason {
				t.Errorf("reason %s, want %s", got, tc.wantReason)
			}
			if s.Status.DBProxy.Desired != int32(tc.health.DBProxyDesired) || s.Status.ObservedGeneration != 3 {
				t.Errorf("status %+v", s.Status)
			}
		})
	}
}
