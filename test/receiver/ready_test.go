// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// awaitReady waits until Ready has a reason.
func (x *tenant) awaitReady(name, reason string) {
	x.Helper()
	x.awaitReceiver(name, func(r *v1alpha1.TeamTalkReceiver) bool {
		c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionReady)
		return c != nil && c.Reason == reason && (c.Status == "True") == (reason == v1alpha1.ReasonReady) &&
			c.ObservedGeneration == r.Generation && r.Status.ObservedGeneration == r.Generation
	})
}

// edit changes a receiver.
func (x *tenant) edit(name string, edit func(*v1alpha1.TeamTalkReceiver)) {
	x.Helper()
	r := &v1alpha1.TeamTalkReceiver{ObjectMeta: x.Named(name)}
	x.Get(r)
	before := r.DeepCopy()
	edit(r)
	x.Must(world.Admin.Patch(x.Context(), r, client.MergeFrom(before)))
}

// TestReady fixes a receiver step by step, each of which wakes it.
func TestReady(t *testing.T) {
	t.Parallel()
	x, owner := newTenant(t), newTenant(t)
	sender := v1alpha1.UserID(77)
	x.receiver("alerts", func(r *v1alpha1.TeamTalkReceiver) {
		r.Spec.Authentication.TokenSecretRef.Name = "later"
		r.Spec.ServerRef = &v1alpha1.ServerReference{Name: "default", Namespace: owner.Namespace}
		r.Spec.SenderID = &sender
		r.Spec.Template = "{{.Status"
	})
	x.awaitReady("alerts", v1alpha1.ReasonSecretNotFound)
	x.CreateSecret("later", map[string]string{"token": "t"})
	x.awaitReady("alerts", v1alpha1.ReasonServerNotFound)
	owner.Patch(owner.Server(), `{"spec":{"allowedNamespaces":{"from":"Selector","selector":{"matchLabels":{"chat":"yes"}}}}}`)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: x.Namespace}}
	x.Patch(ns, `{"metadata":{"labels":{"chat":"yes"}}}`)
	x.awaitReady("alerts", v1alpha1.ReasonSenderNotPermitted)
	x.edit("alerts", func(r *v1alpha1.TeamTalkReceiver) {
		r.Spec.SenderID = nil
		r.Spec.To.Users = append(r.Spec.To.Users, v1alpha1.UserID(owner.Bot))
	})
	x.awaitReady("alerts", v1alpha1.ReasonSendToSelf)
	x.edit("alerts", func(r *v1alpha1.TeamTalkReceiver) { r.Spec.To.Users = r.Spec.To.Users[:1] })
	x.awaitReady("alerts", v1alpha1.ReasonTemplateInvalid)
	x.edit("alerts", func(r *v1alpha1.TeamTalkReceiver) {
		r.Spec.Template = "{{.Status}}"
		r.Spec.Filter = "true &&\n payload.Status == 'firing'"
	})
	x.awaitReady("alerts", v1alpha1.ReasonExpressionInvalid)
	invalid := &v1alpha1.TeamTalkReceiver{ObjectMeta: x.Named("alerts")}
	x.Get(invalid)
	if c := meta.FindStatusCondition(invalid.Status.Conditions, v1alpha1.ConditionReady); !strings.HasPrefix(c.Message, "spec.filter: line 2, column 9: payload has no field Status") {
		t.Errorf("%+v", c)
	}
	x.edit("alerts", func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Filter = "payload.status == 'firing'" })
	x.awaitReady("alerts", v1alpha1.ReasonReady)
	// It does not promise that somebody serves the receiver.
	r := &v1alpha1.TeamTalkReceiver{ObjectMeta: x.Named("alerts")}
	x.Get(r)
	if c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(c.Message, "Served says") {
		t.Errorf("%+v", c)
	}
	x.Delete(&corev1.Secret{ObjectMeta: x.Named("later")})
	x.awaitReady("alerts", v1alpha1.ReasonSecretNotFound)
}

// TestMessagesExpire: messages are deleted after their time, unfinished and foreign ones are not.
func TestMessagesExpire(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.receiver("alerts", func(r *v1alpha1.TeamTalkReceiver) {
		r.Spec.DedupWindowSeconds, r.Spec.TTLSecondsAfterFinished = 10, 10
	})
	x.receiver("kept")
	x.Declare("foreign", "waits", func(m *v1alpha1.TeamTalkMessage) {
		m.Labels = map[string]string{v1alpha1.ReceiverLabel: "alerts"}
		m.Spec.To.Users = []v1alpha1.UserID{v1alpha1.UserID(x.Bob)}
	})
	gone := x.notify("alerts", "Gone").Messages[0]
	stays := x.notify("kept", "Stays").Messages[0]
	x.Eventually(gone+" is not deleted", func() bool {
		m := &v1alpha1.TeamTalkMessage{}
		return apierrors.IsNotFound(world.Admin.Get(t.Context(), client.ObjectKey{Namespace: x.Namespace, Name: gone}, m))
	})
	var left []string
	for _, m := range x.Messages() {
		left = append(left, m.Name)
	}
	if got := strings.Join(left, " "); got != "foreign "+stays {
		t.Errorf("left are %s", got)
	}
	// Its number starts over, and yet another message is sent.
	if r := x.notify("alerts", "Gone"); len(r.Messages) != 1 || r.Messages[0] != gone {
		t.Errorf("%+v", r)
	}
	x.awaitTexts(x.Alice, 3)
}

// signature makes a receiver of a type ask for a signature.
func signature(kind v1alpha1.ReceiverType, header string, encoding v1alpha1.SignatureEncoding) receiverEdit {
	return func(r *v1alpha1.TeamTalkReceiver) {
		withSignature(r)
		r.Spec.Type = kind
		r.Spec.Authentication.HMACSecretRef.Header, r.Spec.Authentication.HMACSecretRef.Encoding = header, encoding
	}
}

// TestRefusedOnAdmission shows what the API server refuses.
func TestRefusedOnAdmission(t *testing.T) {
	x := newTenant(t)
	bob := v1alpha1.UserID(x.Bob)
	hmac := &v1alpha1.ReceiverAuthentication{HMACSecretRef: &v1alpha1.HMACSecretRef{TokenSecretRef: v1alpha1.TokenSecretRef{Name: "caller"}}}
	tests := map[string]struct {
		edit receiverEdit
		want string
	}{
		"fine":                     {func(*v1alpha1.TeamTalkReceiver) {}, ""},
		"no recipients":            {func(r *v1alpha1.TeamTalkReceiver) { r.Spec.To = v1alpha1.NamedRecipients{} }, "spec.to"},
		"toLabel without allow":    {func(r *v1alpha1.TeamTalkReceiver) { r.Spec.ToLabel = "user" }, "must be set together"},
		"allow without toLabel":    {func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Allow = &v1alpha1.NamedRecipients{} }, "must be set together"},
		"recipients without allow": {func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Recipients = "[]" }, "must be set together"},
		"recipients with toLabel": {func(r *v1alpha1.TeamTalkReceiver) {
			r.Spec.Recipients, r.Spec.ToLabel, r.Spec.Allow = "[]", "user", &v1alpha1.NamedRecipients{}
		}, "must not be set together"},
		"recipients, with allow": {func(r *v1alpha1.TeamTalkReceiver) {
			r.Spec.Recipients, r.Spec.Allow = "[]", &v1alpha1.NamedRecipients{}
		}, ""},
		"by name": {func(r *v1alpha1.TeamTalkReceiver) {
			r.Spec.To = v1alpha1.NamedRecipients{UserNames: []string{"li.si"}, GroupNames: []string{strings.Repeat("群", 256)}}
			r.Spec.Recipients, r.Spec.Allow = `[user("li.si")]`, &v1alpha1.NamedRecipients{UserNames: []string{"li.si"}}
		}, ""},
		"a name that nobody may have": {func(r *v1alpha1.TeamTalkReceiver) { r.Spec.To.UserNames = []string{strings.Repeat("a", 65)} }, "spec.to.userNames"},
		"an empty name":               {func(r *v1alpha1.TeamTalkReceiver) { r.Spec.To.GroupNames = []string{""} }, "spec.to.groupNames"},
		"the same name twice":         {func(r *v1alpha1.TeamTalkReceiver) { r.Spec.To.UserNames = []string{"a", "a"} }, "Duplicate value"},
		"an empty name that is allowed": {func(r *v1alpha1.TeamTalkReceiver) {
			r.Spec.ToLabel, r.Spec.Allow = "user", &v1alpha1.NamedRecipients{UserNames: []string{""}}
		}, "spec.allow.userNames"},
		"more than 1000, with names": {func(r *v1alpha1.TeamTalkReceiver) {
			for n := range 1000 {
				r.Spec.To.UserNames = append(r.Spec.To.UserNames, fmt.Sprint("u", n))
			}
		}, "at most 1000 recipients"},
		"a blank filter":         {func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Filter = " \n" }, "spec.filter"},
		"a key that is too long": {func(r *v1alpha1.TeamTalkReceiver) { r.Spec.DedupKey = strings.Repeat("a", 4097) }, "spec.dedupKey"},
		"groupBy, Generic":       {func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Type, r.Spec.GroupBy = "Generic", []string{"a"} }, "type Alertmanager"},
		"a signature of alerts":  {func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Authentication = hmac }, ""},
		"a password": {func(r *v1alpha1.TeamTalkReceiver) {
			r.Spec.Authentication = &v1alpha1.ReceiverAuthentication{BasicSecretRef: &v1alpha1.BasicSecretRef{Name: "caller"}}
		}, ""},
		"a header and an encoding": {signature("DingTalk", "X-Sign", "base64"), ""},
		"an encoding, any JSON":    {signature("Generic", "", "base64"), ""},
		"an encoding of the sign":  {signature("Feishu", "", "base64"), "encoding requires header"},
		"another encoding":         {signature("Generic", "X-Sign", "base32"), "Unsupported value"},
		"a header that is not one": {signature("Generic", "X-Sign:", "hex"), "should match"},
		"a signature of any JSON":  {func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Type, r.Spec.Authentication = "Generic", hmac }, ""},
		"two authentications": {func(r *v1alpha1.TeamTalkReceiver) {
			r.Spec.Type = "Generic"
			r.Spec.Authentication.HMACSecretRef = hmac.HMACSecretRef
		}, "exactly one of the fields"},
		"no authentication in it":  {func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Authentication = &v1alpha1.ReceiverAuthentication{} }, "exactly one of the fields"},
		"to the sender":            {func(r *v1alpha1.TeamTalkReceiver) { r.Spec.SenderID = &bob; r.Spec.To.Users = []v1alpha1.UserID{bob} }, "to itself"},
		"gone before a repeat":     {func(r *v1alpha1.TeamTalkReceiver) { r.Spec.TTLSecondsAfterFinished = 299 }, "dedupWindowSeconds"},
		"a window that is too low": {func(r *v1alpha1.TeamTalkReceiver) { r.Spec.DedupWindowSeconds = 9 }, "10"},
		"a name that is too long":  {func(r *v1alpha1.TeamTalkReceiver) { r.Name = strings.Repeat("x", 64) }, "63 characters"},
		"another type":             {func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Type = "Other" }, "Alertmanager"},
		"a budget of nothing":      {func(r *v1alpha1.TeamTalkReceiver) { r.Spec.FloodControl = &v1alpha1.FloodControl{WindowSeconds: 60} }, "messages"},
	}
	n := 0
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			n++
			r := x.newReceiver(fmt.Sprint("r", n), tc.edit)
			err := world.Admin.Create(t.Context(), r)
			switch {
			case tc.want == "" && err != nil:
				t.Error(err)
			case tc.want == "":
				if r.Spec.DedupWindowSeconds != 300 || r.Spec.TTLSecondsAfterFinished != 604800 || r.Status.ObservedGeneration != -1 ||
					r.Spec.Authentication.HMACSecretRef != nil && r.Spec.Authentication.HMACSecretRef.Key != "token" {
					t.Errorf("defaults: %+v", r)
				}
			case !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), tc.want):
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

// TestReadySenderByName: a receiver that names its own sender is refused, as by id.
func TestReadySenderByName(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	bot := framework.User(x.Bot).Name
	for name, edit := range map[string]func(*v1alpha1.TeamTalkReceiver){
		"to": func(r *v1alpha1.TeamTalkReceiver) { r.Spec.To.UserNames = []string{bot} },
		"allow": func(r *v1alpha1.TeamTalkReceiver) {
			r.Spec.ToLabel, r.Spec.Allow = "owner", &v1alpha1.NamedRecipients{UserNames: []string{bot}}
		},
	} {
		x.receiver(name, edit)
		x.awaitReady(name, v1alpha1.ReasonSendToSelf)
		x.edit(name, func(r *v1alpha1.TeamTalkReceiver) {
			r.Spec.To.UserNames, r.Spec.ToLabel, r.Spec.Allow = []string{framework.User(x.Mate).Name}, "", nil
		})
		x.awaitReady(name, v1alpha1.ReasonReady)
	}
}
