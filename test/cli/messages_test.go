// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestStatus shows messages in each format.
func TestStatus(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	labels := func(m *v1alpha1.TeamTalkMessage) { m.Labels = map[string]string{"app": "build"} }
	x.Deliver("hello", "Hello", labels)
	x.Deliver("goodbye", "Goodbye", labels)
	alice := "user " + text(x.Alice)

	x.runAs(member, "", "status", "hello").want(0, x.Namespace+"/hello: delivered, 1/1 recipients have it", alice, "Routed")
	x.run("status", "ttm/hello", "goodbye").want(0, "/hello: delivered", "/goodbye: delivered")
	x.run("status", "-l", "app=build", "-o", "wide").want(0, "/hello: delivered", "/goodbye: delivered", "sender: user "+text(x.Bot))
	x.run("status", "hello", "--watch").want(0, "delivered, 1/1", alice)
	x.run("status", "hello", "-o", "name").want(0, "teamtalkmessage.teamtalk.io/hello")
	m := &v1alpha1.TeamTalkMessage{}
	x.run("status", "hello", "-o", "json").want(0).decode(m)
	if m.Status.Recipients[0].State != v1alpha1.StateRouted {
		t.Errorf("%+v", m.Status)
	}
	list := &v1alpha1.TeamTalkMessageList{}
	x.run("status", "-l", "app=build", "-o", "json").want(0).decode(list)
	if len(list.Items) != 2 {
		t.Errorf("%d messages", len(list.Items))
	}
	file := x.writeFile("hello.yaml", "apiVersion: teamtalk.io/v1alpha1\nkind: TeamTalkMessage\nmetadata: {name: hello}\n"+
		"spec: {to: {users: [2]}, content: {text: Hello}}\n")
	x.run("status", "-f", file).want(0, "/hello: delivered")
	others := x.writeFile("others.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n---\n"+
		"apiVersion: teamtalk.io/v1alpha1\nkind: TeamTalkMessage\nmetadata: {name: goodbye, namespace: "+x.Namespace+"}\n")
	if r := x.run("status", "-f", file+","+others).want(0, "/hello: delivered", "/goodbye: delivered"); strings.Contains(r.out, "Secret") {
		t.Error(r.out)
	}
	runPlugin(t, x.home, world.kubeconfigs[owner], "", "status", "-f", others).want(0, x.Namespace+"/goodbye: delivered")
	runPlugin(t, x.home, world.kubeconfigs[owner], "", "status", "-n", "default", "-f", others).want(2,
		`of namespace "`+x.Namespace+`": leave out -n default`)
	secret := x.writeFile("secret.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n")
	x.run("status", "-f", secret).want(1, "there is no TeamTalkMessage")
	noKind := x.writeFile("nokind.json", `{"a": "`+strings.Repeat("very long ", 100)+`"}`)
	if r := x.run("status", "-f", noKind).want(1, "nokind.json"); len(r.err) > 400 {
		t.Errorf("an error of %d bytes", len(r.err))
	}

	x.run("status", "nope").want(1, `has no TeamTalkMessage "nope"`, `namespace "`+x.Namespace+`"`, "kubectl get teamtalkmessages -A")
	x.run("status", "-l", "app=none").want(1, "no TeamTalkMessage", "app=none")
	x.run("status").want(2, "-l SELECTOR")
	x.run("status", "hello", "-l", "app=build").want(2, "one of these")
	x.run("status", "hello", "-w", "-o", "json").want(2, "--watch shows a table")
	x.run("status", "tts/default").want(2, "is not a TeamTalkMessage")
	x.run("status", "-l", "app in").want(2, `"app in" is not a label selector`)
	x.run("status", "-l", "").want(2, "--selector is given an empty value")
	x.run("status", "nope", "hello", "neither").want(1, "/hello: delivered", `has no TeamTalkMessage "nope", "neither"`)
	if r := x.run("status", "hello", "goodbye", "-o", "name").want(0); r.out != "teamtalkmessage.teamtalk.io/hello\nteamtalkmessage.teamtalk.io/goodbye\n" {
		t.Errorf("-o name shows %q", r.out)
	}
}

// TestStatusOfReads: a watch goes on until a readPolicy is not due any more.
func TestStatusOfReads(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	m := x.Deliver("m", "Hello", func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.To.Groups = []v1alpha1.GroupID{v1alpha1.GroupID(x.OnCall)}
		m.Spec.ReadPolicy = &v1alpha1.ReadPolicy{Quorum: new(int32(2))}
	})
	log := &framework.Log{}
	p, err := framework.StartWith([]string{"HOME=" + x.home, "KUBECONFIG=" + world.kubeconfigs[owner]}, world.plugin, log,
		"status", "-n", x.Namespace, "m", "--watch")
	x.Must(err)
	x.Cleanup(p.Kill)
	x.Eventually("the watch does not show what is unread", func() bool { return strings.Contains(log.String(), ". Unread: ") })
	read := func(user uint32, session string) {
		t.Helper()
		x.Must(framework.ReadConversation(t.Context(), x.TeamTalk.InboxURL(), user, session))
	}
	read(x.Alice, framework.ChatOf(x.Bot, x.Alice))
	read(x.Bob, "group:"+text(x.OnCall))
	if err := p.AwaitEnd(t); err != nil || !strings.Contains(log.String(), ". Read: ") {
		t.Errorf("%v: %s", err, log.String())
	}
	x.run("status", m.Name).want(0, ". Read: ", "ago, by 1 member")
}

// TestStatusOfEscalation: the recipients of an escalation follow those of the message.
func TestStatusOfEscalation(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	m := x.Deliver("m", "Hello", func(m *v1alpha1.TeamTalkMessage) {
		to := &v1alpha1.Recipients{Users: []v1alpha1.UserID{v1alpha1.UserID(x.Bob)}}
		m.Spec.ReadPolicy = &v1alpha1.ReadPolicy{DeadlineSeconds: new(int32(1)), EscalateTo: to}
	})
	alice, bob := "user "+text(x.Alice), "user "+text(x.Bob)+" (escalated)"
	x.run("status", m.Name, "--watch").want(0, "ReadDeadlineExceeded: ", ". Escalation: Delivered: ", alice, bob)
	r := x.run("status", m.Name, "-o", "wide").want(0, ". Escalation: Delivered: ", alice, bob)
	if strings.Count(r.out, "Routed") != 2 || strings.Contains(r.out, alice+" (escalated)") {
		t.Error(r.out)
	}
}

// TestWatchDeleted: a message that is deleted ends the watch.
func TestWatchDeleted(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t, framework.Unreachable)
	m := x.Declare("goes", "Hello")
	log := &framework.Log{}
	p, err := framework.StartWith([]string{"HOME=" + x.home, "KUBECONFIG=" + world.kubeconfigs[owner]}, world.plugin, log,
		"status", "-n", x.Namespace, "goes", "--watch")
	x.Must(err)
	x.Cleanup(p.Kill)
	x.Eventually("nothing is shown", func() bool { return strings.Contains(log.String(), "ServerNotReady") })
	x.Delete(m)
	if err := p.AwaitEnd(t); err == nil || !strings.Contains(log.String(), "message goes was deleted before it has finished") {
		t.Errorf("%v: %s", err, log.String())
	}
}

// TestRetryAndResend: a retry sends to those who have failed, a resend to all again.
func TestRetryAndResend(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	late := x.Bob + 500
	x.run("send", "--name", "partly", "--to-user", text(x.Alice)+","+text(late), "Hello").want(3, "RecipientNotFound")
	x.run("status", "partly").want(0, "partly delivered, 1/2")
	x.run("status", "partly", "--watch").want(3, "RecipientNotFound")
	x.run("retry", "partly").want(3, "retried", "RecipientNotFound")
	x.run("resend", "partly", "--failed", "--dry-run", "-o", "yaml").want(0, "- "+text(late))

	x.Must(x.TeamTalk.AddUser(framework.User(late)))
	x.runAs(member, "", "retry", "partly").want(0, "teamtalkmessage.teamtalk.io/partly retried", "delivered to user "+text(x.Alice))
	x.CheckRows(2)
	x.run("retry", "partly").want(1, "is delivered, there is nothing to retry", "resend partly")
	x.run("retry", "nope").want(1, `has no TeamTalkMessage "nope"`)
	x.run("resend", "partly", "--dry-run", "server").want(2, "use --dry-run=server")
	x.run("resend", "teamtalkmessage.teamtalk.io/partly", "--dry-run").want(0, "created (dry run)")
	x.run("resend", "partly", "--failed").want(1, "no recipient of message partly has failed")

	x.runAs(member, "", "resend", "partly").want(0, "teamtalkmessage.teamtalk.io/partly-", "delivered to user "+text(x.Alice))
	x.CheckRows(4)
	x.run("resend", "partly", "--wait=false", "-o", "name").want(0, "teamtalkmessage.teamtalk.io/partly-")
	x.AwaitRows(6)
	x.run("resend").want(2, "the name of a TeamTalkMessage")
	x.run("resend", "nope").want(1, `has no TeamTalkMessage "nope"`)

	// An idempotency key would make it the same message.
	x.run("send", "--name", "keyed", "--idempotency-key", "k", "--to-user", text(x.Alice), "Once").want(0)
	x.run("resend", "keyed").want(0)
	x.CheckRows(8)
}
