// SPDX-License-Identifier: Apache-2.0

package message

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/cli/kube"
)

const retryLong = `Retry the recipients of a TeamTalkMessage that have failed with nothing stored.

The command sets the annotation teamtalk.io/retry, and waits for the result. Recipients that have the message do not get
it again. Recipients with the reason OutcomeUnknown are not retried, as they may have it: see "kubectl teamtalk resend".
The exit code is that of send.`

const retryExample = `  # After the cause of the failure is gone
  kubectl teamtalk retry hello

  # All messages with a label that have failed; do not wait
  kubectl teamtalk retry -l app=build --wait=false`

// retryCommand is the command retry.
type retryCommand struct {
	*kube.Access

	messages kube.MessageFlags
	waiting  Waiting
}

// NewRetryCommand returns the command retry.
func NewRetryCommand(a *kube.Access) *cobra.Command {
	r := &retryCommand{Access: a}
	c := &cobra.Command{
		Use: "retry (NAME... | -l SELECTOR | -f FILE)", Short: "Retry the recipients that have failed with nothing stored",
		Long: retryLong, Example: retryExample,
		ValidArgsFunction: a.Complete(&v1alpha1.TeamTalkMessageList{}, 0),
	}
	r.messages.AddFlags(c)
	r.waiting.AddFlags(c)
	c.RunE = func(c *cobra.Command, args []string) error { return r.run(c.Context(), args) }
	return c
}

func (r *retryCommand) run(ctx context.Context, args []string) error {
	if err := r.waiting.Validate(); err != nil {
		return err
	}
	c, err := r.Client()
	if err != nil {
		return err
	}
	messages, err := r.messages.Find(ctx, r.Access, c, args)
	for _, m := range messages {
		fault := r.retry(ctx, c, m)
		if fault != nil && err != nil {
			fmt.Fprintf(r.ErrOut, "error: %s\n", r.Explain(err))
		}
		err = cmp.Or(fault, err)
		if ctx.Err() != nil {
			break
		}
	}
	return err
}

// retry retries one message.
func (r *retryCommand) retry(ctx context.Context, c client.WithWatch, m *v1alpha1.TeamTalkMessage) error {
	if err := r.checkRetryable(m); err != nil {
		return err
	}
	value := time.Now().UTC().Format(time.RFC3339Nano)
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"annotations": map[string]string{v1alpha1.RetryAnnotation: value},
	}})
	if err != nil {
		return err
	}
	if err := c.Patch(ctx, m, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return err
	}
	fmt.Fprintf(r.Out, "teamtalkmessage.teamtalk.io/%s retried\n", m.Name)
	if !r.waiting.wait {
		return nil
	}
	last, err := r.waiting.follow(ctx, r.Access, c, m, func(m *v1alpha1.TeamTalkMessage) bool {
		return m.Status.LastHandledRetry == value
	})
	if err == nil {
		fmt.Fprintln(r.Out, deliveredLine(last))
	}
	return err
}

// checkRetryable says why a retry would do nothing.
func (r *retryCommand) checkRetryable(m *v1alpha1.TeamTalkMessage) error {
	switch {
	case !m.Finished():
		return fmt.Errorf("message %s is in progress, the operator retries by itself: %s", m.Name, readiness(m))
	case isDelivered(m):
		return fmt.Errorf("message %s is delivered, there is nothing to retry: \"%s\" sends it again",
			m.Name, r.Advise(m.Namespace, kube.Command+" resend "+m.Name))
	}
	for i := range m.Status.Recipients {
		if to := &m.Status.Recipients[i]; to.Retryable() || to.FailedInDoubt() {
			return nil
		}
	}
	if len(m.Status.Recipients) == 0 {
		return nil // StatusTooLarge
	}
	return fmt.Errorf("the failed recipients of message %s may have it (OutcomeUnknown), and are not retried: "+
		"\"%s history\" shows what they got, \"%s\" sends it again",
		m.Name, kube.Command, r.Advise(m.Namespace, kube.Command+" resend "+m.Name+" --failed"))
}
