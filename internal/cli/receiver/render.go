// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/cli/kube"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

const renderLong = `Print the messages that a TeamTalkReceiver would create for a request body.
Nothing is sent, and no cluster is asked.

The receiver comes from a manifest. It is checked with the schema and the rules of its CRD, and gets the defaults of
what it leaves out. The exit code is 1 if the receiver is not valid, or if a template or an expression fails.`

const renderExample = `  kubectl teamtalk render --receiver receiver.yaml --payload alert.json

  # The body comes from standard input
  curl -s http://example.com/alert.json | kubectl teamtalk render --receiver receiver.yaml --payload -`

// NewRenderCommand returns the command render.
func NewRenderCommand(a *kube.Access) *cobra.Command {
	var file, payload string
	c := &cobra.Command{
		Use: "render --receiver FILE --payload FILE", Short: "Print what a TeamTalkReceiver would make of a request body",
		Long: renderLong, Example: renderExample, Args: kube.MaxArgs(0), ValidArgsFunction: cobra.NoFileCompletions,
	}
	c.Flags().StringVar(&file, "receiver", "", "`file` with the TeamTalkReceiver, or - for standard input")
	c.Flags().StringVar(&payload, "payload", "", "`file` with the request body, or - for standard input")
	c.RunE = func(c *cobra.Command, _ []string) error {
		switch {
		case file == "" || payload == "":
			return kube.Usagef("--receiver and --payload are required: files with a TeamTalkReceiver and a request body")
		case file == "-" && payload == "-":
			return kube.Usagef("--receiver and --payload cannot both be -: there is one standard input")
		}
		r, err := readReceiver(c.Context(), a.In, file)
		if err != nil {
			return err
		}
		body, err := readInput(a.In, payload)
		if err != nil {
			return fmt.Errorf("read the payload: %w", err)
		}
		return render(c.Context(), a.Out, r, body)
	}
	return c
}

// readInput reads a file, or standard input.
func readInput(in io.Reader, file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(in)
	}
	return os.ReadFile(file)
}

// readReceiver reads the only TeamTalkReceiver of a file and admits it. It ignores other objects.
func readReceiver(ctx context.Context, in io.Reader, file string) (*v1alpha1.TeamTalkReceiver, error) {
	b, err := readInput(in, file)
	if err != nil {
		return nil, fmt.Errorf("read the receiver: %w", err)
	}
	b = bytes.TrimPrefix(b, []byte("\xEF\xBB\xBF")) // a byte order mark, as kubectl does
	var found *v1alpha1.TeamTalkReceiver
	for document := range bytes.SplitSeq(append([]byte("\n"), b...), []byte("\n---")) {
		var kind struct{ Kind string }
		if err := yaml.Unmarshal(document, &kind); err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		if kind.Kind != "TeamTalkReceiver" {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("%s has more than one TeamTalkReceiver", file)
		}
		if found, err = admit(ctx, document); err != nil {
			return nil, fmt.Errorf("%s: the TeamTalkReceiver is not valid: %w", file, err)
		}
	}
	if found == nil {
		return nil, fmt.Errorf("%s has no TeamTalkReceiver", file)
	}
	return found, nil
}

// render prints the messages. It returns the error of a template after the last message.
func render(ctx context.Context, w io.Writer, r *v1alpha1.TeamTalkReceiver, body []byte) error {
	previews, decoded, err := receiver.PreviewOf(ctx, r, body)
	if err != nil {
		return err
	}
	if decoded.Filtered > 0 {
		fmt.Fprintf(w, "Filtered: %d of what was posted, by spec.filter\n", decoded.Filtered)
		if len(previews) > 0 {
			fmt.Fprintln(w)
		}
	}
	var fault error
	for i, p := range previews {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "Message: %s\nTo: %s\nLength: %d of %d bytes\n",
			p.Name, names(p.To), len(p.Text), cipher.MaxTextWithToken)
		for _, key := range p.Keys {
			fmt.Fprintf(w, "Key: %q\n", key)
		}
		if p.Fault != nil {
			fault = p.Fault
			fmt.Fprintln(w, "Template: the built-in one, since the declared one fails")
		}
		fmt.Fprintf(w, "\n%s\n", p.Text)
	}
	switch {
	case fault != nil:
		return fmt.Errorf("the template fails: %w", fault)
	case len(decoded.Faults) > 0:
		return fmt.Errorf("an expression fails: %w", decoded.Faults[0].Err)
	case decoded.Refused > 0 && r.Spec.Recipients != "":
		return fmt.Errorf("for %d of what was posted, spec.recipients names recipients that are not in spec.allow",
			decoded.Refused)
	case decoded.Refused > 0:
		return fmt.Errorf("%d alerts name recipients in the label %q that are not in spec.allow",
			decoded.Refused, r.Spec.ToLabel)
	}
	return nil
}

func names(to v1alpha1.Recipients) string {
	var names []string
	for _, r := range to.All() {
		names = append(names, kube.Describe(r))
	}
	return strings.Join(names, ", ")
}
