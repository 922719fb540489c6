// SPDX-License-Identifier: Apache-2.0

package message

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/cli/kube"
)

const sendLong = `Send a text to users and groups of TeamTalk.

The command creates a TeamTalkMessage, waits until the operator has delivered it, and shows the result.
The text is an argument, or comes from a file or from standard input. A newline at its end is not sent.

Exit codes: 0 all recipients have the message; 1 it was not created; 2 the command line is wrong; 3 it has finished, and
some recipient does not have it or may not have it; 4 it has not finished in time; 130 interrupted. With 4 and 130 the
message remains, and the operator continues.`

const sendExample = `  # A text to a user and a group, by id
  kubectl teamtalk send --to-user 2 --to-group 7 "The build is green"

  # To a user and a group of the sender, by name
  kubectl teamtalk send --to-user-name zhang.san --to-group-name oncall "The build is green"

  # The text comes from standard input, and may take several messages
  make test 2>&1 | tail -50 | kubectl teamtalk send --to-user 2 --split -f -

  # Through a TeamTalkServer of another namespace
  kubectl teamtalk send --server chat/default --to-user 2 "Hello"

  # The API server checks the message, and nothing is created
  kubectl teamtalk send --to-user 2 --dry-run=server -o yaml "Hello"

  # Create it, and do not wait
  kubectl teamtalk send --to-user 2 --wait=false "Hello"`

// sender is the command send.
type sender struct {
	*kube.Access

	to             recipientFlags
	file, name     string
	server         string
	senderID       kube.ID
	idempotencyKey string
	ttl            time.Duration
	split          bool
	dryRun         string
	waiting        Waiting
	output         kube.Output
}

// NewSendCommand returns the command send.
func NewSendCommand(a *kube.Access) *cobra.Command {
	s := &sender{Access: a}
	c := &cobra.Command{
		Use: "send [TEXT]", Short: "Send a text to users and groups", Long: sendLong, Example: sendExample,
		Args: dryRunArgs(oneText), ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := c.Flags()
	s.to.addFlags(fs)
	fs.StringVarP(&s.file, "filename", "f", "", "`file` with the text, or - for standard input")
	fs.StringVar(&s.server, "server", "", "TeamTalkServer to send through, as [namespace/]`name` (default \"default\")")
	fs.Var(&s.senderID, "sender", "id of the `user` who sends (default senders.default of the TeamTalkServer)")
	fs.StringVar(&s.name, "name", "", "`name` of the TeamTalkMessage (default send- and random characters)")
	fs.StringVar(&s.idempotencyKey, "idempotency-key", "", "messages with the same `key` are sent once")
	fs.DurationVar(&s.ttl, "ttl", 0, "delete the TeamTalkMessage so long after it has finished (default it is kept)")
	fs.BoolVar(&s.split, "split", false, "send a text that is too long for one message as several (longText: Split)")
	addDryRun(c, &s.dryRun)
	s.waiting.AddFlags(c)
	s.output.AddFlag(c, kube.ObjectFormats)
	_ = c.RegisterFlagCompletionFunc("server", a.Complete(&v1alpha1.TeamTalkServerList{}, 0)) // the flag exists
	_ = c.RegisterFlagCompletionFunc("to-group-ref", a.Complete(&v1alpha1.TeamTalkGroupList{}, 0))
	c.RunE = func(c *cobra.Command, args []string) error { return s.run(c.Context(), args) }
	return c
}

func (s *sender) validate() error {
	if err := checkDryRun(s.dryRun); err != nil {
		return err
	}
	if s.to.isEmpty() {
		return kube.Usagef("the message has no recipient: use --to-user ID, --to-user-name NAME, --to-group ID, " +
			"--to-group-name NAME or --to-group-ref NAME")
	}
	if s.ttl < 0 || s.ttl%time.Second != 0 {
		return kube.Usagef("--ttl=%s must be whole seconds, such as 1h or 90s", s.ttl)
	}
	if err := s.output.Validate(); err != nil {
		return err
	}
	return s.waiting.Validate()
}

func (s *sender) run(ctx context.Context, args []string) error {
	if err := s.validate(); err != nil {
		return err
	}
	text, err := readText(s.In, args, s.file)
	if err != nil {
		return err
	}
	namespace, err := s.Namespace()
	if err != nil {
		return err
	}
	m, err := s.message(namespace, text)
	if err != nil {
		return err
	}
	if s.dryRun == dryRunClient {
		return s.output.PrintObject(s.Out, m, "created (dry run)")
	}
	c, err := s.Client()
	if err != nil {
		return err
	}
	return createAndWait(ctx, s.Access, c, m, s.dryRun, &s.waiting, &s.output)
}

// message returns the message of the flags. The name is chosen here, so that it is known even where the answer to the
// request that creates it is lost. generateName says that the name identifies nothing.
func (s *sender) message(namespace, text string) (*v1alpha1.TeamTalkMessage, error) {
	m := &v1alpha1.TeamTalkMessage{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: s.name},
		Spec: v1alpha1.TeamTalkMessageSpec{
			To: s.to.recipients(), Content: v1alpha1.Content{Text: &text}, IdempotencyKey: s.idempotencyKey,
		},
	}
	if s.name == "" {
		setRandomName(m, "send-")
	}
	if s.server != "" {
		ref, err := kube.ParseServer(s.server)
		if err != nil {
			return nil, err
		}
		m.Spec.ServerRef = &v1alpha1.ServerReference{Name: ref.Name, Namespace: ref.Namespace}
	}
	if s.senderID != 0 {
		m.Spec.SenderID = new(v1alpha1.UserID(s.senderID))
	}
	if s.ttl > 0 {
		m.Spec.TTLSecondsAfterFinished = new(int32(s.ttl / time.Second))
	}
	if s.split {
		m.Spec.LongText = v1alpha1.LongTextSplit
	}
	return m, nil
}

// setRandomName gives a message a name that no other has.
func setRandomName(m *v1alpha1.TeamTalkMessage, prefix string) {
	const random = 8
	m.GenerateName = prefix
	m.Name = prefix + rand.String(random)
}

// createAndWait creates a message, waits for it and prints it.
func createAndWait(
	ctx context.Context, a *kube.Access, c client.WithWatch, m *v1alpha1.TeamTalkMessage, dryRun string,
	waiting *Waiting, output *kube.Output,
) error {
	var options []client.CreateOption
	operation := "created"
	if dryRun == dryRunServer {
		options, operation = append(options, client.DryRunAll), "created (server dry run)"
	}
	if err := c.Create(ctx, m, append(options, client.FieldOwner("kubectl-teamtalk"))...); err != nil {
		return createError(ctx, a, m, err)
	}
	if dryRun == dryRunServer || !waiting.wait {
		return output.PrintObject(a.Out, m, operation)
	}
	if output.IsName() || output.IsTable() {
		if err := output.PrintObject(a.Out, m, operation); err != nil {
			return err
		}
	}
	last, err := waiting.follow(ctx, a, c, m, nil)
	return printFinished(a.Out, output, last, err)
}

// createError says whether the message may have been created nevertheless.
func createError(ctx context.Context, a *kube.Access, m *v1alpha1.TeamTalkMessage, err error) error {
	_, answered := errors.AsType[*apierrors.StatusError](err)
	request, sent := errors.AsType[*url.Error](err)
	network, ok := errors.AsType[*net.OpError](err)
	_, distrusted := errors.AsType[*tls.CertificateVerificationError](err)
	if answered || !sent || distrusted || ok && network.Op == "dial" {
		return err
	}
	code := kube.CodeError
	if ctx.Err() != nil {
		code = kube.CodeInterrupted
	}
	return kube.Errorf(code, "it is not known whether message %s was created (%w): look with "+
		"\"%s\" before you send it again", m.Name, request.Err, a.Advise(m.Namespace, "kubectl get ttm "+m.Name))
}

// printFinished prints the result of a message. Err is the outcome.
func printFinished(w io.Writer, output *kube.Output, m *v1alpha1.TeamTalkMessage, err error) error {
	switch {
	case m == nil || output.IsName():
	case !output.IsTable():
		if fault := output.PrintObject(w, m, ""); fault != nil {
			return fault
		}
	case err == nil:
		fmt.Fprintln(w, deliveredLine(m))
	}
	return err
}

// deliveredLine says who has the message.
func deliveredLine(m *v1alpha1.TeamTalkMessage) string {
	var to []string
	for i := range m.Status.Recipients {
		to = append(to, kube.DescribeStatus(&m.Status.Recipients[i]))
	}
	if len(to) > maxNamed {
		return fmt.Sprintf("delivered to all %d recipients", len(to))
	}
	return "delivered to " + strings.Join(to, ", ")
}
