// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/cli/kube"
	"github.com/teamtalk-io/teamtalk-operator/internal/history"
)

func TestJudgeLease(t *testing.T) {
	now := time.Now()
	lease := func(holder string, ago time.Duration) *coordinationv1.Lease {
		return &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{
			HolderIdentity: &holder, RenewTime: new(metav1.NewMicroTime(now.Add(-ago))),
		}}
	}
	tests := map[string]struct {
		lease                   *coordinationv1.Lease
		wantResult, wantMessage string
	}{
		"renewed":           {lease("op-1", 2*time.Second), resultOK, "op-1 has renewed it 2s ago"},
		"a little ahead":    {lease("op-1", -2*time.Second), resultOK, "op-1 has renewed it 0s ago"},
		"not renewed":       {lease("op-1", time.Hour), resultFail, "op-1 has not renewed it for 1h0m0s: check that the operator runs"},
		"a clock ahead":     {lease("op-1", -time.Minute), resultFail, "1m0s ahead of the API server's: set the clock"},
		"released":          {lease("", time.Second), resultFail, "no operator holds it"},
		"never held at all": {&coordinationv1.Lease{}, resultFail, "no operator holds it"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			result, message := judgeLease(tc.lease, now)
			if result != tc.wantResult || !strings.Contains(message, tc.wantMessage) {
				t.Errorf("%s %q, want %s %q", result, message, tc.wantResult, tc.wantMessage)
			}
		})
	}
}

// TestJudgeMessages: what was read tells of the key and of clocks.
func TestJudgeMessages(t *testing.T) {
	now := time.Now()
	text := history.Message{Kind: history.KindText, Time: now}
	unreadable := history.Message{Kind: history.KindUnreadable, Time: now}
	ahead := history.Message{ID: 5, From: 3, Kind: history.KindText, Time: now.Add(time.Hour)}
	tests := map[string]struct {
		messages []history.Message
		want     string
	}{
		"no text":         {nil, "warn  key          not compared"},
		"all are opened":  {[]history.Message{text, text}, "ok    key          it opens what was read: 2 texts"},
		"some are opened": {[]history.Message{text, unreadable}, "warn  key          the keys in Secret \"k\" open 1 of 2 texts"},
		"none is opened":  {[]history.Message{unreadable}, "fail  key          the keys in Secret \"k\" open none of 1 texts"},
		"a clock ahead":   {[]history.Message{ahead}, "warn  clocks       message 5 of user 3 is dated 1h0m0s ahead"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			s := &v1alpha1.TeamTalkServer{}
			s.Spec.AESKeySecretRef.Name = "k"
			d := &doctor{Access: &kube.Access{IOStreams: genericclioptions.IOStreams{Out: &out}}, target: &target{server: s}}
			d.judgeTexts(tc.messages)
			d.judgeTimes(tc.messages, now)
			if !strings.Contains(out.String(), tc.want) {
				t.Errorf("%q is not in %q", tc.want, out.String())
			}
		})
	}
}

func TestChoose(t *testing.T) {
	users := []user{{1, "zhang.san"}, {2, "zhang.si"}, {3, "twin"}, {4, "twin"}, {5, "1"}}
	tests := map[string]struct {
		text    string
		want    []user
		wantErr string
	}{
		"all":                 {text: "", want: users},
		"a name":              {text: "zhang.si", want: users[1:2]},
		"an id":               {text: "2", want: users[1:2]},
		"a name like an id":   {text: "1", want: users[4:]},
		"an id of a twin":     {text: "3", want: users[2:3]},
		"similar ones":        {text: "Zhang", wantErr: `no user has the login name "Zhang"; similar ones: zhang.san (1), zhang.si (2)`},
		"the same name twice": {text: "twin", wantErr: `the login name "twin" is that of 2 users: 3, 4: use an id`},
		"none":                {text: "wang.wu", wantErr: `no user has the login name "wang.wu": "kubectl teamtalk users" lists them`},
		"no such id":          {text: "9", wantErr: `no user has the login name "9"`},
	}
	for title, tc := range tests {
		t.Run(title, func(t *testing.T) {
			got, err := chooseNamed(users, kindUser, tc.text)
			if !slices.Equal(got, tc.want) || (err == nil) != (tc.wantErr == "") || err != nil && !strings.Contains(err.Error(), tc.wantErr) {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	if _, err := findNamed(users, kindUser, "2"); err == nil {
		t.Error("an id is taken for a name")
	}
}

// TestListed bounds the names of an error.
func TestListed(t *testing.T) {
	names := strings.Split(strings.Repeat("a ", 12)+"b", " ")
	same := func(name string) string { return name }
	if got, want := listed(names, same), strings.Repeat("a, ", 9)+"a and 3 more"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := listed(names[11:], same); got != "a, b" {
		t.Errorf("%q", got)
	}
}
