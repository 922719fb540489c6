// SPDX-License-Identifier: Apache-2.0

package teamtalkserver

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/tenancy"
)

// setStatus computes the whole status. key is why there is no usable key, or nil.
func setStatus(
	server *v1alpha1.TeamTalkServer, key *v1alpha1.Cause, h connection.Health, refused connection.Refusals,
) {
	s := &server.Status
	s.ObservedGeneration = server.Generation
	s.DBProxy = &v1alpha1.ConnectionCount{Connected: int32(h.DBProxyConnected), Desired: int32(h.DBProxyDesired)}
	s.Router = &v1alpha1.ConnectionCount{Connected: int32(h.RouterConnected), Desired: int32(h.RouterDesired)}

	dbProxy := disconnected("db_proxy", "dbProxy", h.DBProxyConnected, key)
	router := disconnected("a router", "router", h.RouterConnected, key)
	explain := func(endpoint string, cause *v1alpha1.Cause) {
		if dbProxy != nil && slices.Contains(server.Spec.DBProxy.Endpoints, v1alpha1.Endpoint(endpoint)) {
			dbProxy = cause
		}
		if router != nil && slices.Contains(server.Spec.Router.Endpoints, v1alpha1.Endpoint(endpoint)) {
			router = cause
		}
	}
	for _, endpoint := range refused.Limited {
		explain(endpoint, limited(server.Namespace))
	}
	for _, endpoint := range refused.NotPermitted {
		explain(endpoint, tenancy.NotPermitted(server.Namespace, endpoint))
	}
	set := func(condition string, cause *v1alpha1.Cause, reason, message string) {
		c := metav1.Condition{
			Type: condition, Status: metav1.ConditionTrue, Reason: reason, Message: message,
			ObservedGeneration: server.Generation,
		}
		if cause != nil {
			c.Status, c.Reason, c.Message = metav1.ConditionFalse, cause.Reason, cause.Message
		}
		meta.SetStatusCondition(&s.Conditions, c)
	}
	set(v1alpha1.ConditionKeyLoaded, key, v1alpha1.ReasonKeyLoaded, "the AES key is loaded")
	reason, message := connected(server.Spec.DBProxy.Endpoints, refused, server.Namespace)
	set(v1alpha1.ConditionDBProxyConnected, dbProxy, reason, "db_proxy is connected"+message)
	reason, message = connected(server.Spec.Router.Endpoints, refused, server.Namespace)
	set(v1alpha1.ConditionRouterConnected, router, reason, "a router is connected"+message)
	set(v1alpha1.ConditionReady, cmp.Or(key, dbProxy, router), v1alpha1.ReasonReady, "messages can be delivered")
}

// connected returns the reason of a condition about endpoints of which one is connected, and a suffix for its message.
func connected(endpoints []v1alpha1.Endpoint, refused connection.Refusals, namespace string) (reason, addition string) {
	for _, endpoint := range refused.Limited {
		if slices.Contains(endpoints, v1alpha1.Endpoint(endpoint)) {
			cause := limited(namespace)
			return cause.Reason, ", with fewer connections than declared: " + cause.Message
		}
	}
	return v1alpha1.ReasonConnected, ""
}

// limited is why an endpoint has no connection, or fewer than declared.
func limited(namespace string) *v1alpha1.Cause {
	return &v1alpha1.Cause{Reason: v1alpha1.ReasonConnectionLimit, Message: fmt.Sprintf(
		"the servers of namespace %q have as many connections as the operator permits; it retries: "+
			"lower spec.dbProxy.connections, list fewer endpoints, or delete servers that are not used", namespace)}
}

// setNotPermitted records that there are no connections because an endpoint in the spec is not permitted.
func setNotPermitted(server *v1alpha1.TeamTalkServer, cause v1alpha1.Cause) {
	s := &server.Status
	s.ObservedGeneration, s.DBProxy, s.Router = server.Generation, nil, nil
	meta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionKeyLoaded) // the key is not read
	for _, condition := range []string{
		v1alpha1.ConditionDBProxyConnected, v1alpha1.ConditionRouterConnected, v1alpha1.ConditionReady,
	} {
		meta.SetStatusCondition(&s.Conditions, metav1.Condition{
			Type: condition, Status: metav1.ConditionFalse, Reason: cause.Reason, Message: cause.Message,
			ObservedGeneration: server.Generation,
		})
	}
}

// setRefused records that this operator sends nothing through a server whose current spec no operator has handled.
func setRefused(server *v1alpha1.TeamTalkServer, cause v1alpha1.Cause) {
	meta.SetStatusCondition(&server.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: cause.Reason, Message: cause.Message,
		ObservedGeneration: server.Generation,
	})
}

// disconnected returns why there is no connection, or nil. key is why there is no key.
func disconnected(what, field string, connected int, key *v1alpha1.Cause) *v1alpha1.Cause {
	switch {
	case connected > 0:
		return nil
	case key != nil:
		return &v1alpha1.Cause{Reason: v1alpha1.ReasonConnecting, Message: fmt.Sprintf(
			"no connection to %s: the operator connects once it has the AES key, see condition %s",
			what, v1alpha1.ConditionKeyLoaded)}
	}
	return &v1alpha1.Cause{Reason: v1alpha1.ReasonConnecting, Message: fmt.Sprintf("no connection to %s, "+
		"the operator retries: check spec.%s.endpoints, and that the operator can reach them", what, field)}
}
