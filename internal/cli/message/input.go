// SPDX-License-Identifier: Apache-2.0

package message

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/cli/kube"
)

// recipientFlags are the flags that name recipients.
type recipientFlags struct {
	users, groups                    kube.IDs
	userNames, groupNames, groupRefs []string
}

func (f *recipientFlags) addFlags(fs *pflag.FlagSet) {
	fs.Var(&f.users, "to-user", "`ids` of users; may be repeated")
	fs.StringSliceVar(&f.userNames, "to-user-name", nil, "login `names` of users")
	fs.Var(&f.groups, "to-group", "`ids` of groups that the sender is a member of")
	fs.StringSliceVar(&f.groupNames, "to-group-name", nil, "`names` of groups that the sender is a member of")
	fs.StringSliceVar(&f.groupRefs, "to-group-ref", nil, "`names` of TeamTalkGroups of the namespace")
}

func (f *recipientFlags) isEmpty() bool {
	to := f.recipients()
	return to.Len() == 0
}

func (f *recipientFlags) recipients() v1alpha1.Recipients {
	to := v1alpha1.Recipients{UserNames: f.userNames, GroupNames: f.groupNames}
	for _, n := range f.users {
		to.Users = append(to.Users, v1alpha1.UserID(n))
	}
	for _, n := range f.groups {
		to.Groups = append(to.Groups, v1alpha1.GroupID(n))
	}
	for _, name := range f.groupRefs {
		to.GroupRefs = append(to.GroupRefs, v1alpha1.GroupReference{Name: name})
	}
	return to
}

// oneText permits one argument.
func oneText(_ *cobra.Command, args []string) error {
	if len(args) > 1 {
		return kube.Usagef("the text is one argument, and there are %d: put quotes around it", len(args))
	}
	return nil
}

// readText returns the text of the arguments, or of a file.
func readText(in io.Reader, args []string, file string) (string, error) {
	switch {
	case len(args) == 1 && file != "":
		return "", kube.Usagef("the text is an argument or comes from -f, not both")
	case len(args) == 0 && file == "":
		return "", kube.Usagef("the message has no text: add it as an argument in quotes, or use -f FILE or -f -")
	case len(args) == 1:
		return checkText(args[0])
	}
	var b []byte
	var err error
	if file == "-" {
		b, err = io.ReadAll(io.LimitReader(in, v1alpha1.MaxTextBytes+2))
	} else {
		b, err = os.ReadFile(file)
	}
	if err != nil {
		return "", fmt.Errorf("read the text: %w", err)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	return checkText(text)
}

// checkText refuses what no operator can send. The API server would not say it as clearly.
func checkText(text string) (string, error) {
	switch {
	case strings.TrimSpace(text) == "":
		return "", kube.Usagef("the text is empty")
	case !utf8.ValidString(text):
		return "", kube.Usagef("the text is not UTF-8: convert it, for example with iconv")
	case strings.ContainsRune(text, 0):
		return "", kube.Usagef("the text has a NUL byte, at which clients end it: is it a text file?")
	case len(text) > v1alpha1.MaxTextBytes:
		return "", kube.Usagef("the text has more than %d bytes, the longest that can be sent with --split: shorten it",
			v1alpha1.MaxTextBytes)
	}
	return text, nil
}
