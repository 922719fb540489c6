// SPDX-License-Identifier: Apache-2.0

package inbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/store"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// readJSON is a read of a conversation by a user, up to a message. If it is 0, all of the conversation is read.
type readJSON struct {
	User    uint32 `json:"user"`
	Session string `json:"session"`
	UpTo    uint32 `json:"upTo,omitempty"`
}

// errNotRead is why a user cannot read a conversation.
var errNotRead = errors.New("nothing was read")

// read does what a client and its message server do when a user reads: db_proxy
// counts the session as read, and the router tells all peers.
func (i *Inbox) read(w http.ResponseWriter, r *http.Request) {
	var asked readJSON
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&asked); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	session, err := store.ParseSession(asked.Session)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	notify, err := i.options.Reader.notify(asked, session)
	if errors.Is(err, errNotRead) {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	if err == nil {
		err = i.options.Reader.Read(asked.User, session)
	}
	if err == nil {
		err = i.marks.add(i.options.Reader, session, asked.User, notify.GetMsgId())
	}
	if err == nil {
		i.options.Read(notify)
		i.options.Changes.Notify()
	}
	asked.UpTo = notify.GetMsgId()
	i.replyOr(w, asked, err)
}

// notify returns the read notify of a user for the router.
func (r *Reader) notify(asked readJSON, session store.Session) (*wire.IMMsgDataReadNotify, error) {
	n := &wire.IMMsgDataReadNotify{
		UserId: &asked.User, SessionId: proto.Uint32(session.Low), MsgId: &asked.UpTo, SessionType: session.Kind.Enum(),
	}
	if session.Kind == wire.SessionType_SESSION_TYPE_GROUP {
		groups, err := r.Groups([]uint32{session.Low})
		if err != nil {
			return nil, err
		}
		if len(groups) == 0 || !slices.Contains(groups[0].Members, asked.User) {
			return nil, fmt.Errorf("%w: user %d is not in group %d", errNotRead, asked.User, session.Low)
		}
	} else {
		switch asked.User {
		case session.Low:
			n.SessionId = proto.Uint32(session.High) // a user calls it by its peer
		case session.High:
		default:
			return nil, fmt.Errorf("%w: user %d has no part in %s", errNotRead, asked.User, session)
		}
	}
	if asked.UpTo == 0 {
		last, err := r.LatestOf(session, 1)
		if err != nil {
			return nil, err
		}
		if len(last) == 0 {
			return nil, fmt.Errorf("%w: there is no message in %s", errNotRead, session)
		}
		n.MsgId = proto.Uint32(last[0].MsgID)
	}
	return n, nil
}
