// SPDX-License-Identifier: Apache-2.0

package message

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/cli/kube"
)

const resendLong = `Send a TeamTalkMessage again, as a new message.

The command creates a TeamTalkMessage with another name and the same recipients, content, sender and server, and waits
for it as send does. All recipients get the message, also those that have the first one. With --failed, only those get
it that have failed. A recipient with the reason OutcomeUnknown may have it twice then.

The new message has the labels of the first one. It has none of the fields that identify or schedule it: idempotencyKey,
sendAfter, deadline, suspend and onChange. To retry recipients of which it is proved that they do not have the message,
use retry.`

const resendExample = `  # To all recipients
  kubectl teamtalk resend hello

  # To those that have failed, or may not have it
  kubectl teamtalk resend hello --failed

  # Show the new message, and create nothing
  kubectl teamtalk resend hello --dry-run -o yaml`

// maxGeneratedPrefix is the longest prefix of a name of 63 characters, which fits into a label.
const maxGeneratedPrefix = 54

// resendCommand is the command resend.
type resendCommand struct {
	*kube.Access

	failed  bool
	dryRun  string
	waiting Waiting
	output  kube.Output
}

// NewResendCommand returns the command resend.
func NewResendCommand(a *kube.Access) *cobra.Command {
	r := &resendCommand{Access: a}
	c := &cobra.Command{
		Use: "resend NAME", Short: "Send a message again, as a new message", Long: resendLong, Example: resendExample,
		ValidArgsFunction: a.Complete(&v1alpha1.TeamTalkMessageList{}, 1),
		Args:              dryRunArgs(kube.ExactArgs("the name of a TeamTalkMessage")),
	}
	c.Flags().BoolVar(&r.failed, "failed", false, "only to recipients that have failed")
	addDryRun(c, &r.dryRun)
	r.waiting.AddFlags(c)
	r.output.AddFlag(c, kube.ObjectFormats)
	c.RunE = func(c *cobra.Command, args []string) error { return r.run(c.Context(), args[0]) }
	return c
}

func (r *resendCommand) run(ctx context.Context, arg string) error {
	for _, validate := range []func() error{
		r.output.Validate, r.waiting.Validate, func() error { return checkDryRun(r.dryRun) },
	} {
		if err := validate(); err != nil {
			return err
		}
	}
	name, err := kube.MessageName(arg)
	if err != nil {
		return err
	}
	c, namespace, err := r.ClientAndNamespace()
	if err != nil {
		return err
	}
	m := &v1alpha1.TeamTalkMessage{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, m); err != nil {
		return err
	}
	again := again(m)
	if r.failed {
		if again.Spec.To = failedOf(m); again.Spec.To.Len() == 0 {
			return fmt.Errorf("no recipient of message %s has failed: %s", m.Name, readiness(m))
		}
		limitQuorum(&again.Spec)
	}
	if r.dryRun == dryRunClient {
		return r.output.PrintObject(r.Out, again, "created (dry run)")
	}
	return createAndWait(ctx, r.Access, c, again, r.dryRun, &r.waiting, &r.output)
}

// again returns a new message of the same content.
func again(m *v1alpha1.TeamTalkMessage) *v1alpha1.TeamTalkMessage {
	spec := m.Spec.DeepCopy()
	spec.IdempotencyKey, spec.SendAfter, spec.Deadline, spec.Suspend, spec.OnChange = "", nil, nil, nil, ""
	n := &v1alpha1.TeamTalkMessage{
		ObjectMeta: metav1.ObjectMeta{Namespace: m.Namespace, Labels: m.Labels}, Spec: *spec,
	}
	setRandomName(n, m.Name[:min(len(m.Name), maxGeneratedPrefix)]+"-")
	return n
}

// limitQuorum lets all recipients read a message that has fewer than its quorum.
func limitQuorum(spec *v1alpha1.TeamTalkMessageSpec) {
	if p := spec.ReadPolicy; p != nil && p.Quorum != nil && int(*p.Quorum) > spec.To.Len() {
		p.Quorum = nil
	}
}

// failedOf returns the recipients of a message that have failed.
func failedOf(m *v1alpha1.TeamTalkMessage) (to v1alpha1.Recipients) {
	for i := range m.Status.Recipients {
		r := &m.Status.Recipients[i]
		isGroup := r.Type == v1alpha1.RecipientGroup
		switch {
		case r.State != v1alpha1.StateFailed:
		case r.Ref != "":
			to.GroupRefs = append(to.GroupRefs, v1alpha1.GroupReference{Name: r.Ref})
		case r.Name != "" && isGroup:
			to.GroupNames = append(to.GroupNames, r.Name)
		case r.Name != "":
			to.UserNames = append(to.UserNames, r.Name)
		case isGroup:
			to.Groups = append(to.Groups, v1alpha1.GroupID(r.ID))
		default:
			to.Users = append(to.Users, v1alpha1.UserID(r.ID))
		}
	}
	return to
}
