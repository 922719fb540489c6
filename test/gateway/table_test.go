// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
)

// mistake is a request that must not succeed.
type mistake struct {
	endpoint, body string
	want           int
	// detail is a part of the expected detail.
	detail string
}

// mistakes are those that callers make, of every endpoint and code.
func (x *tenant) mistakes() map[string]mistake {
	send := func(to any, msg string) string {
		return fmt.Sprintf(`{"from_user_id":%d,"session_id":%v,"msg":%s}`, x.Bot, to, msg)
	}
	long := fmt.Sprintf("%q", strings.Repeat("x", 10_000))
	table := map[string]mistake{
		"unknown user":             {endpoint: "SendSingleMessage", body: send(1_999_999, `"hi"`), want: 4, detail: "does not exist"},
		"unknown user, p2p":        {endpoint: "SendP2PMessage", body: send(1_999_999, `"hi"`), want: 4, detail: "does not exist"},
		"unknown group":            {endpoint: "SendGroupMessage", body: send(1_999_999, `"hi"`), want: 4, detail: "does not exist"},
		"sender not in the group":  {endpoint: "SendGroupMessage", body: send(x.Closed, `"hi"`), want: 4, detail: "not a member"},
		"unknown among many":       {endpoint: "SendBroadCastMessage", body: fmt.Sprintf(`{"from_user_id":%d,"session_ids":[1999999,1999998],"msg":"hi"}`, x.Bot), want: 4, detail: "2 of 2"},
		"to oneself":               {endpoint: "SendSingleMessage", body: send(x.Bot, `"hi"`), want: 4, detail: "oneself"},
		"sender not permitted":     {endpoint: "SendSingleMessage", body: fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":"hi"}`, x.Bob, x.Alice), want: 3, detail: "may speak as"},
		"10,000 characters":        {endpoint: "SendSingleMessage", body: send(x.Alice, long), want: 1, detail: "10000 bytes"},
		"10,000, to a group":       {endpoint: "SendGroupMessage", body: send(x.OnCall, long), want: 1, detail: "10000 bytes"},
		"one byte too many":        {endpoint: "SendSingleMessage", body: send(x.Alice, fmt.Sprintf("%q", strings.Repeat("x", 3052))), want: 1, detail: "3052 bytes"},
		"100,000 characters":       {endpoint: "SendSingleMessage", body: send(x.Alice, fmt.Sprintf("%q", strings.Repeat("x", 100_000))), want: 1},
		"a NUL":                    {endpoint: "SendSingleMessage", body: send(x.Alice, `"a\u0000b"`), want: 1, detail: "NUL"},
		"msg_type of audio":        {endpoint: "SendP2PMessage", body: fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":"x","msg_type":2}`, x.Bot, x.Alice), want: 7, detail: "msg_type"},
		"msg_type of group audio":  {endpoint: "SendBroadCastMessage", body: fmt.Sprintf(`{"from_user_id":%d,"session_ids":[%d],"msg":"x","msg_type":"18"}`, x.Bot, x.Alice), want: 7, detail: "1 or 3 (text to users) or 17 (text to groups)"},
		"msg_type of no kind":      {endpoint: "SendP2PMessage", body: fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":"x","msg_type":{}}`, x.Bot, x.Alice), want: 1, detail: "msg_type"},
		"no session_ids":           {endpoint: "SendBroadCastMessage", body: fmt.Sprintf(`{"from_user_id":%d,"msg":"x"}`, x.Bot), want: 1, detail: "session_ids is missing"},
		"session_ids is no array":  {endpoint: "SendBroadCastMessage", body: fmt.Sprintf(`{"from_user_id":%d,"session_ids":%d,"msg":"x"}`, x.Bot, x.Alice), want: 1, detail: "session_ids"},
		"session_ids is empty":     {endpoint: "SendBroadCastMessage", body: fmt.Sprintf(`{"from_user_id":%d,"session_ids":[],"msg":"x"}`, x.Bot), want: 1, detail: "session_ids"},
		"an id among them is none": {endpoint: "SendBroadCastMessage", body: fmt.Sprintf(`{"from_user_id":%d,"session_ids":[%d,-2],"msg":"x"}`, x.Bot, x.Alice), want: 1, detail: "session_ids[1]"},
		"a group without a name":   {endpoint: "CreateGroup", body: `{"req_user_id":1,"group_name":"","group_type":1,"user_id_list":[1]}`, want: 1, detail: "group_name"},
		"half a character":         {endpoint: "SendSingleMessage", body: send(x.Alice, `"a\ud83d"`), want: 1, detail: "unpaired surrogate"},
		"a group named with a NUL": {endpoint: "CreateGroup", body: `{"req_user_id":1,"group_name":"a\u0000","group_type":1,"user_id_list":[1]}`, want: 1, detail: "NUL"},
		"a group of a long name":   {endpoint: "CreateGroup", body: fmt.Sprintf(`{"req_user_id":1,"group_name":%q,"group_type":1,"user_id_list":[1]}`, strings.Repeat("é", 257)), want: 1, detail: "256 characters"},
		"a long avatar":            {endpoint: "CreateGroup", body: fmt.Sprintf(`{"req_user_id":1,"group_name":"x","group_avatar":%q,"user_id_list":[1]}`, strings.Repeat("x", 257)), want: 1, detail: "group_avatar"},
		"a group of no type":       {endpoint: "CreateGroup", body: `{"req_user_id":1,"group_name":"x","group_type":3,"user_id_list":[1]}`, want: 1, detail: "group_type"},
		"a group of nobody":        {endpoint: "CreateGroup", body: `{"req_user_id":1,"group_name":"x","group_type":1}`, want: 1, detail: "user_id_list"},
		"a name that is none":      {endpoint: "CreateGroup", body: `{"req_user_id":1,"group_name":7,"group_type":1,"user_id_list":[1]}`, want: 1, detail: "group_name"},
		"a change of no kind":      {endpoint: "ChangeMembers", body: `{"req_user_id":1,"group_id":7,"modify_type":3,"user_id_list":[1]}`, want: 1, detail: "modify_type"},
		"no kind of change":        {endpoint: "ChangeMembers", body: `{"req_user_id":1,"group_id":7,"user_id_list":[1]}`, want: 1, detail: "modify_type"},
		"a change of no group":     {endpoint: "ChangeMembers", body: `{"req_user_id":1,"modify_type":1,"user_id_list":[1]}`, want: 1, detail: "group_id"},
		"a change by nobody":       {endpoint: "ChangeMembers", body: `{"group_id":7,"modify_type":1,"user_id_list":[1]}`, want: 1, detail: "req_user_id"},
		"a change of nobody":       {endpoint: "ChangeMembers", body: `{"req_user_id":1,"group_id":7,"modify_type":1,"user_id_list":"1"}`, want: 1, detail: "user_id_list"},
	}
	for _, endpoint := range []string{
		"SendSingleMessage", "SendGroupMessage", "SendP2PMessage", "SendBroadCastMessage", "CreateGroup", "ChangeMembers",
	} {
		for what, body := range map[string]string{
			"no body": "", "no JSON": "{", "text after it": "{} x", "an array": "[]", "null": "null", "a string": `"x"`,
			"a form": "from_user_id=1&session_id=2", "nothing in it": "{}", "not UTF-8": "{\"msg\":\"\xff\"}",
			"deep": strings.Repeat("[", 100_000),
		} {
			table[endpoint+": "+what] = mistake{endpoint: endpoint, body: body, want: 1}
		}
	}
	for _, endpoint := range []string{"SendSingleMessage", "SendGroupMessage", "SendP2PMessage"} {
		for what, body := range map[string]string{
			"msg is missing": `{"from_user_id":1,"session_id":2}`, "msg is empty": `{"from_user_id":1,"session_id":2,"msg":""}`,
			"msg is null":             `{"from_user_id":1,"session_id":2,"msg":null}`,
			"msg is an array":         `{"from_user_id":1,"session_id":2,"msg":[1]}`,
			"from_user_id is missing": `{"session_id":2,"msg":"x"}`, "from_user_id is 0": `{"from_user_id":0,"session_id":2,"msg":"x"}`,
			"from_user_id is a word": `{"from_user_id":"me","session_id":2,"msg":"x"}`,
			"session_id is missing":  `{"from_user_id":1,"msg":"x"}`, "session_id is negative": `{"from_user_id":1,"session_id":-1,"msg":"x"}`,
			"session_id is a fraction": `{"from_user_id":1,"session_id":2.5,"msg":"x"}`, "session_id is huge": `{"from_user_id":1,"session_id":4294967296,"msg":"x"}`,
			"session_id is an object": `{"from_user_id":1,"session_id":{},"msg":"x"}`, "session_id is empty": `{"from_user_id":1,"session_id":"","msg":"x"}`,
		} {
			field, _, _ := strings.Cut(what, " ")
			table[endpoint+": "+what] = mistake{endpoint: endpoint, body: body, want: 1, detail: field}
		}
	}
	return table
}

// checkMistakes makes every mistake: each is answered, none with success, and nothing is stored.
func (x *tenant) checkMistakes(t *testing.T, g *gateway, table map[string]mistake) {
	t.Helper()
	t.Run("mistakes", func(t *testing.T) {
		for name, tc := range table {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				a, err := g.try("/query/"+tc.endpoint, tc.body)
				if err != nil {
					t.Fatal(err)
				}
				if *a.Code != tc.want || a.Text == "" || a.Detail == "" || a.MsgID != 0 || a.status != 200 {
					t.Errorf("answered %d, %q, %q, id %d, status %d; want code %d", *a.Code, a.Text, a.Detail, a.MsgID, a.status, tc.want)
				}
				if !strings.Contains(a.Detail, tc.detail) {
					t.Errorf("says %q, and nothing of %q", a.Detail, tc.detail)
				}
				if strings.Contains(a.Detail, "xxxx") {
					t.Errorf("repeats what it was sent: %q", a.Detail)
				}
				if a.took.Seconds() > 3 {
					t.Logf("took %v", a.took)
				}
			})
		}
	})
	if rows, err := x.TeamTalk.Messages(t.Context()); err != nil || len(rows) != 0 {
		t.Errorf("the store holds %+v: %v", rows, err)
	}
}

// TestMistakes: in record mode.
func TestMistakes(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	table := x.mistakes()
	// There is no way to TeamTalk from here, and that is said.
	table["a group"] = mistake{endpoint: "CreateGroup", body: `{"req_user_id":1,"group_name":"x","group_type":1,"user_id_list":[1]}`, want: 11, detail: "--mode direct"}
	table["a change"] = mistake{endpoint: "ChangeMembers", body: `{"req_user_id":1,"group_id":7,"modify_type":1,"user_id_list":[1]}`, want: 12, detail: "--mode direct"}
	x.checkMistakes(t, x.sidecar(), table)
}

// faults are what TeamTalk does wrong for good.
var faults = map[string]devserver.Fault{
	"false success": {Kind: devserver.FalseSuccess}, "id 0": {Kind: devserver.IDZero}, "silence": {Kind: devserver.Drop},
	"unknown id": {Kind: devserver.IDUnknown}, "a crash": {Kind: devserver.CloseBeforeStore}, "gone": {Kind: devserver.Refuse},
}

// TestBadLuck: faults of TeamTalk are always answered, and never with success.
func TestBadLuck(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTenantWithTeamTalk(t)
			x.checkBadLuck(t, x.sidecar(), fault)
		})
	}
}

// checkBadLuck has TeamTalk do one thing wrong, without an end to it.
func (x *tenant) checkBadLuck(t *testing.T, g *gateway, fault devserver.Fault) {
	t.Helper()
	fault.Server = devserver.InDBProxy
	x.AddFault(fault)
	for endpoint, to := range map[string]uint32{"SendSingleMessage": x.Alice, "SendGroupMessage": x.OnCall} {
		a := g.post("/query/"+endpoint+"?wait=2", fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":"hello"}`, x.Bot, to))
		if *a.Code != 8 && *a.Code != 10 || a.Detail == "" || a.MsgID != 0 {
			t.Errorf("%s: answered %+v", endpoint, a)
		}
		t.Logf("%s: code %d after %v: %s", endpoint, *a.Code, a.took, a.Detail)
	}
	x.CheckRows(0)
}
