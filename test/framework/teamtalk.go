// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

// StartTeamTalk starts teamtalk-dev in this process, at free ports. Its Stop must be called.
func StartTeamTalk(ctx context.Context, edits ...func(*devserver.Options)) (*devserver.Server, error) {
	const anyPort = "127.0.0.1:0"
	o := devserver.Options{DBProxyAddress: anyPort, RouterAddress: anyPort, InboxAddress: anyPort}
	for _, edit := range edits {
		edit(&o)
	}
	return devserver.Start(ctx, o)
}

// User is a user of teamtalk-dev.
func User(id uint32) devserver.User {
	return devserver.NewUser(id, fmt.Sprintf("nick%d", id), fmt.Sprintf("user%d", id))
}

// ReadConversation has a user of teamtalk-dev read a conversation, as a client does it. inbox is the URL of its inbox.
func ReadConversation(ctx context.Context, inbox string, user uint32, session string) error {
	body := fmt.Sprintf(`{"user":%d,"session":%q}`, user, session)
	answer, text, err := Ask(ctx, http.DefaultClient, http.MethodPost, inbox+"/api/reads", body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s", answer.Status, text)
	}
	if err != nil {
		return fmt.Errorf("read %s as user %d: %w", session, user, err)
	}
	return nil
}

// ChatOf is how teamtalk-dev names the conversation of two users.
func ChatOf(a, b uint32) string { return fmt.Sprintf("user:%d:%d", min(a, b), max(a, b)) }

// OwnTeamTalk is a TeamTalk that the user of a test program names in its environment.
type OwnTeamTalk struct {
	// DBProxy and Router are host:port.
	DBProxy, Router string
	Sender          uint32
	// Users or Groups may be empty, not both. They do not have the sender.
	Users, Groups []uint32
	// Key is the AES key, or nil if none is named.
	Key []byte
}

// ReadOwnTeamTalk reads DB_PROXY, ROUTER, SENDER, USERS, GROUPS and AES_KEY_FILE. It returns
// nil if none is set.
func ReadOwnTeamTalk(getenv func(string) string) (*OwnTeamTalk, error) {
	o := &OwnTeamTalk{DBProxy: getenv("DB_PROXY"), Router: getenv("ROUTER")}
	if o.DBProxy == "" {
		for _, name := range []string{"ROUTER", "SENDER", "USERS", "GROUPS", "AES_KEY_FILE"} {
			if getenv(name) != "" {
				return nil, fmt.Errorf("%s goes with DB_PROXY=host:port, a TeamTalk of your own: set both or neither", name)
			}
		}
		return nil, nil
	}
	if o.Router == "" {
		return nil, fmt.Errorf("DB_PROXY is set and ROUTER is not: set ROUTER=host:port")
	}
	var sender []uint32
	for name, list := range map[string]*[]uint32{"SENDER": &sender, "USERS": &o.Users, "GROUPS": &o.Groups} {
		var err error
		if *list, err = parseIDs(getenv(name)); err != nil {
			return nil, fmt.Errorf("%s=%s: %w", name, getenv(name), err)
		}
	}
	switch {
	case len(sender) != 1:
		return nil, fmt.Errorf("SENDER=%s: want the id of one user, who sends", getenv("SENDER"))
	case len(o.Users)+len(o.Groups) == 0:
		return nil, fmt.Errorf("neither USERS nor GROUPS is set: name ids, such as USERS=3,5-9, who will get messages")
	case slices.Contains(o.Users, sender[0]):
		return nil, fmt.Errorf("USERS=%s: has the sender, %d: TeamTalk stores nothing to oneself", getenv("USERS"), sender[0])
	}
	o.Sender = sender[0]
	if file := getenv("AES_KEY_FILE"); file != "" {
		key, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("AES_KEY_FILE: %w", err)
		}
		if o.Key = bytes.TrimRight(key, "\r\n"); len(o.Key) != cipher.KeyLen {
			return nil, fmt.Errorf("AES_KEY_FILE=%s: has %d bytes, want %d", file, len(o.Key), cipher.KeyLen)
		}
	}
	return o, nil
}

// maxIDs limits the ids of one range, which may be mistyped.
const maxIDs = 100_000

// parseIDs reads comma-separated ids and ranges of them, such as 3,5-9.
func parseIDs(list string) ([]uint32, error) {
	var all []uint32
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		from, to, ranged := strings.Cut(part, "-")
		if !ranged {
			to = from
		}
		first, err := strconv.ParseUint(from, 10, 31)
		last, err2 := strconv.ParseUint(to, 10, 31)
		if err != nil || err2 != nil || first == 0 || last < first || last-first >= maxIDs {
			return nil, fmt.Errorf("%q is no id and no range of ids: want such as 3,5-9", part)
		}
		for id := first; id <= last; id++ {
			all = append(all, uint32(id))
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}
