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

// unclaimedGrace is how long the operator that manages a server has to record a message. After it, one that may not
// send through the server shows why nothing happens.
const unclaimedGrace = 30 * time.Second

// claimRetry is when to look again at an edit of a finished message, which the claim of its server does not wake.
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

// requireClaim stops a message whose server this process may not send through, or not yet. The claim wakes it. Another
// operator's messages are left alone, as a status may prove that nothing was sent. Shown is only what this process has
// sent, and why a message waits that nobody takes up.
func (r *Reconciler) requireClaim(ctx context.Context, s *scope) (outcome, error) {
	server := s.message.ServerKey()
	if s.claimed {
		return proceed, nil
	}
	switch exists, err := r.hasServer(ctx, s.message); {
	case err != nil:
		return proceed, err
	case !exists && r.Claims.Contested(server):
		return leave, nil // another operator may have sent it: nothing can be said of it without the server
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
