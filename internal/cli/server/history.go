// SPDX-License-Identifier: Apache-2.0

package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/teamtalk-io/teamtalk-operator/internal/cli/kube"
	"github.com/teamtalk-io/teamtalk-operator/internal/history"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const historyLong = `Show what TeamTalk's store holds of a conversation, decrypted.
It shows the newest messages, the oldest of them first.

The conversation is that of a sender of the TeamTalkServer with a user or a group. The texts are decrypted with the AES
key of the TeamTalkServer and its previous keys, so you must be permitted to read their Secret. Of a group, TeamTalk
shows what was sent after the sender joined it.

`

const historyExample = `  # The conversation of the default sender with user 3
  kubectl teamtalk history --user 3

  # The last 100 messages of a group, with the delivery tokens of operators
  kubectl teamtalk history --group-name oncall --limit 100 -o wide

  # Through a forwarded port, as JSON
  kubectl teamtalk history --user-name zhang.san --db-proxy 127.0.0.1:10600 -o json`

// historyCommand is the command history.
type historyCommand struct {
	*kube.Access

	target              targetFlags
	user, group         kube.ID
	userName, groupName string
	limit               int
	output              kube.Output
}

// NewHistoryCommand returns the command history.
func NewHistoryCommand(a *kube.Access) *cobra.Command {
	h := &historyCommand{Access: a}
	c := &cobra.Command{
		Use:   "history (--user ID | --user-name NAME | --group ID | --group-name NAME)",
		Short: "Show what TeamTalk's store holds of a conversation, decrypted",
		Long:  historyLong + fmt.Sprintf(reachLong, "kubectl teamtalk history --user 3"), Example: historyExample,
		Args: noConversation, ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := c.Flags()
	fs.Var(&h.user, "user", "`id` of the other user")
	fs.StringVar(&h.userName, "user-name", "", "login `name` of the other user")
	fs.Var(&h.group, "group", "`id` of the group")
	fs.StringVar(&h.groupName, "group-name", "", "`name` of the group")
	h.target.addSender(c)
	fs.IntVar(&h.limit, "limit", 20, fmt.Sprintf("how many messages to show, up to %d", history.MaxCount))
	h.target.addFlags(a, c)
	h.output.AddFlag(c, kube.DataFormats)
	c.RunE = func(c *cobra.Command, _ []string) error { return h.run(c.Context()) }
	return c
}

// errWhose is the usage error of a command without a conversation, or with several.
var errWhose = kube.Usagef("the command shows one conversation: use one of --user ID, --user-name NAME, --group ID " +
	"and --group-name NAME")

// noConversation refuses arguments.
func noConversation(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return errWhose
	}
	return nil
}

func (h *historyCommand) validate() error {
	named := 0
	for _, isNamed := range []bool{h.user != 0, h.group != 0, h.userName != "", h.groupName != ""} {
		if isNamed {
			named++
		}
	}
	switch {
	case named != 1:
		return errWhose
	case h.limit < 1 || h.limit > history.MaxCount:
		return kube.Usagef("--limit must be 1 to %d, not %d", history.MaxCount, h.limit)
	}
	return h.output.Validate()
}

func (h *historyCommand) run(ctx context.Context) error {
	if err := h.validate(); err != nil {
		return err
	}
	t, err := h.target.find(ctx, h.Access)
	if err != nil {
		return err
	}
	keys, err := t.keys(ctx) // before anything is asked: it decides who may read
	if err != nil {
		return err
	}
	return t.read(ctx, func(c *dbproxy.Client) error {
		if err := t.checkSender(ctx, c); err != nil {
			return err
		}
		session, err := h.session(ctx, c, t.sender)
		if err != nil {
			return err
		}
		messages, err := history.Read(ctx, c, keys, session, h.limit)
		if err != nil {
			return err
		}
		if err := h.print(messages); err != nil {
			return err
		}
		return checkReadable(messages, t.server.Spec.AESKeySecretRef.Name)
	})
}

// session finds the conversation.
func (h *historyCommand) session(ctx context.Context, c *dbproxy.Client, asker uint32) (dbproxy.Session, error) {
	s := dbproxy.Session{Type: wire.SessionType_SESSION_TYPE_SINGLE, UserID: asker, ID: uint32(h.user)}
	switch {
	case h.userName != "":
		users, err := readUsers(ctx, c, asker)
		if err != nil {
			return s, err
		}
		u, err := findNamed(users, kindUser, h.userName)
		s.ID = u.ID
		return s, err
	case h.group != 0 || h.groupName != "":
		s.Type = wire.SessionType_SESSION_TYPE_GROUP
		return h.groupSession(ctx, c, s)
	}
	found, err := c.Users(ctx, asker, []uint32{s.ID})
	switch {
	case err != nil:
		return s, fmt.Errorf("read user %d from db_proxy: %w", s.ID, err)
	case found[s.ID] == nil:
		return s, fmt.Errorf("TeamTalk has no user %d: \"%s users\" lists them", s.ID, kube.Command)
	}
	return s, nil
}

// groupSession finds the conversation of a group among those of the sender: db_proxy shows no others.
func (h *historyCommand) groupSession(
	ctx context.Context, c *dbproxy.Client, s dbproxy.Session,
) (dbproxy.Session, error) {
	groups, err := readGroups(ctx, c, s.UserID)
	if err != nil {
		return s, err
	}
	if h.groupName != "" {
		g, err := findNamed(groups, kindGroup, h.groupName)
		s.ID = g.ID
		return s, err
	}
	for _, g := range groups {
		if g.ID == uint32(h.group) {
			s.ID = g.ID
			return s, nil
		}
	}
	return s, fmt.Errorf("user %d is not a member of group %d: TeamTalk shows a group's messages to its members; "+
		"\"%s groups\" lists the groups", s.UserID, h.group, kube.Command)
}

func (h *historyCommand) print(messages []history.Message) error {
	if !h.output.IsTable() {
		return h.output.PrintData(h.Out, messages)
	}
	if len(messages) == 0 {
		fmt.Fprintln(h.ErrOut, "the store holds no message of this conversation")
		return nil
	}
	table := &kube.Table{Header: []string{"ID", "TIME", "FROM", "TEXT"}}
	if h.output.IsWide() {
		table.Header = []string{"ID", "TIME", "FROM", "TOKEN", "TEXT"}
	}
	for _, m := range messages {
		row := []string{
			strconv.FormatUint(uint64(m.ID), 10), m.Time.Format(time.RFC3339), strconv.FormatUint(uint64(m.From), 10),
		}
		if h.output.IsWide() {
			row = append(row, cmp.Or(m.Token, "-"))
		}
		table.Add(append(row, describe(m))...)
	}
	return table.Print(h.Out)
}

// describe is the text of a message, or what it is instead.
func describe(m history.Message) string {
	switch m.Kind {
	case history.KindAudio:
		return fmt.Sprintf("<audio of %d s, %d bytes>", m.AudioSeconds, m.AudioBytes)
	case history.KindUnreadable:
		return "<no key opens it>"
	}
	return m.Text
}

// countTexts counts the texts that a key opens, and those that none opens.
func countTexts(messages []history.Message) (texts, unreadable int) {
	for _, m := range messages {
		switch m.Kind {
		case history.KindText:
			texts++
		case history.KindUnreadable:
			unreadable++
		}
	}
	return texts, unreadable
}

// checkReadable returns an error if no text could be decrypted.
func checkReadable(messages []history.Message, secret string) error {
	if texts, unreadable := countTexts(messages); texts == 0 && unreadable > 0 {
		return errors.New("the keys in Secret " + strconv.Quote(secret) + " open none of these texts: put TeamTalk's key " +
			"into it; an earlier key goes under the name of the key with .previous")
	}
	return nil
}
