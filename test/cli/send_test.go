// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestSend sends to users and groups in each way that there is.
func TestSend(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	alice, bob, oncall := text(x.Alice), text(x.Bob), text(x.OnCall)

	r := x.runAs(member, "", "send", "--to-user", alice, "--to-group", oncall, "The build is green").want(0,
		"delivered to user "+alice+", group "+oncall)
	if !strings.HasPrefix(r.out, "teamtalkmessage.teamtalk.io/send-") {
		t.Errorf("%q does not name the message", r.out)
	}
	x.CheckRows(2)
	x.run("send", "--to-user", alice+","+bob, "--to-user-name", name(x.Mate), "Hello").want(0, "delivered to", name(x.Mate))
	x.run("send", "--to-group-name", "oncall", "Hello").want(0, "delivered to group "+oncall+" (oncall)")
	x.CheckRows(6)
	x.runAs(owner, "from standard input\n", "send", "--to-user", alice, "-f", "-").want(0)
	if rows := x.CheckRows(7); rows[0].Text != "from standard input" && rows[6].Text != "from standard input" {
		t.Errorf("the newline at the end was sent: %+v", rows)
	}
	long := x.writeFile("long.txt", strings.Repeat("a line of the log\n", 300))
	x.run("send", "--to-user", alice, "-f", long).want(3, "ContentTooLong", "use --split")
	x.run("send", "--to-user", alice, "--split", "-f", long).want(0)
	x.CheckRows(9)

	r = x.run("send", "--to-user", alice, "--name", "once", "--ttl", "1h", "--sender", text(x.Mate), "-o", "json", "Hello").want(0)
	m := &v1alpha1.TeamTalkMessage{}
	r.decode(m)
	if m.Name != "once" || m.Kind != "TeamTalkMessage" || *m.Spec.TTLSecondsAfterFinished != 3600 || !m.Status.Finished ||
		*m.Status.SenderID != v1alpha1.UserID(x.Mate) {
		t.Errorf("%+v", m)
	}
	x.run("send", "--to-user", alice, "--name", "once", "Hello").want(1, `"once" already exists`, "choose another --name")
	if r := x.run("send", "--to-user", alice, "-o", "name", "Hello").want(0); strings.Count(r.out, "\n") != 1 {
		t.Errorf("-o name shows %q", r.out)
	}
	x.run("send", "--to-user", alice, "--wait=false", "Hello").want(0, "created")
	x.AwaitRows(12)
}

// TestDryRun creates nothing.
func TestDryRun(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	alice := text(x.Alice)
	x.run("send", "--to-user", alice, "--dry-run", "Hello").want(0, "created (dry run)")
	x.run("send", "--to-user", alice, "--dry-run=server", "-o", "yaml", "Hello").want(0, "retryLimit: 10", "text: Hello")
	x.run("send", "--to-user", text(x.Mate), "--sender", text(x.Mate), "--dry-run=server", "Hello").want(1, "senderID must not be among")
	x.run("send", "--to-user", alice, "--dry-run=maybe", "Hello").want(2, "use none, client or server")
	if n := len(x.Messages()); n != 0 {
		t.Errorf("%d messages were created", n)
	}
}

// TestSendMistakes makes the mistakes of a person.
func TestSendMistakes(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	alice := text(x.Alice)
	missing := x.home + "/nowhere"
	tests := map[string]struct {
		args     []string
		wantCode int
		want     []string
	}{
		"no recipient":             {[]string{"Hello"}, 2, []string{"--to-user ID"}},
		"no text":                  {[]string{"--to-user", alice}, 2, []string{"no text", "-f -"}},
		"a text without quotes":    {[]string{"--to-user", alice, "Hello", "world"}, 2, []string{"put quotes around it"}},
		"a text and a file":        {[]string{"--to-user", alice, "-f", "-", "Hello"}, 2, []string{"not both"}},
		"an empty text":            {[]string{"--to-user", alice, " "}, 2, []string{"the text is empty"}},
		"a name as an id":          {[]string{"--to-user", "zhang.san", "Hello"}, 2, []string{`invalid argument "zhang.san" for "--to-user" flag: an id is a number from 1 to 2147483647: for a name, use --to-user-name`}},
		"a negative id":            {[]string{"--to-user", "-2", "Hello"}, 2, []string{"an id is a number from 1"}},
		"a file that is not there": {[]string{"--to-user", alice, "-f", missing}, 1, []string{"nowhere"}},
		"an unknown flag":          {[]string{"--to", alice, "Hello"}, 2, []string{"unknown flag: --to", `see "kubectl teamtalk send --help"`}},
		"an id that is too high":   {[]string{"--to-user", "4294967295", "Hello"}, 2, []string{"from 1 to 2147483647"}},
		"an id twice":              {[]string{"--to-user", alice, "--to-user", alice, "Hello"}, 2, []string{alice + " is given twice"}},
		"a name of a sender":       {[]string{"--to-user", alice, "--sender", "anna", "Hello"}, 2, []string{"from 1 to 2147483647: see"}},
		"an unset variable":        {[]string{"--to-user", alice, ""}, 2, []string{"an argument of", "is empty"}},
		"a key that is not set":    {[]string{"--to-user", alice, "--idempotency-key", "", "Hello"}, 2, []string{"--idempotency-key is given an empty value"}},
		"a name that is not set":   {[]string{"--to-user", alice, "--to-user-name", "", "Hello"}, 2, []string{"--to-user-name is given an empty value"}},
		"a comma too many":         {[]string{"--to-group-name", "oncall,", "Hello"}, 2, []string{"--to-group-name is given an empty value"}},
		"a dry run with a space":   {[]string{"--to-user", alice, "--dry-run", "server", "Hello"}, 2, []string{"use --dry-run=server"}},
		"days":                     {[]string{"--to-user", alice, "--ttl", "1d", "Hello"}, 2, []string{"use a duration such as 90s or 24h"}},
		"an unknown format":        {[]string{"--to-user", alice, "-o", "table", "Hello"}, 2, []string{"json, yaml, name"}},
		"no time":                  {[]string{"--to-user", alice, "--timeout", "0s", "Hello"}, 2, []string{"--wait=false"}},
		"half a second":            {[]string{"--to-user", alice, "--ttl", "1.5s", "Hello"}, 2, []string{"whole seconds"}},
		"half a server":            {[]string{"--to-user", alice, "--server", "chat/", "Hello"}, 2, []string{"namespace/name"}},
		"a wrong id":               {[]string{"--to-user", alice, "--to-user", "99999999", "Hello"}, 3, []string{"1 of 2 recipients", "user 99999999: RecipientNotFound"}},
		"a wrong name":             {[]string{"--to-group-name", "nowhere", "Hello"}, 3, []string{`group "nowhere": GroupNotFound`}},
		"a group of others":        {[]string{"--to-group", text(x.Closed), "Hello"}, 3, []string{"SenderNotInGroup"}},
		"a sender of others":       {[]string{"--to-user", alice, "--sender", "77777777", "Hello"}, 3, []string{"SenderNotPermitted"}},
		"another server":           {[]string{"--to-user", alice, "--server", "nope", "--timeout", awaitTimeout.String(), "Hello"}, 4, []string{"ServerNotFound", "it remains, follow it with", "status send-"}},
		"a wrong name of a thing":  {[]string{"--to-user", alice, "--name", "Not_A_Name", "Hello"}, 1, []string{"Not_A_Name", "lowercase"}},
	}
	for title, tc := range tests {
		t.Run(title, func(t *testing.T) {
			r := x.run(append([]string{"send"}, tc.args...)...)
			r.t = t
			r.want(tc.wantCode, tc.want...)
		})
	}
	x.run("sned").want(2, `has no command "sned": did you mean "send"?`)
	x.run("version").want(2, `has no command "version": see --help`)
	x.runAs(owner, "a\x00b", "send", "--to-user", alice, "-f", "-").want(2, "NUL byte")
	x.runAs(owner, "a\xff", "send", "--to-user", alice, "-f", "-").want(2, "not UTF-8")
}

// TestSendElsewhere sends where the user has no business.
func TestSendElsewhere(t *testing.T) {
	t.Parallel()
	x, other := newTenantWithServer(t), world.NewTenant(t, world.TeamTalk)
	runPlugin(t, x.home, world.kubeconfigs[member], "", "send", "-n", other.Namespace, "--to-user", "2", "Hello").want(1,
		"forbidden", other.Namespace, "ask for this permission")
	runPlugin(t, x.home, world.kubeconfigs[owner], "", "send", "-n", "no-such-namespace", "--to-user", "2", "Hello").want(1,
		`has no namespace "no-such-namespace"`)
}

// TestServerNotReady: the message stays, and is sent when the server is ready.
func TestServerNotReady(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t, framework.Unreachable)
	x.run("send", "--to-user", text(x.Alice), "--name", "waits", "--timeout", awaitTimeout.String(), "Hello").want(4,
		"ServerNotReady", "kubectl teamtalk status waits --watch -n "+x.Namespace)
	x.run("status", "waits").want(0, x.Namespace+"/waits: in progress", "ServerNotReady")
	x.run("retry", "waits").want(1, "in progress", "the operator retries by itself")
	s := x.Server()
	x.Get(s)
	s.Spec.DBProxy = x.Server().Spec.DBProxy
	x.Update(s)
	x.run("status", "waits", "--watch").want(0, "delivered, 1/1")
	x.CheckRows(1)
}

// TestInterrupt: Ctrl-C ends the command, and leaves the message.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t, framework.Unreachable)
	log := &framework.Log{}
	p, err := framework.StartWith([]string{"HOME=" + x.home, "KUBECONFIG=" + world.kubeconfigs[owner]}, world.plugin, log,
		"send", "-n", x.Namespace, "--context", "x", "--kubeconfig", world.kubeconfigs[owner], "--to-user", text(x.Alice),
		"--name", "stays", "Hello")
	x.Must(err)
	x.Cleanup(p.Kill)
	x.Eventually("no progress is shown", func() bool { return strings.Contains(log.String(), "ServerNotReady") })
	x.Must(p.Signal(os.Interrupt))
	if err := p.AwaitEnd(t); err == nil || !strings.Contains(err.Error(), "130") {
		t.Errorf("it ended with %v", err)
	}
	flags := " -n " + x.Namespace + " --context=x --kubeconfig=" + world.kubeconfigs[owner] + `"`
	for _, want := range []string{
		"interrupted: message stays remains", `"kubectl teamtalk status stays --watch` + flags, `"kubectl delete ttm stays` + flags,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%q is not in %s", want, log.String())
		}
	}
	x.Get(x.Message("stays", ""))
}
