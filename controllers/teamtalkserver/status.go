package teamtalkserver

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
)

// setStatus computes the whole status: it is the one place that does.
func setStatus(server *v1alpha1.TeamTalkServer, key *v1alpha1.Cause, h connection.Health) {
	s := &server.Status
	s.ObservedGeneration = server.Generation
	s.DBProxy = &v1alpha1.ConnectionCount{Connected: int32(h.DBProxyConnected), Desired: int32(h.DBProxyDesired)}
	s.Router = &v1alpha1.ConnectionCount{Connected: int32(h.RouterConnected), Desired: int32(h.RouterDesired)}

	dbProxy := disconnected("db_proxy", "dbProxy", h.DBProxyConnected)
	router := disconnected("a router", "router", h.RouterConnected)
	set := func(condition string, p *v1alpha1.Cause, reason, message string) {
		c := metav1.Condition{
			Type: condition, Status: metav1.ConditionTrue, Reason: reason, Message: message,
			ObservedGeneration: server.Generation,
		}
		if p != nil {
			c.Status, c.Reason, c.Message = metav1.ConditionFalse, p.Reason, p.Message
		}
		meta.SetStatusCondition(&s.Conditions, c)
	}
	set(v1alpha1.ConditionKeyLoaded, key, v1alpha1.ReasonKeyLoaded, "the AES key is loaded")
	set(v1alpha1.ConditionDBProxyConnected, dbProxy, v1alpha1.ReasonConnected, "db_proxy is connected")
	set(v1alpha1.ConditionRouterConnected, router, v1alpha1.ReasonConnected, "a router is connected")
	var first *v1alpha1.Cause
	for _, p := range []*v1alpha1.Cause{router, dbProxy, key} {
		if p != nil {
			first = p
		}
	}
	set(v1alpha1.ConditionReady, first, v1alpha1.ReasonReady, "messages can be delivered")
}

func disconnected(what, field string, connected int) *v1alpha1.Cause {
	if connected > 0 {
		return nil
	}
	return &v1alpha1.Cause{Reason: v1alpha1.ReasonConnecting, Message: fmt.Sprintf(
		"no connection to %s yet: it is being tried; check spec.%s.endpoints, and that they can be reached from the operator", what, field)}
}

// report writes an event where the server becomes ready, or stops being so for
// another reason than before.
func (r *Reconciler) report(before, after *v1alpha1.TeamTalkServer) {
	was := meta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionReady)
	is := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionReady)
	if was != nil && was.Status == is.Status && was.Reason == is.Reason {
		return
	}
	kind := corev1.EventTypeWarning
	if is.Status == metav1.ConditionTrue {
		kind = corev1.EventTypeNormal
	} else if was == nil && is.Reason == v1alpha1.ReasonConnecting {
		// A new server is always connecting at first.
		return
	}
	r.Recorder.Eventf(after, nil, kind, is.Reason, "Connect", "%s", is.Message)
}
