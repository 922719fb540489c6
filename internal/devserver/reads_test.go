// SPDX-License-Identifier: Apache-2.0

package devserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/recorded"
)

// TestReadAsRecorded: every peer of the router receives the recorded bytes, and db_proxy counts nothing as unread.
func TestReadAsRecorded(t *testing.T) {
	s := recordedServer(t)
	peers := []*client{dialRouter(t, s.RouterAddr()), dialRouter(t, s.RouterAddr())}
	for _, p := range peers {
		p.settle()
	}
	db := dial(t, s.DBProxyAddr())
	unread := func() uint32 {
		db.send(wire.CommandUnreadCntReq, 1, &wire.IMUnreadMsgCntReq{UserId: proto.Uint32(150)})
		return body[wire.IMUnreadMsgCntRsp](t, db.next()).GetTotalCnt()
	}
	if unread() == 0 {
		t.Fatal("user 150 has read everything before it reads")
	}
	_, answer := callInbox(t, s, http.MethodPost, "/api/reads", `{"user":150,"session":"user:150:1","upTo":1}`, nil, 200)
	equal(t, "answer", `{"user":150,"session":"user:150:1","upTo":1}`, strings.TrimSpace(answer))
	want := recorded.Named(t, "read_notify").PeerReceives
	for n, p := range peers {
		if got := joined(p.settle()); !bytes.Equal(got, want) {
			t.Errorf("peer %d received %x, want %x", n, got, want)
		}
	}
	equal(t, "unread", uint32(0), unread())
}

// TestRead: the request names a conversation, and the notify is about its messages.
func TestRead(t *testing.T) {
	s := start(t, nil)
	db, peer := dial(t, s.DBProxyAddr()), dialRouter(t, s.RouterAddr())
	for range 3 {
		db.text(1, 1, 3, single, "to 3")
		db.text(1, 1, 7, groupText, "to the group")
	}
	db.settle()
	peer.settle()
	says := func(user, session, id uint32, kind wire.SessionType) string {
		return fmt.Sprint(user, session, id, kind)
	}
	tests := map[string]struct {
		request, want string
		wantStatus    int
	}{
		"all":                   {`{"user":3,"session":"user:1:3"}`, says(3, 1, 3, oneToOne), 200},
		"by the sender":         {`{"user":1,"session":"user:1:3"}`, says(1, 3, 3, oneToOne), 200},
		"up to one":             {`{"user":3,"session":"user:1:3","upTo":2}`, says(3, 1, 2, oneToOne), 200},
		"a group":               {`{"user":2,"session":"group:7"}`, says(2, 7, 3, inGroup), 200},
		"a user without a part": {`{"user":4,"session":"user:1:3"}`, "no part in user:1:3", 400},
		"no member":             {`{"user":9,"session":"group:7"}`, "user 9 is not in group 7", 400},
		"no such group":         {`{"user":9,"session":"group:99"}`, "not in group 99", 400},
		"nothing there":         {`{"user":5,"session":"user:5:6"}`, "no message in user:5:6", 400},
		"no such session":       {`{"user":5,"session":"tea"}`, "want user:ID:ID", 400},
		"no JSON":               {`tea`, "invalid character", 400},
		"a key that is unknown": {`{"user":3,"session":"user:1:3","until":2}`, "unknown field", 400},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, answer := callInbox(t, s, http.MethodPost, "/api/reads", test.request, nil, test.wantStatus)
			relayed := peer.settle()
			if test.wantStatus != 200 {
				equal(t, "relayed", 0, len(relayed))
				if !strings.Contains(answer, test.want) {
					t.Errorf("answered %s, want %q", answer, test.want)
				}
				return
			}
			equal(t, "relayed", 1, len(relayed))
			n := body[wire.IMMsgDataReadNotify](t, relayed[0])
			equal(t, "said", test.want, says(n.GetUserId(), n.GetSessionId(), n.GetMsgId(), n.GetSessionType()))
		})
	}
	crossSite := map[string]string{"Sec-Fetch-Site": "cross-site"}
	callInbox(t, s, http.MethodPost, "/api/reads", `{"user":3,"session":"user:1:3"}`, crossSite, 403)
}

// TestReadMarks: the inbox shows who has read a message since the start, up to where, and not its sender.
func TestReadMarks(t *testing.T) {
	s := start(t, nil)
	db := dial(t, s.DBProxyAddr())
	for range 3 {
		db.text(1, 1, 3, single, "to 3")
		db.text(1, 1, 7, groupText, "to the group")
	}
	db.settle()
	marks := func(session string) string {
		_, answer := callInbox(t, s, http.MethodGet, "/api/messages?session="+session, "", nil, 200)
		var messages []struct {
			ReadBy []uint32 `json:"readBy"`
		}
		if err := json.Unmarshal([]byte(answer), &messages); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(messages)
	}
	read := func(request string) { callInbox(t, s, http.MethodPost, "/api/reads", request, nil, 200) }
	equal(t, "before", "[{[]} {[]} {[]}]", marks("user:1:3"))
	read(`{"user":3,"session":"user:1:3","upTo":2}`)
	read(`{"user":1,"session":"user:1:3"}`)
	read(`{"user":3,"session":"user:1:3","upTo":1}`)
	equal(t, "up to one", "[{[3]} {[3]} {[]}]", marks("user:1:3"))
	read(`{"user":3,"session":"group:7"}`)
	read(`{"user":2,"session":"group:7"}`)
	db.text(1, 1, 7, groupText, "to the group")
	db.settle()
	equal(t, "a group", "[{[2 3]} {[2 3]} {[2 3]} {[]}]", marks("group:7"))
	equal(t, "all chats of a user", "[{[3]} {[3]} {[]}]", marks("user:3"))
}
