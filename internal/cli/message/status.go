// SPDX-License-Identifier: Apache-2.0

package message

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/cli/kube"
)

const statusLong = `Show the result of TeamTalkMessages: a line for the message and a table of its recipients.

READ is when the user, or the first member of the group, was seen to read the message. Without a readPolicy, the
operator records reads as far as it sees them.

If the message was escalated, the recipients in readPolicy.escalateTo follow, marked as escalated. The operator does
not record whether they have read it.

With --watch, the command shows each change until the message has finished, its readPolicy is not due any more, and its
escalation has ended.
Its exit code says whether the message was delivered, as that of send does. Several messages are watched one after the
other.`

const statusExample = `  # One message
  kubectl teamtalk status hello

  # Watch it until it has finished
  kubectl teamtalk status hello --watch

  # All messages with a label, or those of a manifest
  kubectl teamtalk status -l app=build
  kubectl teamtalk status -f announcement.yaml`

// statusCommand is the command status.
type statusCommand struct {
	*kube.Access

	messages kube.MessageFlags
	watch    bool
	output   kube.Output
}

// NewStatusCommand returns the command status.
func NewStatusCommand(a *kube.Access) *cobra.Command {
	s := &statusCommand{Access: a}
	c := &cobra.Command{
		Use: "status (NAME... | -l SELECTOR | -f FILE)", Short: "Show the result of a message for each recipient",
		Long: statusLong, Example: statusExample,
		ValidArgsFunction: a.Complete(&v1alpha1.TeamTalkMessageList{}, 0),
	}
	s.messages.AddFlags(c)
	c.Flags().BoolVarP(&s.watch, "watch", "w", false, "show changes until the message has finished")
	s.output.AddFlag(c, kube.TableFormats)
	c.RunE = func(c *cobra.Command, args []string) error { return s.run(c.Context(), args) }
	return c
}

func (s *statusCommand) run(ctx context.Context, args []string) error {
	if err := s.output.Validate(); err != nil {
		return err
	}
	if s.watch && !s.output.IsTable() {
		return kube.Usagef("--watch shows a table: use it without -o, or with -o wide")
	}
	c, err := s.Client()
	if err != nil {
		return err
	}
	messages, err := s.messages.Find(ctx, s.Access, c, args)
	if len(messages) == 0 {
		return err
	}
	return cmp.Or(s.show(ctx, c, messages), err)
}

// show prints or watches messages.
func (s *statusCommand) show(ctx context.Context, c client.WithWatch, messages []*v1alpha1.TeamTalkMessage) error {
	if !s.output.IsTable() {
		return s.printObjects(messages)
	}
	if s.watch {
		return s.watchAll(ctx, c, messages)
	}
	for i, m := range messages {
		if i > 0 {
			fmt.Fprintln(s.Out)
		}
		if err := printStatus(s.Out, m, s.output.IsWide()); err != nil {
			return err
		}
	}
	return nil
}

// printObjects prints one message, or a list of several.
func (s *statusCommand) printObjects(messages []*v1alpha1.TeamTalkMessage) error {
	if len(messages) == 1 {
		return s.output.PrintObject(s.Out, messages[0], "")
	}
	list := &v1alpha1.TeamTalkMessageList{}
	for _, m := range messages {
		m.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("TeamTalkMessage"))
		list.Items = append(list.Items, *m)
	}
	return s.output.PrintObject(s.Out, list, "")
}

// watchAll shows the changes of the messages. It returns the first error.
func (s *statusCommand) watchAll(
	ctx context.Context, c client.WithWatch, messages []*v1alpha1.TeamTalkMessage,
) error {
	var first error
	for _, m := range messages {
		w := &statusWatch{
			out: s.Out, wide: s.output.IsWide(), shown: map[string]bool{},
			table: &kube.Table{Header: recipientHeader(s.output.IsWide())},
		}
		last, err := Follow(ctx, c, client.ObjectKeyFromObject(m), func(m *v1alpha1.TeamTalkMessage) bool {
			w.show(m)
			return m.Finished() && !m.ReadDue() && !m.Escalating()
		})
		if last == nil {
			last = m
		}
		if err := outcome(ctx, s.Access, last, err, 0); err != nil && first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return first
}

// statusWatch prints what has changed of a message.
type statusWatch struct {
	out      io.Writer
	wide     bool
	headline string
	table    *kube.Table
	shown    map[string]bool
}

func (w *statusWatch) show(m *v1alpha1.TeamTalkMessage) {
	if line := headline(m); line != w.headline {
		w.headline = line
		fmt.Fprintln(w.out, line)
	}
	for r, escalated := range allRecipients(m) {
		key := fmt.Sprint(escalated, r.Recipient(), r.State, r.Reason, r.MessageIDs, r.Attempts, r.ReadBy)
		if !w.shown[key] {
			w.shown[key] = true
			w.table.Add(recipientRow(r, escalated, w.wide)...)
		}
	}
	if len(w.table.Rows) > 0 {
		_ = w.table.Print(w.out) // to a terminal that is gone
	}
}

// printStatus prints one message.
func printStatus(w io.Writer, m *v1alpha1.TeamTalkMessage, wide bool) error {
	fmt.Fprintln(w, headline(m))
	if wide {
		fmt.Fprintln(w, details(m))
	}
	if len(m.Status.Recipients) == 0 {
		return nil
	}
	table := &kube.Table{Header: recipientHeader(wide)}
	for r, escalated := range allRecipients(m) {
		table.Add(recipientRow(r, escalated, wide)...)
	}
	return table.Print(w)
}

// allRecipients yields the recipients of a message, and then those of its escalation.
func allRecipients(m *v1alpha1.TeamTalkMessage) iter.Seq2[*v1alpha1.RecipientStatus, bool] {
	return func(yield func(r *v1alpha1.RecipientStatus, escalated bool) bool) {
		for i := range m.Status.Recipients {
			if !yield(&m.Status.Recipients[i], false) {
				return
			}
		}
		if !m.Status.Escalated() {
			return
		}
		for i := range m.Status.Escalation.Recipients {
			if !yield(&m.Status.Escalation.Recipients[i], true) {
				return
			}
		}
	}
}

// headline is a line about the message.
func headline(m *v1alpha1.TeamTalkMessage) string {
	delivered := m.Status.RecipientsSummary
	if delivered == "" {
		delivered = fmt.Sprintf("0/%d", m.Spec.To.Len())
	}
	state := "in progress"
	switch {
	case m.Finished() && isDelivered(m):
		state = "delivered"
	case m.Finished() && m.Status.Counts != nil && m.Status.Counts.Stored > 0:
		state = "partly delivered"
	case m.Finished():
		state = "not delivered"
	case isReady(m):
		state = "waiting on purpose"
	}
	line := fmt.Sprintf("%s/%s: %s, %s recipients have it", m.Namespace, m.Name, state, delivered)
	if state != "delivered" {
		line += ". " + readiness(m)
	}
	if read := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionRead); read != nil {
		line += fmt.Sprintf(". %s: %s", read.Reason, read.Message)
	}
	if escalated := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionEscalated); escalated != nil {
		line += fmt.Sprintf(". Escalation: %s: %s", escalated.Reason, escalated.Message)
	}
	return line
}

func isReady(m *v1alpha1.TeamTalkMessage) bool {
	return meta.IsStatusConditionTrue(m.Status.Conditions, v1alpha1.ConditionReady)
}

// details is a line with what a user needs rarely.
func details(m *v1alpha1.TeamTalkMessage) string {
	sender := "unknown"
	if id := m.Status.SenderID; id != nil {
		sender = fmt.Sprintf("user %d", *id)
	}
	return fmt.Sprintf("sender: %s, server: %s, created: %s, finished: %s",
		sender, m.ServerKey(), timeText(&m.CreationTimestamp), timeText(m.Status.CompletionTime))
}

func recipientHeader(wide bool) []string {
	header := []string{"RECIPIENT", "STATE", "MESSAGE ID", "ATTEMPTS", "STORED", "READ", "REASON"}
	if wide {
		header = append(header, "STORED AT", "ROUTED AT", "READ AT")
	}
	return append(header, "MESSAGE")
}

func recipientRow(r *v1alpha1.RecipientStatus, escalated, wide bool) []string {
	name := kube.DescribeStatus(r)
	if escalated {
		name += " (escalated)"
	}
	ids := make([]string, len(r.MessageIDs))
	for i, id := range r.MessageIDs {
		ids[i] = strconv.FormatInt(id, 10)
	}
	row := []string{
		name, string(r.State), cmp.Or(strings.Join(ids, ","), "-"), strconv.Itoa(int(r.Attempts)),
		age(r.StoredAt), describeRead(r), cmp.Or(r.Reason, "-"),
	}
	if wide {
		row = append(row, timeText(r.StoredAt), timeText(r.RoutedAt), timeText(r.ReadAt))
	}
	return append(row, r.Message)
}

// describeRead says when a recipient has read the message, and how many members of a group.
func describeRead(r *v1alpha1.RecipientStatus) string {
	if r.ReadAt == nil || r.Type != v1alpha1.RecipientGroup {
		return age(r.ReadAt)
	}
	return age(r.ReadAt) + ", by " + kube.Count(int(r.ReadBy), "member")
}

// age is how long ago a time was.
func age(t *metav1.Time) string {
	if t == nil {
		return "-"
	}
	return duration.HumanDuration(time.Since(t.Time)) + " ago"
}

func timeText(t *metav1.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
