// SPDX-License-Identifier: Apache-2.0

package health

import (
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

var (
	done       = Health{status.CurrentStatus, "Healthy"}
	inProgress = Health{status.InProgressStatus, "Progressing"}
	failed     = Health{status.FailedStatus, "Degraded"}
	suspended  = Health{status.CurrentStatus, "Suspended"}
	// broken waits for something other than the object. kstatus has no word for that.
	broken = Health{status.InProgressStatus, "Degraded"}
)

// Want is what tools should make of each kind, by the reason of its condition Ready.
var Want = map[string]map[string]Health{
	"TeamTalkMessage": {
		v1alpha1.ReasonDelivered: done, v1alpha1.ReasonScheduled: done, v1alpha1.ReasonSuspended: suspended,

		v1alpha1.ReasonSending: inProgress, v1alpha1.ReasonRetryScheduled: inProgress,
		v1alpha1.ReasonServerNotFound: inProgress, v1alpha1.ReasonServerNotReady: inProgress,
		v1alpha1.ReasonManagedByAnother: inProgress, v1alpha1.ReasonEndpointNotPermitted: inProgress,
		v1alpha1.ReasonKeyNotFound: inProgress, v1alpha1.ReasonKeyInvalid: inProgress,
		v1alpha1.ReasonContentNotFound: inProgress, v1alpha1.ReasonGroupNotReady: inProgress,
		v1alpha1.ReasonNoAnswer: inProgress,

		v1alpha1.ReasonPartiallyDelivered: failed, v1alpha1.ReasonRetriesExhausted: failed,
		v1alpha1.ReasonDeadlineExceeded: failed, v1alpha1.ReasonStatusTooLarge: failed,
		v1alpha1.ReasonKeyReused: failed, v1alpha1.ReasonOutcomeUnknown: failed,
		v1alpha1.ReasonSenderNotPermitted: failed, v1alpha1.ReasonRecipientNotPermitted: failed,
		v1alpha1.ReasonSenderNotFound: failed, v1alpha1.ReasonRecipientNotFound: failed,
		v1alpha1.ReasonRecipientAmbiguous: failed, v1alpha1.ReasonRecipientDeparted: failed,
		v1alpha1.ReasonGroupNotFound: failed, v1alpha1.ReasonSenderNotInGroup: failed,
		v1alpha1.ReasonSendToSelf: failed, v1alpha1.ReasonContentEmpty: failed,
		v1alpha1.ReasonContentTooLong: failed, v1alpha1.ReasonContentInvalid: failed,
		v1alpha1.ReasonContentChanged: failed,
	},
	"TeamTalkServer": {
		v1alpha1.ReasonReady: done, v1alpha1.ReasonConnecting: inProgress,
		v1alpha1.ReasonKeyNotFound: broken, v1alpha1.ReasonKeyInvalid: broken,
		v1alpha1.ReasonManagedByAnother: broken, v1alpha1.ReasonEndpointNotPermitted: broken,
		v1alpha1.ReasonConnectionLimit: broken,
	},
	"TeamTalkReceiver": {
		v1alpha1.ReasonReady: done, v1alpha1.ReasonSecretNotFound: broken, v1alpha1.ReasonServerNotFound: broken,
		v1alpha1.ReasonSenderNotPermitted: broken, v1alpha1.ReasonSendToSelf: failed,
		v1alpha1.ReasonTemplateInvalid: failed, v1alpha1.ReasonExpressionInvalid: failed,
	},
	"TeamTalkGroup": {
		v1alpha1.ReasonReady: done, v1alpha1.ReasonChanging: inProgress, v1alpha1.ReasonNoAnswer: inProgress,
		v1alpha1.ReasonStoreRejected: inProgress, v1alpha1.ReasonServerNotFound: inProgress,
		v1alpha1.ReasonServerNotReady: inProgress, v1alpha1.ReasonManagedByAnother: inProgress,

		v1alpha1.ReasonMembersNotFound: failed, v1alpha1.ReasonRecipientNotPermitted: failed,
		v1alpha1.ReasonRecipientNotFound: failed, v1alpha1.ReasonRecipientAmbiguous: failed,
		v1alpha1.ReasonRecipientDeparted: failed,
		v1alpha1.ReasonSenderNotFound:    failed, v1alpha1.ReasonGroupNotFound: failed,
		v1alpha1.ReasonGroupNotAdoptable: failed, v1alpha1.ReasonGroupCreateFailed: failed,
		v1alpha1.ReasonOutcomeUnknown: failed,
	},
	"TeamTalkSchedule": {
		v1alpha1.ReasonReady: done, v1alpha1.ReasonSuspended: suspended, v1alpha1.ReasonInvalidSchedule: failed,
		v1alpha1.ReasonMessageNotCreated: inProgress,
	},
}
