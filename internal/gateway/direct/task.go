// SPDX-License-Identifier: Apache-2.0

package direct

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

// retryLimit is more than fits into the time of a request.
const retryLimit = 10

// check refuses messages that the server does not permit or cannot store.
func check(server *v1alpha1.TeamTalkServer, r api.Request) error {
	limit := cipher.MaxText
	if server.DeliveryTokens() {
		limit = cipher.MaxTextWithToken
	}
	cause := server.Spec.Senders.Check(v1alpha1.UserID(r.Sender))
	switch {
	case cause != nil:
		return (*api.Refusal)(cause)
	case len(r.Text) > limit:
		return api.Refuse(v1alpha1.ReasonContentTooLong,
			"the text has %d bytes, at most %d can be sent: shorten it", len(r.Text), limit)
	case r.Key != "" && !server.DeliveryTokens():
		return api.Refuse(v1alpha1.ReasonContentInvalid,
			"the server's deliveryToken is Disabled, and a key needs it: leave the key out, or enable it")
	}
	for _, id := range r.Recipients {
		if !server.Spec.Recipients.Permits(r.Type, int64(id)) {
			return api.Refuse(v1alpha1.ReasonRecipientNotPermitted, "the server's recipients rules exclude %d", id)
		}
	}
	return nil
}

// newTask returns the engine's task for a request.
func (s *Sender) newTask(server *v1alpha1.TeamTalkServer, session *connection.Session, r api.Request) delivery.Task {
	now, uid := time.Now(), types.UID(uuid.NewString())
	t := delivery.Task{
		Key: types.NamespacedName{Namespace: r.Namespace, Name: string(uid)}, UID: uid,
		Identity: delivery.Identity{UID: uid},
		Server:   session, ServerKey: client.ObjectKeyFromObject(server), Sender: r.Sender,
		Payload: delivery.Payload{Data: []byte(r.Text)}, Token: server.DeliveryTokens(),
		Policy: delivery.PolicyOf(server, retryLimit),
		Order:  queue.Order{Created: now, Seen: strconv.FormatUint(s.sequence.Add(1), 10), Name: string(uid)},
	}
	if r.Key != "" {
		t.Identity = delivery.Identity{Namespace: r.Namespace, Key: r.Key}
		t.Since = now.Add(-time.Duration(server.Spec.IdempotencyWindowSeconds) * time.Second)
		// db_proxy may still execute requests of an earlier process.
		t.EarlierUntil = s.started.Add(delivery.PeerPatience)
	}
	for _, id := range r.Recipients {
		p := delivery.Progress{Recipient: v1alpha1.Recipient{Type: r.Type, ID: id}, State: v1alpha1.StatePending}
		if !t.Token {
			// It identifies the message in the store.
			p.CreateTime = s.engine.Stage(t.ServerKey, r.Sender, p.Recipient, now)
		}
		t.Recipients = append(t.Recipients, p)
	}
	return t
}

// requestID is equal for requests that are the same.
func requestID(r api.Request) string {
	r.Recipients, r.Wait, r.Caller = slices.Sorted(slices.Values(r.Recipients)), 0, ""
	return fmt.Sprintf("%#v", r)
}

// resultOf returns the result of a task that has ended or was stopped.
func resultOf(s delivery.Snapshot) api.Result {
	r := api.Result{}
	for _, p := range s.Recipients {
		r.Recipients = append(r.Recipients, recipientOf(p, s.Running))
	}
	r.Summarize()
	return r
}

// recipientOf returns the result for one recipient. If running, a request to TeamTalk may be in flight.
func recipientOf(p delivery.Progress, running bool) api.Recipient {
	to := api.Recipient{ID: p.ID, State: api.Failed, Cause: v1alpha1.Cause{Reason: p.Reason, Message: p.Message}}
	switch {
	case p.Delivered() || p.State == v1alpha1.StateStored:
		// Clients show stored messages that were not routed at their next sync.
		return api.Recipient{ID: to.ID, State: api.Delivered, MessageID: int64(p.MessageID)}
	case p.State == v1alpha1.StateFailed && p.Reason != v1alpha1.ReasonOutcomeUnknown:
	case p.State == v1alpha1.StatePending && !running:
		if to.Cause.Reason == "" {
			to.Cause = v1alpha1.Cause{Reason: v1alpha1.ReasonServerNotReady, Message: "earlier messages were not sent in time"}
		}
		to.Cause.Message = "not delivered, and not retried: " + to.Cause.Message
	default:
		to.State = api.Unknown
		if to.Cause.Reason == "" {
			to.Cause.Reason = v1alpha1.ReasonNoAnswer
		}
		to.Cause.Message = "it may have been delivered; send it again with the same Idempotency-Key to find out, " +
			"if it had one: " + to.Cause.Message
	}
	return to
}
