// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/cli/kube"
	"github.com/teamtalk-io/teamtalk-operator/internal/cli/message"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver"
)

const testReceiverLong = `Post a request body to a TeamTalkReceiver as its callers do, and show what arrives.

The command posts to the gateway, with the credentials that the receiver asks for: it reads their Secret, so you must be
permitted to. Everything after that is the real path: authentication, filter, templates, deduplication, flood control,
the TeamTalkMessages and their delivery. Recipients get real messages. A body that was posted within the receiver's
dedupWindowSeconds makes no other message.

With --dry-run, the command shows what the receiver would make of the body. Nothing is posted.

The gateway listens inside the cluster. The command finds one of its pods by the labels of the chart, and forwards a
port to it: you must be permitted to list pods in all namespaces, and to create pods/portforward in that of the
gateway. If you are not, or if the cluster has several gateways, name one with --gateway:

  kubectl port-forward -n teamtalk-system service/teamtalk-gateway 8400 &
  kubectl teamtalk test receiver alerts -f alert.json --gateway http://127.0.0.1:8400

The certificate of an https URL is verified. That of a pod is not, because the forwarded port leads to this pod alone.`

const testReceiverExample = `  # Post an alert, and wait until the message has arrived
  kubectl teamtalk test receiver alerts -f alert.json

  # To a gateway outside of the cluster
  kubectl teamtalk test receiver alerts -f alert.json --gateway https://gateway.example.com

  # Show the text, and post nothing
  kubectl teamtalk test receiver alerts -f alert.json --dry-run`

// receiverTest is the command test receiver.
type receiverTest struct {
	*kube.Access

	payload, gateway, token string
	dryRun                  bool
	waiting                 message.Waiting
}

// NewTestCommand returns the command test.
func NewTestCommand(a *kube.Access) *cobra.Command {
	c := &cobra.Command{
		Use: "test", Short: "Try out a TeamTalkReceiver",
		Long: "Try out a TeamTalkReceiver through the real path.",
	}
	c.AddCommand(newTestReceiverCommand(a))
	return c
}

func newTestReceiverCommand(a *kube.Access) *cobra.Command {
	t := &receiverTest{Access: a}
	c := &cobra.Command{
		Use: "receiver NAME -f PAYLOAD", Short: "Post a body to a TeamTalkReceiver, and show what arrives",
		Long: testReceiverLong, Example: testReceiverExample, Args: kube.ExactArgs("the name of a TeamTalkReceiver"),
		ValidArgsFunction: a.Complete(&v1alpha1.TeamTalkReceiverList{}, 1),
	}
	c.Flags().StringVarP(&t.payload, "filename", "f", "", "`file` with the request body, or - for standard input")
	c.Flags().StringVar(&t.gateway, "gateway", "", "`URL` of the gateway (default a forwarded port of its pod)")
	c.Flags().StringVar(&t.token, "caller-token", "",
		"`token` of the cluster, for a receiver without authentication of its own (default, with --gateway: that of the "+
			"kubeconfig)")
	c.Flags().BoolVar(&t.dryRun, "dry-run", false, "show what the receiver would create, and post nothing")
	t.waiting.AddFlags(c)
	c.RunE = func(c *cobra.Command, args []string) error { return t.run(c.Context(), args[0]) }
	return c
}

// validate returns the URL of the gateway, or nil if none is given.
func (t *receiverTest) validate() (*url.URL, error) {
	switch {
	case t.payload == "":
		return nil, kube.Usagef("-f is required: a file with the request body, or - for standard input")
	case t.dryRun, t.gateway == "":
		return nil, t.waiting.Validate()
	}
	gateway, err := url.Parse(t.gateway)
	if err != nil || gateway.Host == "" || gateway.Scheme != "http" && gateway.Scheme != "https" {
		return nil, kube.Usagef("--gateway %q is not a URL: use one such as http://127.0.0.1:8400", t.gateway)
	}
	return gateway, t.waiting.Validate()
}

func (t *receiverTest) run(ctx context.Context, name string) error {
	gateway, err := t.validate()
	if err != nil {
		return err
	}
	body, err := readInput(t.In, t.payload)
	if err != nil {
		return fmt.Errorf("read the payload: %w", err)
	}
	c, namespace, err := t.ClientAndNamespace()
	if err != nil {
		return err
	}
	r := &v1alpha1.TeamTalkReceiver{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, r); err != nil {
		return err
	}
	if t.dryRun {
		return render(ctx, t.Out, r, body)
	}
	token, err := t.callerToken()
	if err != nil {
		return err
	}
	p := &poster{client: c, token: token, now: time.Now}
	secret, err := p.secret(ctx, r) // before anything is reached: it decides who may post
	if err != nil {
		return err
	}
	to, err := t.reach(ctx, c, gateway)
	if err != nil {
		return err
	}
	defer to.stop()
	request, body, err := p.request(ctx, r, secret, to.url, body)
	if err != nil {
		return err
	}
	a, err := post(request, to)
	if err != nil {
		return err
	}
	switch {
	case a.code == http.StatusOK:
		return t.follow(ctx, c, r, a, body)
	case a.code == http.StatusNotFound && to.isPod:
		return fmt.Errorf("%s has no such receiver (%s): check that the gateway serves namespace %q "+
			"(gateway.receiverNamespaces of the chart)", to.name, a.problem(), namespace)
	case a.code == http.StatusNotFound:
		return fmt.Errorf("%s has no such receiver (%s): check that --gateway is the URL of the gateway without a path, "+
			"and that the gateway serves namespace %q", t.gateway, a.problem(), namespace)
	default:
		return fmt.Errorf("the gateway has refused the body with status %d: %s; the receiver's status may say more: "+
			"\"%s\"", a.code, a.problem(), t.Advise(namespace, "kubectl describe ttr "+name))
	}
}

// callerToken is the token of the cluster that the command sends if the receiver has no authentication of its own. The
// token of the kubeconfig is the user's own, so it is only sent to a gateway that the user names.
func (t *receiverTest) callerToken() (string, error) {
	if t.token != "" || t.gateway == "" {
		return t.token, nil
	}
	config, err := t.RESTConfig()
	if err != nil {
		return "", err
	}
	return config.BearerToken, nil
}

// follow shows the result of an accepted body.
func (t *receiverTest) follow(
	ctx context.Context, c client.WithWatch, r *v1alpha1.TeamTalkReceiver, a *answer, body []byte,
) error {
	names := a.Messages
	if len(names) == 0 && a.Duplicates+a.Suppressed+a.Filtered == 0 {
		var err error
		if names, err = latestMessages(ctx, c, r, body); err != nil {
			return err
		}
	}
	fmt.Fprintf(t.Out, "accepted: %s", kube.Count(len(names), "message"))
	for _, part := range []struct {
		count int
		what  string
	}{{a.Duplicates, "posted before"}, {a.Suppressed, "in a digest"}, {a.Filtered, "filtered"}} {
		if part.count > 0 {
			fmt.Fprintf(t.Out, ", %d %s", part.count, part.what)
		}
	}
	fmt.Fprintln(t.Out)
	if a.Duplicates > 0 {
		fmt.Fprintf(t.ErrOut, "what was posted before makes no other message for %d s, see spec.dedupWindowSeconds: "+
			"change the body to get one\n", r.Spec.DedupWindowSeconds)
	}
	var first error
	for _, name := range names {
		fmt.Fprintf(t.Out, "teamtalkmessage.teamtalk.io/%s created\n", name)
		err := t.waiting.Await(ctx, t.Access, c, client.ObjectKey{Namespace: r.Namespace, Name: name})
		if err != nil && first == nil {
			first = err
		}
	}
	return first
}

// latestMessages finds the messages of a body. The answers in the forms of chat services do not name them.
func latestMessages(
	ctx context.Context, c client.Client, r *v1alpha1.TeamTalkReceiver, body []byte,
) (names []string, err error) {
	previews, _, err := receiver.PreviewOf(ctx, r, body)
	if err != nil {
		return nil, err
	}
	list := &v1alpha1.TeamTalkMessageList{}
	labels := client.MatchingLabels{v1alpha1.ReceiverLabel: r.Name}
	if err := c.List(ctx, list, client.InNamespace(r.Namespace), labels); err != nil {
		return nil, err
	}
	for _, p := range previews {
		prefix := p.Name[:strings.LastIndexByte(p.Name, '-')+1]
		var newest *v1alpha1.TeamTalkMessage
		for i := range list.Items {
			m := &list.Items[i]
			if strings.HasPrefix(m.Name, prefix) &&
				(newest == nil || newest.CreationTimestamp.Before(&m.CreationTimestamp)) {
				newest = m
			}
		}
		if newest != nil && !slices.Contains(names, newest.Name) {
			names = append(names, newest.Name)
		}
	}
	return names, nil
}
