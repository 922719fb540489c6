// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

// webhook is a notification as Alertmanager 0.25 posts it.
var webhook = func() string {
	body, err := os.ReadFile(filepath.Join("..", "testdata", "webhook.json"))
	if err != nil {
		panic(err)
	}
	return string(body)
}()

func newReceiver(kind v1alpha1.ReceiverType) *v1alpha1.TeamTalkReceiver {
	r := &v1alpha1.TeamTalkReceiver{}
	r.Namespace, r.Name, r.Spec.Type = "chat", "alerts", kind
	r.Spec.To.Users = []v1alpha1.UserID{2}
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func decoded(t *testing.T, body string) *template.Notification {
	t.Helper()
	n, err := decodeAlertmanager([]byte(body), "application/json")
	must(t, err)
	return n.Alerts
}

func TestSplit(t *testing.T) {
	labelled := func(label, value string) template.Alert {
		return template.Alert{Status: template.StatusFiring, Labels: template.KV{"alertname": "Down", label: value}}
	}
	tests := map[string]struct {
		alerts  template.Alerts
		groupBy []string
		// want are the parts as recipients=number of alerts.
		want        string
		wantRefused int
	}{
		"no label":               {template.Alerts{labelled("x", "1")}, nil, "[2 -7]=1", 0},
		"a user":                 {template.Alerts{labelled("to", "3")}, nil, "[3]=1", 0},
		"users and groups":       {template.Alerts{labelled("to", "4, group:8,3,3")}, nil, "[3 4 -8]=1", 0},
		"in another order":       {template.Alerts{labelled("to", "4,3"), labelled("to", "3,4")}, nil, "[3 4]=2", 0},
		"one who is not allowed": {template.Alerts{labelled("to", "99")}, nil, "[2 -7]=1", 1},
		"one of two":             {template.Alerts{labelled("to", "3,99")}, nil, "[3]=1", 1},
		"no id":                  {template.Alerts{labelled("to", "alice")}, nil, "[2 -7]=1", 1},
		"a name":                 {template.Alerts{labelled("to", "zhang.san")}, nil, `["zhang.san"]=1`, 0},
		"names and ids":          {template.Alerts{labelled("to", "group:on call, zhang.san,4,zhang.san,group:8")}, nil, `["zhang.san" 4 -"on call" -8]=1`, 0},
		"in another case":        {template.Alerts{labelled("to", "Zhang.San")}, nil, "[2 -7]=1", 1},
		"digits are an id":       {template.Alerts{labelled("to", "3,5")}, nil, "[3]=1", 1},
		"a name as a group":      {template.Alerts{labelled("to", "group:zhang.san,on call")}, nil, "[2 -7]=1", 1},
		"nothing between commas": {template.Alerts{labelled("to", "3,,")}, nil, "[3]=1", 1},
		"a user's id as a group": {template.Alerts{labelled("to", "group:3")}, nil, "[2 -7]=1", 1},
		"several":                {template.Alerts{labelled("to", "3"), labelled("x", "1"), labelled("to", "4"), labelled("to", "3")}, nil, "[2 -7]=1 [3]=2 [4]=1", 0},
		"by label":               {template.Alerts{labelled("x", "1"), labelled("x", "2"), labelled("x", "1")}, []string{"x"}, "[2 -7]=2 [2 -7]=1", 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(v1alpha1.ReceiverAlertmanager)
			r.Spec.To.Groups = []v1alpha1.GroupID{7}
			r.Spec.ToLabel = "to"
			r.Spec.Allow = &v1alpha1.NamedRecipients{
				Users: []v1alpha1.UserID{3, 4}, Groups: []v1alpha1.GroupID{8},
				UserNames: []string{"zhang.san", "3", "5"}, GroupNames: []string{"on call"},
			}
			r.Spec.GroupBy = tc.groupBy
			result := split(t.Context(), r, &template.Notification{Alerts: tc.alerts})
			parts, refused := result.Messages, result.Refused
			var got []string
			ids := strings.NewReplacer("{User ", "", "{Group ", "-", "}", "")
			hashes := map[string]bool{}
			for _, p := range parts {
				got = append(got, ids.Replace(identify(p.To))+"="+string('0'+rune(len(p.Alerts.Alerts))))
				hashes[p.Hash] = true
			}
			if strings.Join(got, " ") != tc.want || refused != tc.wantRefused || len(hashes) != len(parts) {
				t.Errorf("%q, %d refused, %d hashes; want %q, %d", got, refused, len(hashes), tc.want, tc.wantRefused)
			}
		})
	}
}

// TestIdentify: two lists of recipients never have the same text. It identifies a notification.
func TestIdentify(t *testing.T) {
	user := func(id uint32, name string) v1alpha1.Recipient {
		return v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: id, Name: name}
	}
	seen := map[string]bool{}
	for _, list := range [][]v1alpha1.Recipient{
		{user(2, "")}, {user(0, "2")}, {{Type: v1alpha1.RecipientGroup, ID: 2}}, {{Type: v1alpha1.RecipientGroup, Name: "2"}},
		{user(0, "a"), user(0, "b")}, {user(0, `a"} {User "b`)}, {user(0, "a} {User b")}, {user(2, ""), user(0, "2")},
	} {
		text := identify(list)
		if seen[text] {
			t.Errorf("%s: two lists", text)
		}
		seen[text] = true
	}
	if text := identify([]v1alpha1.Recipient{user(3, ""), {Type: v1alpha1.RecipientGroup, ID: 7}}); text != "[{User 3} {Group 7}]" {
		t.Errorf("%s: notifications that were received would be new ones", text)
	}
}

func TestPartsSpeakOfThemselves(t *testing.T) {
	r := newReceiver(v1alpha1.ReceiverAlertmanager)
	r.Spec.GroupBy = []string{"instance"}
	parts := split(t.Context(), r, decoded(t, webhook)).Messages
	if len(parts) != 2 {
		t.Fatalf("%d parts", len(parts))
	}
	for i, want := range []string{template.StatusFiring, template.StatusResolved} {
		if n := parts[i].Alerts; n.Status != want || n.CommonLabels["instance"] != n.Alerts[0].Labels["instance"] || n.CommonAnnotations["summary"] == "" {
			t.Errorf("part %d: %+v, want %s", i, n, want)
		}
	}
}

func TestHashNamesWhatIsNotified(t *testing.T) {
	of := func(edit func(*template.Notification), name string) string {
		n := decoded(t, webhook)
		edit(n)
		r := newReceiver(v1alpha1.ReceiverAlertmanager)
		r.Name = name
		parts := split(t.Context(), r, n).Messages
		return parts[0].Hash
	}
	first := of(func(*template.Notification) {}, "alerts")
	for name, edit := range map[string]func(*template.Notification){
		"another order":     func(n *template.Notification) { n.Alerts[0], n.Alerts[1] = n.Alerts[1], n.Alerts[0] },
		"other annotations": func(n *template.Notification) { n.Alerts[0].Annotations = nil },
		"another URL":       func(n *template.Notification) { n.ExternalURL = "http://peer" },
		"a later end":       func(n *template.Notification) { n.Alerts[0].EndsAt = n.Alerts[0].StartsAt },
		"another time's zone": func(n *template.Notification) {
			must(t, json.Unmarshal([]byte(`"2026-11-23T13:00:00+01:00"`), &n.Alerts[0].StartsAt))
		},
	} {
		if of(edit, "alerts") != first {
			t.Errorf("%s is another notification", name)
		}
	}
	for name, edit := range map[string]func(*template.Notification){
		"resolved":      func(n *template.Notification) { n.Alerts[0].Status = template.StatusResolved },
		"fired again":   func(n *template.Notification) { n.Alerts[0].StartsAt = n.Alerts[0].StartsAt.Add(1) },
		"another alert": func(n *template.Notification) { n.Alerts[0].Fingerprint = "cc" },
		"fewer alerts":  func(n *template.Notification) { n.Alerts = n.Alerts[:1] },
		"another group": func(n *template.Notification) { n.GroupKey = "x" },
	} {
		if of(edit, "alerts") == first {
			t.Errorf("%s is the same notification", name)
		}
	}
	if of(func(*template.Notification) {}, "others") == first {
		t.Error("another receiver's is the same notification")
	}
	if len(first) != 20 {
		t.Errorf("hash %q", first)
	}
}

// TestRefusals: errors name the field and the expected type, and do not quote the data.
func TestRefusals(t *testing.T) {
	for body, want := range map[string]string{
		"":                                      "the body is empty",
		" \n":                                   "the body is empty",
		"{":                                     "the body is not JSON: bad syntax at byte 1",
		`{"alerts":[{}]}{}`:                     "the body is not JSON: bad syntax at byte 16",
		"<html>":                                "the body is HTML or XML",
		"payload=%7B%22a%22%3A1%7D":             "the body is a form: send JSON",
		`[{"labels":{"alertname":"A"}}]`:        "the body is a list, as Prometheus posts alerts to Alertmanager",
		`"secret"`:                              "the body must be an object",
		"{}":                                    "the body has no alerts",
		"null":                                  "the body has no alerts",
		`{"alerts":[]}`:                         "the body has no alerts",
		`{"alerts":"secret"}`:                   "alerts must be a list of alerts",
		`{"alerts":[{},"secret"]}`:              "alerts[1] must be an object",
		`{"alerts":[{"startsAt":"secret"}]}`:    `alerts[0].startsAt must be a time in RFC 3339, such as "2026-03-01T16:05:00Z"`,
		`{"alerts":[{},{"endsAt":["secret"]}]}`: "alerts[1].endsAt must be a time in RFC 3339",
		`{"alerts":[{"labels":["secret"]}]}`:    "alerts[0].labels must be an object of texts",
		`{"alerts":[{"status":{"a":1}}]}`:       "alerts[0].status must be a text",
		`{"alerts":[{}],"truncatedAlerts":"secret"}`: "truncatedAlerts must be a whole number",
		`{"alerts":[{}],"commonLabels":"secret"}`:    "commonLabels must be an object of texts",
	} {
		_, err := Decode(t.Context(), newReceiver(v1alpha1.ReceiverAlertmanager), []byte(body), "application/json")
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %s", body, err, want)
		}
	}
}

// TestWhatIsTaken: an alert is not lost for a value of another type, or a time that is missing.
func TestWhatIsTaken(t *testing.T) {
	if n := decoded(t, `{"status":"resolved","alerts":[{}]}`); n.Alerts[0].Status != template.StatusResolved {
		t.Errorf("an alert without a status is not of the notification's: %+v", n)
	}
	n := decoded(t, `{"version":4,"truncatedAlerts":"3","alerts":[{"status":"firing","labels":{"alertname":"A","port":9100,"on":true,"none":null},
		"annotations":{"value":93.40,"list":["a",1]},"startsAt":"2026-03-01 16:05:00","endsAt":"","dashboardURL":null}]}`)
	a := n.Alerts[0]
	if fmt.Sprint(a.Labels) != "alertname=A, on=true, port=9100" || fmt.Sprint(a.Annotations) != `list=["a",1], value=93.40` ||
		a.StartsAt.Unix() != 1772381100 || !a.EndsAt.IsZero() || n.Version != "4" || n.TruncatedAlerts != 3 {
		t.Errorf("%+v", n)
	}
	if a := decoded(t, `{"alerts":[{"startsAt":1772381100000,"endsAt":null}]}`).Alerts[0]; a.StartsAt.Unix() != 1772381100 {
		t.Errorf("%+v", a)
	}
}

// TestEncodings: a body is in UTF-8 with or without a byte order mark, or in what its content type names.
func TestEncodings(t *testing.T) {
	encoded := func(e encoding.Encoding) string {
		text, err := e.NewEncoder().String(`{"message":"磁盘已满"}`)
		must(t, err)
		return text
	}
	utf8Body, gbk := encoded(encoding.Nop), encoded(simplifiedchinese.GBK)
	for name, tc := range map[string]struct{ body, contentType, wantErr string }{
		"UTF-8":                      {utf8Body, "application/json", ""},
		"no content type":            {utf8Body, "", ""},
		"a bad content type":         {utf8Body, "application/json; charset", ""},
		"its name":                   {utf8Body, "application/json; charset=UTF-8", ""},
		"a byte order mark":          {"\xEF\xBB\xBF" + utf8Body, "application/json", ""},
		"the mark decides":           {"\xEF\xBB\xBF" + utf8Body, "application/json; charset=gbk", ""},
		"a library's default":        {utf8Body, "text/plain; charset=ISO-8859-1", ""},
		"GBK":                        {gbk, "application/json; charset=GBK", ""},
		"GB2312":                     {gbk, `text/plain; charset="gb2312"`, ""},
		"GB18030":                    {encoded(simplifiedchinese.GB18030), "application/json; charset=gb18030", ""},
		"Big5":                       {strings.ReplaceAll(utf8Body, "磁盘已满", "\xBA\xCF"), "application/json; charset=big5", "no such text"},
		"UTF-16 with its mark":       {encoded(unicode.UTF16(unicode.LittleEndian, unicode.UseBOM)), "application/json", ""},
		"UTF-16, the other way":      {encoded(unicode.UTF16(unicode.BigEndian, unicode.UseBOM)), "application/json; charset=utf-16", ""},
		"GBK that nothing names":     {gbk, "application/json", "the body is not UTF-8: send UTF-8, or name its encoding"},
		"GBK that is said to be UTF": {gbk, "application/json; charset=utf-8", "the body is not UTF-8"},
		"not GBK":                    {`{"message":"` + "\xFF\xFF" + `"}`, "application/json; charset=gbk", "the body is not in charset gbk"},
		"unknown":                    {utf8Body, "application/json; charset=ebcdic", `charset "ebcdic", which is unknown`},
		"a mark and something else":  {"\xEF\xBB\xBF\xFF", "", "the body is not UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := Decode(t.Context(), newReceiver(v1alpha1.ReceiverGeneric), []byte(tc.body), tc.contentType)
			list := result.Messages
			switch {
			case tc.wantErr == "no such text":
				if err != nil || strings.Contains(fmt.Sprint(list[0].Body), "�") {
					t.Errorf("%v, %v", list, err)
				}
			case tc.wantErr != "":
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Errorf("%v, want %s", err, tc.wantErr)
				}
			case err != nil || fmt.Sprint(list[0].Body) != "map[message:磁盘已满]":
				t.Errorf("%v, %v", list, err)
			}
		})
	}
}

// TestIsLarge: texts do not hide values, whatever encoding they are in.
func TestIsLarge(t *testing.T) {
	hidden := `"` + "中" + `\",` + strings.Repeat("[],", 5000) // in GBK, the text ends before the comma
	for body, want := range map[string]bool{`{"a":1}`: false, hidden: true, `"` + strings.Repeat("a", 10_000) + `"`: false} {
		if IsLarge([]byte(body)) != want {
			t.Errorf("%.20s: want %t", body, want)
		}
	}
}

func TestTooMuchToDecode(t *testing.T) {
	for name, body := range map[string]string{
		"too many values": `{"alerts":[` + strings.Repeat("{},", 33_000) + `{}]}`,
		"too deep":        strings.Repeat("[", 201) + strings.Repeat("]", 201),
		"two values":      `{} {}`,
	} {
		for kind := range dialects {
			if _, err := Decode(t.Context(), newReceiver(kind), []byte(body), "application/json"); err == nil {
				t.Errorf("%s: is decoded as %s", name, kind)
			}
		}
	}
	text := `["` + strings.Repeat(`[,{\"`, 20_000) + `"]`
	if _, err := Decode(t.Context(), newReceiver(v1alpha1.ReceiverGeneric), []byte(text), "application/json"); err != nil {
		t.Errorf("what is in a text: %v", err)
	}
}
