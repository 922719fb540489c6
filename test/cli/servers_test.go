// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// wrongKey has the right length.
const wrongKey = "abcdefghijabcdefghijabcdefghijab"

func (x *tenant) awaitReady() {
	x.Helper()
	x.AwaitServer("ready", func(s *v1alpha1.TeamTalkServer) bool { return conditionIs(s, v1alpha1.ConditionReady, "True") })
}

func conditionIs(s *v1alpha1.TeamTalkServer, condition, status string) bool {
	for _, c := range s.Status.Conditions {
		if c.Type == condition {
			return string(c.Status) == status
		}
	}
	return false
}

// TestServers shows the conditions of servers.
func TestServers(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	x.Create(x.Server(framework.Unreachable, func(s *v1alpha1.TeamTalkServer) { s.Name = "down" }))
	x.awaitReady()
	x.Eventually("the other server has no conditions", func() bool {
		down := x.Server(func(s *v1alpha1.TeamTalkServer) { s.Name = "down" })
		x.Get(down)
		return len(down.Status.Conditions) > 0
	})
	r := x.runAs(member, "", "servers").want(0, "default", "down", x.Namespace+"/down: Connecting")
	if strings.Contains(r.out, "/default:") {
		t.Errorf("it complains about a server that is ready: %s", r.out)
	}
	x.run("servers", "-A", "-o", "wide").want(0, x.TeamTalk.DBProxyAddr(), "127.0.0.1:1")
	x.run("servers", "default", "-o", "name").want(0, "teamtalkserver.teamtalk.io/default")
	if r := x.run("servers", "-o", "name").want(0); r.out != "teamtalkserver.teamtalk.io/default\nteamtalkserver.teamtalk.io/down\n" {
		t.Errorf("-o name shows %q", r.out)
	}
	x.run("servers", "nope").want(1, `has no TeamTalkServer "nope", and has "default", "down": correct the name`, "servers -A")
	x.run("users", "--server", "nope").want(1, `has no TeamTalkServer "nope", and has "default", "down": use --server`)
	x.run("servers", "default", "-A").want(2, "leave out --all-namespaces")
	x.runAs(gatewayUser, "", "servers").want(1, "forbidden", "ask for this permission")
	runPlugin(t, x.home, world.kubeconfigs[owner], "", "servers", "-n", "default").want(0, `namespace "default" has no TeamTalkServer`)
}

// TestDirectory lists users and groups.
func TestDirectory(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	alice := text(x.Alice)
	x.runAs(member, "", "users").want(0, alice, name(x.Alice), name(x.Bob))
	if r := x.run("users", name(x.Alice)).want(0, alice); strings.Contains(r.out, name(x.Bob)) {
		t.Errorf("it shows others: %s", r.out)
	}
	x.run("users", "USER"+alice).want(1, "no user has the login name", "similar ones: "+name(x.Alice))
	x.run("users", "x-nobody").want(1, `no user has the login name "x-nobody": "kubectl teamtalk users" lists them`)
	if r := x.run("users", alice).want(0, name(x.Alice)); strings.Contains(r.out, name(x.Bob)) {
		t.Errorf("an id shows others: %s", r.out)
	}
	x.run("users", "").want(2, "is empty")
	x.run("groups", text(x.OnCall)).want(0, "oncall")
	var users []struct {
		ID   uint32
		Name string
	}
	x.run("users", name(x.Alice), "-o", "json").want(0).decode(&users)
	if len(users) != 1 || users[0].ID != x.Alice {
		t.Errorf("%+v", users)
	}
	r := x.runAs(member, "", "groups").want(0, text(x.OnCall), "oncall", "3")
	if strings.Contains(r.out, "closed") {
		t.Errorf("it shows a group of others: %s", r.out)
	}
	x.run("groups", "oncall", "-o", "wide").want(0, text(x.OnCall), "CREATOR")
	x.run("groups", "nope", "-o", "yaml").want(1, `no group of the sender has the name "nope"`)
	x.run("groups", "--sender", text(x.Mate)).want(0, "is a member of no group")
	x.run("groups", "--sender", alice).want(1, "is not a sender of TeamTalkServer", "use one of its senders "+text(x.Bot)+", "+text(x.Mate))
	x.run("users", "a", "b").want(2, `unexpected argument "b"`)
	x.run("users", "--server", "nope").want(1, `has no TeamTalkServer "nope"`)
	x.run("users", "--db-proxy", "127.0.0.1").want(2, "use host:port")
	x.run("users", "--db-proxy", "127.0.0.1:1").want(1, "db_proxy 127.0.0.1:1 cannot be reached from here", "connection refused",
		"kubectl port-forward and --db-proxy")
	x.run("users", "--db-proxy", x.TeamTalk.RouterAddr()).want(1, "is connected and does not answer: is it the port of db_proxy_server")
	x.run("users", "--db-proxy", strings.TrimPrefix(strings.TrimSuffix(x.TeamTalk.InboxURL(), "/"), "http://")).want(1, "ends the connection instead of an answer")
}

// TestDirectoryUnreachable: the way to db_proxy of the server is replaced.
func TestDirectoryUnreachable(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t, framework.Unreachable)
	x.run("users").want(1, "cannot be reached from here")
	x.run("users", "--db-proxy", x.TeamTalk.DBProxyAddr()).want(0, name(x.Alice))
}

// TestHistory shows conversations, decrypted, to who may read the key.
func TestHistory(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	alice := text(x.Alice)
	x.Deliver("first", "The first\nhas two lines")
	x.Deliver("second", "The second")
	x.run("send", "--to-group", text(x.OnCall), "For the group").want(0)

	r := x.run("history", "--user", alice).want(0, `The first\nhas two lines`, "The second")
	if strings.Index(r.out, "The first") > strings.Index(r.out, "The second") {
		t.Errorf("the newest is first: %s", r.out)
	}
	if r := x.run("history", "--user", alice, "--limit", "1").want(0, "The second"); strings.Contains(r.out, "The first") {
		t.Errorf("it shows more than one: %s", r.out)
	}
	x.run("history", "--user-name", name(x.Alice), "-o", "wide").want(0, "TOKEN", "The second")
	x.run("history", "--group", text(x.OnCall)).want(0, "For the group")
	x.run("history", "--group-name", "oncall").want(0, "For the group")
	var messages []struct {
		ID, From    uint32
		Kind, Token string
		Text        string
	}
	x.run("history", "--user", alice, "-o", "json").want(0).decode(&messages)
	if len(messages) != 2 || messages[0].Text != "The first\nhas two lines" || messages[0].From != x.Bot || len(messages[0].Token) != 16 {
		t.Errorf("%+v", messages)
	}
	x.run("history", "--user", text(x.Bob)).want(0, "the store holds no message of this conversation")

	x.runAs(member, "", "history", "--user", alice).want(1, `may not read Secret "teamtalk"`, "ask for get")
	x.run("history", "--user", "99999999").want(1, "TeamTalk has no user 99999999")
	x.run("history", "--user-name", "nobody.here").want(1, `no user has the login name "nobody.here"`)
	x.run("history", "--group", text(x.Closed)).want(1, "is not a member of group")
	x.run("history", "--user", alice, "--sender", text(x.Bob)).want(1, "is not a sender of TeamTalkServer")
	x.run("history").want(2, "--user ID")
	x.run("history", alice).want(2, "--user ID")
	x.run("history", "--user", alice, "--group", "7").want(2, "the command shows one conversation")
	x.run("history", "--user", alice, "--limit", "5000").want(2, "--limit must be 1 to 1000")

	secret := x.KeySecret(devserver.DevelopmentKey)
	secret.Data["aesKey"] = []byte(wrongKey)
	x.Update(secret)
	x.run("history", "--user", alice).want(1, "<no key opens it>", `the keys in Secret "teamtalk" open none`)
	secret.Data["aesKey.previous"] = []byte(devserver.DevelopmentKey)
	x.Update(secret)
	x.run("history", "--user", alice).want(0, "The second")
	secret.Data["aesKey"] = []byte("short")
	x.Update(secret)
	x.run("history", "--user", alice).want(1, "has 5 bytes")
}

// TestHistoryUnproved: that db_proxy shows nothing is not taken for an empty conversation.
func TestHistoryUnproved(t *testing.T) {
	t.Parallel()
	x := newTenantIn(t, framework.TeamTalkFor(t))
	x.CreateServer()
	x.Deliver("first", "Hello")
	x.AddFault(devserver.Fault{Kind: devserver.EmptyList, Command: wire.CommandMsgListReq})
	x.run("history", "--user", text(x.Alice)).want(1, "though it has one")
}

// TestDoctor finds what is wrong with a server.
func TestDoctor(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	x.awaitReady()
	x.run("doctor").want(0, "warn  read path", "not checked", "ok    router", "ok    db_proxy", "ok    directory", "ok    clocks")
	x.Deliver("hello", "Hello")
	r := x.run("doctor").want(0, "ok    operator", "ok    lease", "ok    key", "it opens what was read: 1 text", "ok    read path", "ok    router")
	if strings.Contains(r.out, "fail") {
		t.Error(r.out)
	}
	x.CheckRows(1)
	var findings []struct{ Result, Check, Message string }
	x.run("doctor", "-o", "json").want(0).decode(&findings)
	if len(findings) < 7 {
		t.Errorf("%+v", findings)
	}
	x.runAs(member, "", "doctor").want(0, "warn  key", "may not read Secret", "warn  lease", "ok    db_proxy")
	x.run("doctor", "--db-proxy", "127.0.0.1:1").want(1, "fail  db_proxy", "connection refused", "1 of")
	x.run("doctor", "--router", "127.0.0.1:1").want(1, "fail  router", "connection refused")
	x.run("doctor", "--router", "localhost").want(2, `--router "localhost" is not an address`)
	x.run("doctor", "--server", "nope").want(1, `has no TeamTalkServer "nope"`)
	x.run("doctor", "now").want(2, `unexpected argument "now"`)

	secret := x.KeySecret(wrongKey)
	x.Update(secret)
	x.run("doctor").want(1, "fail  key", "is not the key of TeamTalk's clients")
	x.Delete(secret)
	x.AwaitServer("without a key", func(s *v1alpha1.TeamTalkServer) bool { return conditionIs(s, v1alpha1.ConditionKeyLoaded, "False") })
	x.run("doctor").want(1, "fail  operator", "KeyNotFound", "fail  key", `has no Secret "teamtalk"`)
}

// TestUnknownSender: nothing can be read in the name of a user who does not exist.
func TestUnknownSender(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t, func(s *v1alpha1.TeamTalkServer) { s.Spec.Senders.Default = 77777777 })
	for _, args := range [][]string{{"groups"}, {"history", "--user", text(x.Alice)}, {"history", "--group", text(x.OnCall)}} {
		x.run(args...).want(1, "db_proxy shows no user 77777777", "correct spec.senders")
	}
	x.run("users").want(0, name(x.Alice))
	if r := x.run("doctor").want(1, "fail  directory", "sender 77777777 does not exist"); strings.Contains(r.out, "read path") {
		t.Errorf("it reads in the name of nobody: %s", r.out)
	}
}

// TestDoctorOfWrongServer names a sender that does not exist, and takes a db_proxy for a router.
func TestDoctorOfWrongServer(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t, func(s *v1alpha1.TeamTalkServer) {
		s.Spec.Senders.Allowed = []v1alpha1.UserID{77777777}
		s.Spec.Router.Endpoints = s.Spec.DBProxy.Endpoints
	})
	x.run("doctor").want(1, "fail  directory", "sender 77777777 does not exist", "router")
}
