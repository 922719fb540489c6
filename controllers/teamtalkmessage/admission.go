// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// cacheLag is how long a reconciliation waits for an event of an object that the cache already shows.
const cacheLag = 100 * time.Millisecond

// awaitServerEvent waits until the messages that waited for the server are in the queue again.
func (r *Reconciler) awaitServerEvent(s *scope) outcome {
	if !s.underWay() && !r.serverSeen.has(s.server) {
		return requeue(cacheLag)
	}
	return proceed
}

// admit waits for older messages of the same conversations, and for slots. The queue wakes the message.
func (r *Reconciler) admit(s *scope) outcome {
	if s.allSubmitted() || r.Engine.Queue.Admit(s.message.UID, s.serverKey(), s.sendable()) {
		return proceed
	}
	if s.underWay() {
		return outcome{action: actionRecordDue, keepsPlace: true}
	}
	if s.session.Health().DBProxyConnected > 0 || s.begun() {
		return requeue(0) // it is admitted soon; and the status tells more about messages that may have been sent
	}
	s.omitRecipients = s.untouched()
	return waitForServer(v1alpha1.ReasonServerNotReady,
		"waiting for a connection to db_proxy, behind other messages of the server")
}

// seenServers holds the servers whose events have been handled: the messages that waited for them are in the queue
// again. The cache shows a server before its event is handled. A message that is reconciled in between must not
// overtake messages that waited for the server. The zero value is ready to use.
type seenServers struct{ versions sync.Map }

type serverVersion struct {
	uid        types.UID
	generation int64
}

func (s *seenServers) add(server client.Object) {
	s.versions.Store(client.ObjectKeyFromObject(server), serverVersion{server.GetUID(), server.GetGeneration()})
}

func (s *seenServers) has(server *v1alpha1.TeamTalkServer) bool {
	v, _ := s.versions.Load(client.ObjectKeyFromObject(server))
	seen, ok := v.(serverVersion)
	return ok && seen.uid == server.UID && seen.generation >= server.Generation
}
