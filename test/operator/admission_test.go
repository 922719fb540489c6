// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// TestMessageAdmission: the API server refuses what one message shows by itself, and says why.
func TestMessageAdmission(t *testing.T) {
	t.Parallel()
	many := func(n int) (ids []v1alpha1.UserID) {
		for i := range n {
			ids = append(ids, v1alpha1.UserID(i+1))
		}
		return ids
	}
	tests := map[string]struct {
		edit messageEdit
		want string // "": accepted
	}{
		"as usual":               {edit: func(*v1alpha1.TeamTalkMessage) {}},
		"no recipient":           {edit: func(m *v1alpha1.TeamTalkMessage) { m.Spec.To = v1alpha1.Recipients{} }, want: "spec.to"},
		"an empty list of users": {edit: func(m *v1alpha1.TeamTalkMessage) { m.Spec.To = v1alpha1.Recipients{Users: []v1alpha1.UserID{}} }, want: "spec.to"},
		"user id 0":              {edit: toUsers(0), want: "greater than or equal to 1"},
		"user id too large":      {edit: toUsers(1 << 31), want: "2147483647"},
		"group id 0":             {edit: toGroups(0), want: "greater than or equal to 1"},
		"a user twice":           {edit: toUsers(7, 8, 7), want: "Duplicate value"},
		"1000 users":             {edit: func(m *v1alpha1.TeamTalkMessage) { m.Spec.To.Users = many(1000) }},
		"1001 users":             {edit: func(m *v1alpha1.TeamTalkMessage) { m.Spec.To.Users = many(1001) }, want: "Too many"},
		"1001 users and groups": {edit: func(m *v1alpha1.TeamTalkMessage) {
			m.Spec.To = v1alpha1.Recipients{Users: many(1000), Groups: []v1alpha1.GroupID{1}}
		}, want: "at most 1000 recipients"},
		"a user name":            {edit: toNames([]string{"zhang.san"})},
		"a group name":           {edit: toNames(nil, strings.Repeat("组", 256))},
		"an empty list of names": {edit: toNames([]string{}), want: "spec.to"},
		"an empty user name":     {edit: toNames([]string{""}), want: "userNames[0]"},
		"an empty group name":    {edit: toNames(nil, ""), want: "groupNames[0]"},
		"a user name too long":   {edit: toNames([]string{strings.Repeat("x", 65)}), want: "Too long"},
		"a group name too long":  {edit: toNames(nil, strings.Repeat("x", 257)), want: "Too long"},
		"a user name twice":      {edit: toNames([]string{"a", "b", "a"}), want: "Duplicate value"},
		"1000 users and a name": {edit: func(m *v1alpha1.TeamTalkMessage) {
			m.Spec.To = v1alpha1.Recipients{Users: many(1000), UserNames: []string{"a"}}
		}, want: "at most 1000 recipients"},
		"a reference":              {edit: toRefs("oncall", strings.Repeat("x", 253))},
		"an empty reference":       {edit: toRefs(""), want: "groupRefs[0].name"},
		"a reference twice":        {edit: toRefs("a", "b", "a"), want: "Duplicate value"},
		"no references":            {edit: func(m *v1alpha1.TeamTalkMessage) { toRefs()(m); m.Spec.To.GroupRefs = []v1alpha1.GroupReference{} }, want: "spec.to"},
		"a long reference":         {edit: toRefs(strings.Repeat("x", 254)), want: "Too long"},
		"1000 references":          {edit: func(m *v1alpha1.TeamTalkMessage) { toRefs(manyNames(1000)...)(m) }},
		"1001 references":          {edit: func(m *v1alpha1.TeamTalkMessage) { toRefs(manyNames(1001)...)(m) }, want: "Too many"},
		"1000 users, and one":      {edit: func(m *v1alpha1.TeamTalkMessage) { toRefs("a")(m); m.Spec.To.Users = many(1000) }, want: "at most 1000 recipients"},
		"sender among the users":   {edit: func(m *v1alpha1.TeamTalkMessage) { id := v1alpha1.UserID(7); m.Spec.SenderID = &id; toUsers(7)(m) }, want: "senderID must not be among to.users"},
		"no content":               {edit: withContent(v1alpha1.Content{}), want: "spec.content"},
		"two contents":             {edit: withContent(v1alpha1.Content{Text: ptr.To("a"), Image: &v1alpha1.ImageContent{URL: "https://example.com/a.png"}}), want: "exactly one of the fields in [text json textFrom image audio]"},
		"empty text":               {edit: withContent(text("")), want: "spec.content.text"},
		"a text over 64 KiB":       {edit: withContent(text(strings.Repeat("x", 65537))), want: "Too long"},
		"an image from a file":     {edit: withContent(v1alpha1.Content{Image: &v1alpha1.ImageContent{URL: "file:///etc/passwd"}}), want: "http or https"},
		"an image that closes it":  {edit: withContent(v1alpha1.Content{Image: &v1alpha1.ImageContent{URL: "https://example.com/:}]&$~@#@"}}), want: "end marker"},
		"audio of no seconds":      {edit: withContent(v1alpha1.Content{Audio: &v1alpha1.AudioContent{ConfigMapKeyRef: v1alpha1.ConfigMapKeyRef{Name: "a", Key: "b"}}}), want: "seconds"},
		"a ConfigMap without name": {edit: withContent(textFrom("", "body")), want: "name"},
		"a deadline before sendAfter": {edit: func(m *v1alpha1.TeamTalkMessage) {
			now := metav1.Now()
			m.Spec.SendAfter, m.Spec.Deadline = &now, &metav1.Time{Time: now.Add(-time.Second)}
		}, want: "deadline must be later than sendAfter"},
		"a key for audio": {edit: func(m *v1alpha1.TeamTalkMessage) {
			m.Spec.IdempotencyKey = "v1"
			m.Spec.Content = v1alpha1.Content{Audio: &v1alpha1.AudioContent{Seconds: 1, ConfigMapKeyRef: v1alpha1.ConfigMapKeyRef{Name: "a", Key: "b"}}}
		}, want: "audio cannot have an idempotencyKey"},
		"a negative retryLimit": {edit: func(m *v1alpha1.TeamTalkMessage) { n := int32(-1); m.Spec.RetryLimit = &n }, want: "retryLimit"},
	}
	x := newTenant(t)
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := x.Message("m-"+strings.ReplaceAll(strings.ToLower(name), " ", "-"), "hello", tc.edit)
			checkAdmission(t, world.Admin.Create(t.Context(), m), tc.want)
		})
	}
}

// TestServerAdmission does the same for servers.
func TestServerAdmission(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		edit func(*v1alpha1.TeamTalkServer)
		want string
	}{
		"as usual":    {edit: func(*v1alpha1.TeamTalkServer) {}},
		"no endpoint": {edit: func(s *v1alpha1.TeamTalkServer) { s.Spec.DBProxy.Endpoints = nil }, want: "spec.dbProxy"},
		"an endpoint without port": {edit: func(s *v1alpha1.TeamTalkServer) {
			s.Spec.Router.Endpoints = []v1alpha1.Endpoint{"route.im.svc"}
		}, want: "spec.router.endpoints"},
		"an IPv6 endpoint":          {edit: func(s *v1alpha1.TeamTalkServer) { s.Spec.DBProxy.Endpoints = []v1alpha1.Endpoint{"[::1]:10600"} }},
		"a URL":                     {edit: func(s *v1alpha1.TeamTalkServer) { s.Spec.DBProxy.Endpoints = []v1alpha1.Endpoint{"tcp://db:10600"} }, want: "spec.dbProxy.endpoints"},
		"17 connections":            {edit: func(s *v1alpha1.TeamTalkServer) { s.Spec.DBProxy.Connections = 17 }, want: "connections"},
		"more groups than requests": {edit: func(s *v1alpha1.TeamTalkServer) { s.Spec.DBProxy.MaxInFlight, s.Spec.DBProxy.MaxGroupInFlight = 4, 8 }, want: "maxGroupInFlight"},
		"no default sender":         {edit: func(s *v1alpha1.TeamTalkServer) { s.Spec.Senders.Default = 0 }, want: "senders"},
		"a selector for All": {edit: func(s *v1alpha1.TeamTalkServer) {
			s.Spec.AllowedNamespaces = v1alpha1.AllowedNamespaces{From: v1alpha1.FromAll, Selector: selector("a", "b")}
		}, want: "selector must be set"},
		"Selector without selector": {edit: func(s *v1alpha1.TeamTalkServer) {
			s.Spec.AllowedNamespaces = v1alpha1.AllowedNamespaces{From: v1alpha1.FromSelector}
		}, want: "selector must be set"},
		"another verification": {edit: func(s *v1alpha1.TeamTalkServer) { s.Spec.Verification = "Sometimes" }, want: "Unsupported value"},
	}
	x := newTenant(t)
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := x.Server(tc.edit)
			s.Name = "s-" + strings.ReplaceAll(strings.ToLower(name), " ", "-")
			checkAdmission(t, world.Admin.Create(t.Context(), s), tc.want)
		})
	}
	t.Run("the default sender is kept", func(t *testing.T) {
		s := x.Server()
		x.Create(s)
		checkAdmission(t, x.TryPatch(s, `{"spec":{"senders":{"default":77}}}`), "senders.default is immutable")
	})
}

func checkAdmission(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want != "" && err == nil:
		t.Errorf("accepted, want it refused for %q", want)
	case want != "" && (!apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "is invalid: <nil>")):
		t.Errorf("refused with %v, want %q", err, want)
	}
}

// TestImmutable: a sent message cannot be changed. A message that failed with nothing stored may be corrected and is
// retried.
func TestImmutable(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	const immutable = "are immutable until the message has Finished"

	sent := x.Deliver("sent", "hello")
	for name, edit := range map[string]string{
		"content":         `{"spec":{"content":{"text":"other"}}}`,
		"another content": `{"spec":{"content":{"text":null,"json":{"a":1}}}}`,
		"recipients":      fmt.Sprintf(`{"spec":{"to":{"users":[%d]}}}`, x.Bob),
		"user names":      `{"spec":{"to":{"userNames":["zhang.san"]}}}`,
		"group names":     `{"spec":{"to":{"groupNames":["oncall"]}}}`,
		"references":      `{"spec":{"to":{"groupRefs":[{"name":"oncall"}]}}}`,
		"sender":          fmt.Sprintf(`{"spec":{"senderID":%d}}`, x.Mate),
		"server":          `{"spec":{"serverRef":{"name":"other"}}}`,
		"key":             `{"spec":{"idempotencyKey":"other"}}`,
		"long text":       `{"spec":{"longText":"Split"}}`,
	} {
		t.Run(name, func(t *testing.T) { checkAdmission(t, x.TryPatch(sent, edit), immutable) })
	}
	waiting := x.Declare("waiting", "hello", suspended)
	for _, patch := range []string{`{"spec":{"ttlSecondsAfterFinished":60}}`, `{"metadata":{"generateName":"m-"}}`} {
		checkAdmission(t, x.TryPatch(waiting, patch), "cannot be added or removed before")
	}
	json := x.Deliver("json", "", withContent(v1alpha1.Content{JSON: map[string]v1alpha1.JSONValue{"a": {Raw: []byte(`{"b":1}`)}}}))
	for name, edit := range map[string]string{
		"another key":       `{"spec":{"content":{"json":{"a":null,"c":{"b":1}}}}}`,
		"another value":     `{"spec":{"content":{"json":{"a":{"b":2}}}}}`,
		"another inner key": `{"spec":{"content":{"json":{"a":{"b":null,"c":1}}}}}`,
		"one more key":      `{"spec":{"content":{"json":{"c":1}}}}`,
	} {
		t.Run(name, func(t *testing.T) { checkAdmission(t, x.TryPatch(json, edit), immutable) })
	}
	if err := x.TryPatch(json, `{"spec":{"retryLimit":3}}`); err != nil {
		t.Errorf("retryLimit of a JSON message: %v", err)
	}
	if err := x.TryPatch(sent, `{"metadata":{"labels":{"a":"b"}},"spec":{"retryLimit":3}}`); err != nil {
		t.Errorf("what does not decide what is sent may change: %v", err)
	}
	x.AwaitMessage(sent, "observed", func(m *v1alpha1.TeamTalkMessage) bool { return m.Finished() && m.Generation == 2 })

	refused := x.Declare("refused", "hello", toUsers(1_999_999))
	checkAdmission(t, x.TryPatch(refused, `{"spec":{"content":{"text":"too early"}}}`), immutable)
	x.AwaitMessage(refused, "finished", (*v1alpha1.TeamTalkMessage).Finished)
	x.Must(x.TryPatch(refused, fmt.Sprintf(`{"spec":{"to":{"users":[%d]}}}`, x.Bob)))
	x.checkDelivered(x.AwaitDelivered(refused))

	// It may have been stored before its group was gone: a retry searches for it as it was.
	doubt := x.Declare("doubt", "hello", toGroups(1_999_999))
	doubt = x.AwaitMessage(doubt, "finished", (*v1alpha1.TeamTalkMessage).Finished)
	doubt.Status.Recipients[0].InDoubtSince = ptr.To(metav1.Now())
	x.Must(world.Admin.Status().Update(x.Context(), doubt))
	checkAdmission(t, x.TryPatch(doubt, `{"spec":{"content":{"text":"other"}}}`), immutable)
	checkAdmission(t, x.TryPatch(doubt, `{"spec":{"ttlSecondsAfterFinished":60}}`), "cannot be added or removed before")

	rows := slices.DeleteFunc(x.Rows(), func(m storedMessage) bool { return strings.HasPrefix(m.Text, "{") })
	slices.SortFunc(rows, func(a, b storedMessage) int { return int(a.To) - int(b.To) })
	if len(rows) != 2 || rows[0].To != x.Alice || rows[1].To != x.Bob {
		t.Errorf("the store holds %+v", rows)
	}
}
