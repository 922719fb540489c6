// SPDX-License-Identifier: Apache-2.0

package message

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/cli/kube"
)

// defaultTimeout is longer than an operator takes to prove that a name is unknown: a minute.
const defaultTimeout = 2 * time.Minute

// maxNamed is how many recipients an error names.
const maxNamed = 3

// isDelivered reports whether every recipient has the message.
func isDelivered(m *v1alpha1.TeamTalkMessage) bool {
	return meta.IsStatusConditionTrue(m.Status.Conditions, v1alpha1.ConditionDelivered)
}

// notDelivered is the error about a message that has finished and was not delivered to all.
func notDelivered(a *kube.Access, m *v1alpha1.TeamTalkMessage) error {
	var named []string
	failed := 0
	for i := range m.Status.Recipients {
		r := &m.Status.Recipients[i]
		if r.State != v1alpha1.StateFailed {
			continue
		}
		if failed++; failed <= maxNamed {
			reason := strings.TrimSuffix(r.Reason+": "+r.Message, ": ")
			named = append(named, kube.DescribeStatus(r)+": "+reason)
		}
	}
	advice := ""
	if isSplittable(m) {
		advice = "; to send several messages, use --split of \"" + kube.Command + " send\""
	}
	switch {
	case failed == 0:
		return kube.Errorf(kube.CodeNotDelivered, "message %s was not delivered: %s%s", m.Name, readiness(m), advice)
	case failed > maxNamed:
		named = append(named, fmt.Sprintf("%d more, see %s", failed-maxNamed, a.AdviseFollow(m)))
	}
	return kube.Errorf(kube.CodeNotDelivered, "message %s was not delivered to %d of %d recipients: %s%s",
		m.Name, failed, len(m.Status.Recipients), strings.Join(named, "; "), advice)
}

// isSplittable reports whether a text was too long for one message, and was not to be split.
func isSplittable(m *v1alpha1.TeamTalkMessage) bool {
	ready := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady)
	isText := m.Spec.Content.Text != nil || m.Spec.Content.TextFrom != nil
	return isText && m.Spec.LongText != v1alpha1.LongTextSplit && ready != nil &&
		ready.Reason == v1alpha1.ReasonContentTooLong
}

// readiness is reason and message of the condition Ready.
func readiness(m *v1alpha1.TeamTalkMessage) string {
	ready := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || m.Status.ObservedGeneration < m.Generation {
		return "no operator has taken it up: check that the operator runs (" + kube.Command + " doctor)"
	}
	if strings.EqualFold(ready.Reason, ready.Message) {
		return ready.Reason
	}
	return strings.TrimSuffix(ready.Reason+": "+ready.Message, ": ")
}

// Waiting are the flags of commands that wait for a message.
type Waiting struct {
	wait    bool
	timeout time.Duration
}

// AddFlags adds the flags.
func (w *Waiting) AddFlags(c *cobra.Command) {
	c.Flags().BoolVar(&w.wait, "wait", true,
		"wait until the message has finished; the exit code says whether it was delivered")
	c.Flags().DurationVar(&w.timeout, "timeout", defaultTimeout, "how long to wait; the message remains afterwards")
}

// Validate returns the usage error of the flags.
func (w *Waiting) Validate() error {
	if w.timeout <= 0 {
		return kube.Usagef("--timeout must be positive; use --wait=false to wait for nothing")
	}
	return nil
}

// Await waits until a message has finished, unless the flags say not to, and reports the result.
func (w *Waiting) Await(ctx context.Context, a *kube.Access, c client.WithWatch, key types.NamespacedName) error {
	if !w.wait {
		return nil
	}
	m := &v1alpha1.TeamTalkMessage{}
	m.Name, m.Namespace = key.Name, key.Namespace
	last, err := w.follow(ctx, a, c, m, nil)
	if err == nil {
		fmt.Fprintln(a.Out, deliveredLine(last))
	}
	return err
}

// follow waits until a message has finished, and shows its progress. Accept, if not nil, tells states that count from
// those that are too old.
func (w *Waiting) follow(
	ctx context.Context, a *kube.Access, c client.WithWatch, m *v1alpha1.TeamTalkMessage,
	accept func(*v1alpha1.TeamTalkMessage) bool,
) (*v1alpha1.TeamTalkMessage, error) {
	limited, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	p := &progressLine{out: a.ErrOut}
	last, err := Follow(limited, c, client.ObjectKeyFromObject(m), func(m *v1alpha1.TeamTalkMessage) bool {
		if accept != nil && !accept(m) {
			return false
		}
		p.show(m)
		return m.Finished()
	})
	return last, outcome(ctx, a, cmp.Or(last, m), err, w.timeout)
}

// outcome is the error of a command that has followed a message.
func outcome(
	ctx context.Context, a *kube.Access, m *v1alpha1.TeamTalkMessage, err error, timeout time.Duration,
) error {
	switch {
	case err == nil && isDelivered(m):
		return nil
	case err == nil:
		return notDelivered(a, m)
	case ctx.Err() != nil:
		return kube.Errorf(kube.CodeInterrupted, "interrupted: message %s remains, and the operator continues to send it: "+
			"follow it with \"%s\", or stop it with \"%s\"",
			m.Name, a.AdviseFollow(m), a.Advise(m.Namespace, "kubectl delete ttm "+m.Name))
	case errors.Is(err, context.DeadlineExceeded):
		return kube.Errorf(kube.CodeInProgress, "message %s has not finished after %s: %s; it remains, follow it with \"%s\"",
			m.Name, timeout, readiness(m), a.AdviseFollow(m))
	case errors.Is(err, errDeleted) && m.Finished() && isDelivered(m):
		return nil
	case errors.Is(err, errDeleted):
		return fmt.Errorf("message %s was deleted before it has finished: %s", m.Name, readiness(m))
	}
	return fmt.Errorf("message %s cannot be followed, it remains: %w", m.Name, err)
}

// progressLine prints a line for each change of a message that is not finished.
type progressLine struct {
	out  io.Writer
	last string
}

func (p *progressLine) show(m *v1alpha1.TeamTalkMessage) {
	if m.Finished() || meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady) == nil {
		return
	}
	line := readiness(m)
	if s := m.Status.RecipientsSummary; s != "" {
		line = fmt.Sprintf("%s delivered: %s", s, line)
	}
	if line != p.last {
		p.last = line
		fmt.Fprintln(p.out, line)
	}
}
