// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/tenancy"
)

// unclaimedGrace is how long the operator that manages a server has to record a message. After it, another operator
// shows in the status why nothing is sent.
const unclaimedGrace = 30 * time.Second

// claimRetry is the retry interval for an edit of a finished message. The claim of its server does not wake it.
func (r *Reconciler) claimRetry(server types.NamespacedName) time.Duration {
	if r.Claims.Refused(server) != nil {
		return time.Minute
	}
	return conflictDelay
}

// hasServer reports whether there is a server that the message's namespace may use.
func (r *Reconciler) hasServer(ctx context.Context, m *v1alpha1.TeamTalkMessage) (bool, error) {
	_, err := tenancy.FindServer(ctx, r.Client, m.ServerKey(), m.Namespace)
	if _, missing := errors.AsType[*tenancy.NotFoundError](err); missing {
		return false, nil
	}
	return err == nil, err
}

// requireClaim stops a message if this process may not send through its server, or not yet. The claim wakes it. The
// status of another operator's message is not overwritten, because a status may prove that nothing was sent. This
// process records only the progress of its own deliveries, and why a message waits that no operator handles.
func (r *Reconciler) requireClaim(ctx context.Context, s *scope) (outcome, error) {
	server := s.message.ServerKey()
	if s.claimed {
		return proceed, nil
	}
	switch exists, err := r.hasServer(ctx, s.message); {
	case err != nil:
		return proceed, err
	case !exists && r.Claims.Contested(server):
		return leave, nil // another operator may have sent it: without the server, its state is not known
	case !exists:
		return proceed, nil
	}
	refused := r.Claims.Refused(server)
	if refused == nil {
		return requeue(0), nil // its controller has not claimed it yet
	}
	wait := waitForServer(refused.Reason, refused.Message)
	if server.Namespace != s.message.Namespace {
		wait = waitForServer(refused.Reason,
			fmt.Sprintf("TeamTalkServer %q is managed by another operator: ask its owner", server.Name))
	}
	unclaimed := unclaimedGrace - s.now.Sub(s.message.CreationTimestamp.Time)
	switch {
	case s.snapshot != nil:
		return wait, nil
	case s.message.Status.StartTime != nil: // recorded, by the operator that manages the server or by this one
		return leave, nil
	case unclaimed > 0:
		return requeue(unclaimed), nil
	}
	return wait, nil
}
