// SPDX-License-Identifier: Apache-2.0

package expression

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

// decoded returns JSON as expressions get it.
func decoded(t testing.TB, body string) any {
	t.Helper()
	var v any
	d := json.NewDecoder(strings.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return Body(template.Values(v))
}

func generic(filter, key, recipients string) *v1alpha1.TeamTalkReceiverSpec {
	return &v1alpha1.TeamTalkReceiverSpec{
		Type: v1alpha1.ReceiverGeneric, Filter: filter, DedupKey: key, Recipients: recipients,
	}
}

const body = `{"status":"firing","n":7,"f":5.0,"big":1e30,"wide":18446744073709551615,"nothing":null,"ok":true,"text":"web-1 web-2",
	"labels":{"team":"db","id":"12"},"list":["a","b",3],"objects":[{"name":"x","v":1},{"name":"y","v":2}],"name":"team","time":"2026-03-01T16:05:00Z"}`

// TestValues: an expression sees JSON as CEL has it.
func TestValues(t *testing.T) {
	payload := decoded(t, body)
	for text, want := range map[string]bool{
		`payload.status == "firing"`:                                 true,
		`payload.status != "firing"`:                                 false,
		`payload.n == 7 && payload.n < 7.5 && payload.n + 1 == 8`:    true,
		`payload.f == 5 && payload.f > 4 && payload.f <= 5`:          true,
		`payload.big > 1.0e29 && payload.wide > 9223372036854775807`: true,
		`payload.nothing == null && payload.status != null`:          true,
		`payload.ok`: true,
		`has(payload.status) && !has(payload.other) && has(payload.nothing)`:                                  true,
		`payload.?labels.?team.orValue("") == "db"`:                                                           true,
		`payload.?labels.?other.orValue("none") == "none"`:                                                    true,
		`payload[?"labels"].hasValue()`:                                                                       true,
		`payload.labels["team"] == "db" && payload.labels[payload.name] == "db"`:                              true,
		`"team" in payload.labels && !("other" in payload.labels)`:                                            true,
		`"a" in payload.list && 3 in payload.list && !("c" in payload.list)`:                                  true,
		`payload.status in ["firing", "resolved"]`:                                                            true,
		`payload.list == ["a", "b", 3] && payload.list != []`:                                                 true,
		`payload.labels == {"team": "db", "id": "12"}`:                                                        true,
		`payload.objects.exists(o, o.name == "y" && o.v == 2)`:                                                true,
		`payload.objects.all(o, o.v > 1)`:                                                                     false,
		`payload.objects.exists_one(o, o.v > 1)`:                                                              true,
		`payload.objects.filter(o, o.v > 1).map(o, o.name) == ["y"]`:                                          true,
		`payload.objects.map(o, o.v > 1, o.name)[0] == "y"`:                                                   true,
		`payload.labels.exists(name, name == "team")`:                                                         true,
		`size(payload.list) == 3 && payload.list.size() == 3`:                                                 true,
		`payload.text.matches("^web-[0-9]") && !payload.text.matches("db")`:                                   true,
		`payload.text.contains("web") && payload.text.startsWith("web-1") && payload.text.endsWith("2")`:      true,
		`payload.text.replace("web", "x") == "x-1 x-2" && payload.text.replace("web", "x", 1) == "x-1 web-2"`: true,
		`payload.text.split(" ") == ["web-1", "web-2"] && payload.text.split("-", 2).size() == 2`:             true,
		`payload.text.split(" ").join("+") == "web-1+web-2" && ["a", "b"].join() == "ab"`:                     true,
		`"äöü-x".indexOf("x") == 4 && "xäx".lastIndexOf("x") == 2 && "xäx".indexOf("x", 1) == 2`:              true,
		`"xäx".lastIndexOf("x", 1) == 0 && "abc".indexOf("z") == -1 && "abc".indexOf("") == 0`:                true,
		`"FIRING".lowerAscii() == payload.status && " a ".trim() == "a" && "abc".substring(1) == "bc"`:        true,
		`[1] + [2, 3] == [1, 2, 3] && "a" + "b" == "ab"`:                                                      true,
		`int(payload.labels.id) == 12 && string(payload.n) == "7"`:                                            true,
		`timestamp(payload.time).getHours("Asia/Shanghai") == 0`:                                              true,
		`timestamp(payload.time) - timestamp("2026-03-01T15:05:00Z") == duration("1h")`:                       true,
		`payload.ok ? payload.n > 5 : false`:                                                                  true,
		`payload.missing || payload.ok`:                                                                       true, // as CEL has it
		`notification.status == payload.status`:                                                               true,
		`type(payload.n) == int && type(payload.status) == string`:                                            true,
	} {
		set, err := Compile(generic(text, "", ""))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		e := set.Evaluate(t.Context(), payload)
		if got := e.Keep(payload); got != want || len(e.Faults()) > 0 {
			t.Errorf("%s is %t, %v", text, got, e.Faults())
		}
	}
}

func TestAlerts(t *testing.T) {
	n := &template.Notification{}
	if err := json.Unmarshal([]byte(`{"status":"firing","receiver":"team","groupLabels":{"a":"b"},"truncatedAlerts":2,"alerts":[
		{"status":"firing","labels":{"alertname":"Down","empty":""},"annotations":{"summary":"s"},"startsAt":"2026-03-01T16:05:00.5Z","values":{"A":7,"B":0.5}},
		{"status":"resolved","labels":{"alertname":"Up"}}]}`), n); err != nil {
		t.Fatal(err)
	}
	whole, payloads := Notification(n)
	for text, want := range map[string]bool{
		`payload.status == "firing" && payload.labels.alertname == "Down"`:                                             true,
		`payload.labels.team == "" && !has(payload.labels.team) && !("team" in payload.labels)`:                        true,
		`payload.labels.empty == "" && has(payload.labels.empty) && "empty" in payload.labels`:                         true,
		`payload.labels.?team.orValue("none") == "none" && payload.labels["team"] == ""`:                               true,
		`payload.labels.size() == 2 && payload.labels.exists(name, name == "alertname")`:                               true,
		`payload.labels == {"alertname": "Down", "empty": ""} && {"alertname": "Down", "empty": ""} == payload.labels`: true,
		`payload.labels != payload.annotations`:                                                                        true,
		`payload.startsAt == timestamp("2026-03-01T16:05:00.5Z") && timestamp(payload.startsAt).getFullYear() == 2026`: true,
		`payload.endsAt < payload.startsAt`:                                                                            true,
		`payload.values.A > 5 && payload.values.B < 1 && !has(payload.silenceURL)`:                                     true,
		`notification.receiver == "team" && notification.groupLabels.a == "b" && notification.truncatedAlerts == 2`:    true,
		`notification.alerts.size() == 2 && notification.alerts.exists(a, a.labels.alertname == "Up")`:                 true,
		`notification.alerts.filter(a, a.status == "firing").size() == 1`:                                              true,
	} {
		set, err := Compile(&v1alpha1.TeamTalkReceiverSpec{Type: v1alpha1.ReceiverAlertmanager, Filter: text})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		e := set.Evaluate(t.Context(), whole)
		if got := e.Keep(payloads[0]); got != want || len(e.Faults()) > 0 {
			t.Errorf("%s is %t, %v", text, got, e.Faults())
		}
	}
}

func TestKeys(t *testing.T) {
	payload := decoded(t, body)
	for text, want := range map[string]string{
		`payload.labels.team + "/" + payload.status`: "db/firing",
		`payload.n`: "7", `payload.f`: "5", `7`: "7", `payload.list[0]`: "a", `timestamp(payload.time)`: "2026-03-01T16:05:00Z",
		`payload.text.replace("-", "` + strings.Repeat("-", 600) + `")`: "sha256:329f69e74e31124f5e4882b92174a84f6a6659d4eec331d650485b32c6ca982c",
		`""`: "", `payload.missing`: "", `payload.labels`: "", `payload.list`: "", `payload.nothing`: "",
	} {
		set, err := Compile(generic("", text, ""))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		e := set.Evaluate(t.Context(), payload)
		got, ok := e.Key(payload)
		if got != want || ok != (want != "") || (len(e.Faults()) > 0) != (want == "" && text != `""`) {
			t.Errorf("%s is %q, %t, %v; want %q", text, got, ok, e.Faults(), want)
		}
	}
}

func TestRecipients(t *testing.T) {
	payload := decoded(t, body)
	for text, want := range map[string]string{
		`payload.labels.team == "db" ? [user(2), group(7)] : []`:    "[User/2/ Group/7/]",
		`payload.labels.team == "net" ? [user(2)] : []`:             "[]",
		`{"db": [user(3)], "net": [group(4)]}[payload.labels.team]`: "[User/3/]",
		`payload.?owners.orValue([12]).map(id, user(id))`:           "[User/12/]",
		`[user(int(payload.labels.id))] + [user(payload.n)]`:        "[User/12/ User/7/]",
		`[]`:           "[]",
		`payload.list`: "it must be a list of user(...) and group(...)",
		`payload.n`:    "it must be a list of recipients, not a int",
		`[user(0)]`:    "the id of a recipient must be from 1",
		`payload.labels.team == "db" ? [user("zhang.san"), group("on call")] : []`:                        "[User/0/zhang.san Group/0/on call]",
		`[user(payload.labels.id), user(12), user(payload.status)]`:                                       "[User/0/12 User/12/ User/0/firing]",
		`payload.text.split(" ").map(name, group(name))`:                                                  "[Group/0/web-1 Group/0/web-2]",
		`user("2") == user(2) || user("a") == group("a") || user("a") != user("a") ? [user(1)] : []`:      "[]",
		`payload.?name.orValue("") != "" ? [group(payload.name.replace("t", "#").replace("#", ""))] : []`: "[Group/0/eam]",
		`[user("")]`:                               "line 1, column 6: the name of a recipient must not be empty",
		`[group(payload.missing)]`:                 "no such key: missing",
		`[user(payload.ok)]`:                       "does not take a value of this type",
		`[user(int(payload.status))]`:              "a value cannot be used here",
		`{"net": [group(4)]}[payload.labels.team]`: "no such key",
	} {
		set, err := Compile(generic("", "", text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		e := set.Evaluate(t.Context(), payload)
		list := []string{}
		for _, r := range e.Recipients(payload) {
			list = append(list, fmt.Sprintf("%s/%d/%s", r.Type, r.ID, r.Name))
		}
		got := fmt.Sprint(list)
		if len(e.Faults()) > 0 {
			got = e.Faults()[0].Err.Error()
		}
		if got != want && (!strings.Contains(got, want) || !strings.HasPrefix(got, "spec.recipients: ")) {
			t.Errorf("%s is %q, want %q", text, got, want)
		}
	}
}

// TestInvalid: what is wrong is known before anything is posted, with its position, in one line.
func TestInvalid(t *testing.T) {
	tests := map[string]struct {
		spec *v1alpha1.TeamTalkReceiverSpec
		want string
	}{
		"syntax":                 {generic(`payload.status ==`, "", ""), "spec.filter: line 1, column 18: Syntax error"},
		"in the second line":     {generic("true &&\n payloads.status", "", ""), "spec.filter: line 2, column 2: undeclared reference to 'payloads'"},
		"no truth":               {generic(`"firing"`, "", ""), "spec.filter: it must be a bool, not a string"},
		"no text":                {generic("", `[1]`, ""), "spec.dedupKey: it must be a string, not a list(int)"},
		"no list":                {generic("", "", `user(2)`), "spec.recipients: it must be a list(recipient), not a recipient"},
		"a list of texts":        {generic("", "", `["a"]`), "spec.recipients: it must be a list(recipient)"},
		"no id and no name":      {generic("", "", `[user(2.5)]`), "no matching overload for 'user'"},
		"an unknown function":    {generic(`payload.n.sqrt() > 1`, "", ""), "undeclared reference to 'sqrt'"},
		"format":                 {generic(`"%s".format([1]) == ""`, "", ""), "undeclared reference to 'format'"},
		"optMap":                 {generic(`optional.of(1).optMap(x, x).hasValue()`, "", ""), "undeclared reference"},
		"a pattern":              {generic(`payload.status.matches("(")`, "", ""), "line 1, column 23: not a regular expression"},
		"too large a pattern":    {generic(`payload.status.matches("(a{500}b{500})")`, "", ""), "1000 instructions"},
		"too many loops":         {generic(strings.Repeat("[1].all(x, ", 5)+"true"+strings.Repeat(")", 5), "", ""), "more than 4 macros"},
		"too many names":         {generic("payload"+strings.Repeat(".a", 33)+" == 1", "", ""), "more than 32 names or elements in a row"},
		"too long":               {generic(`"`+strings.Repeat("a", maxSource)+`" == ""`, "", ""), "size exceeds limit"},
		"too deep":               {generic(strings.Repeat("(", 300)+"true"+strings.Repeat(")", 300), "", ""), "recursion"},
		"no field of an alert":   {&v1alpha1.TeamTalkReceiverSpec{Type: v1alpha1.ReceiverAlertmanager, Filter: `payload.Labels.team == "a"`}, "line 1, column 8: payload has no field Labels, but annotations, "},
		"no field of the others": {&v1alpha1.TeamTalkReceiverSpec{Type: v1alpha1.ReceiverAlertmanager, Filter: `has(notification.labels)`}, "notification has no field labels, but alerts, "},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			set, err := Compile(tc.spec)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "container") {
				t.Fatalf("%v, want %q", err, tc.want)
			}
			// It is used nevertheless, as if the expression were not there.
			payload := decoded(t, body)
			e := set.Evaluate(t.Context(), payload)
			_, keyed := e.Key(payload)
			if !e.Keep(payload) || keyed || len(e.Recipients(payload)) > 0 || len(e.Faults()) != 1 || e.Faults()[0].Count != 1 {
				t.Errorf("%+v", e.Faults())
			}
		})
	}
	if _, err := Compile(generic(`has(payload.anything)`, `payload.id`, `[]`)); err != nil {
		t.Error(err)
	}
}

// TestFaultsHaveNoData: faults go to statuses and logs.
func TestFaultsHaveNoData(t *testing.T) {
	payload := decoded(t, `{"secret":"hunter2","list":["hunter2"],"hunter2":1,"object":{"hunter2":"hunter2"},"number":424242}`)
	for _, text := range []string{
		`payload.secret`, `int(payload.secret) == 1`, `payload.object[payload.secret][payload.secret] == 1`, `payload.object.missing == 1`,
		`{"a": 1}[payload.secret] == 1`, `payload.list[payload.number] == 1`, `payload.secret.matches(payload.secret + "(")`, `payload.secret + 1 == 2`,
		`timestamp(payload.secret) == timestamp(payload.secret)`, `duration(payload.secret) == duration("1s")`, `payload.number / 0 == 1`,
		`payload.secret.getHours(payload.secret) == 1`, `timestamp("2026-03-01T16:05:00Z").getHours(payload.secret) == 1`, `[payload.secret][7] == ""`,
		`payload.secret.substring(payload.number) == ""`, `user(payload.number * 1000000) == user(1)`, `-payload.secret == 1`,
		`payload.secret.startsWith(payload.number)`, `payload.secret > payload.number`, `double(payload.secret) > 1.0`, `payload.list.all(x, x)`, `payload.secret ? true : false`,
	} {
		set, err := Compile(generic(text, "", ""))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		e := set.Evaluate(t.Context(), payload)
		kept := e.Keep(payload)
		if len(e.Faults()) != 1 || !kept {
			t.Errorf("%s: kept %t, %v", text, kept, e.Faults())
			continue
		}
		if got := e.Faults()[0].Err.Error(); strings.Contains(got, "hunter2") || strings.Contains(got, "424242") || !strings.HasPrefix(got, "spec.filter: ") {
			t.Errorf("%s: %s", text, got)
		}
	}
}

// TestKept: the expressions of a receiver are compiled once, until they change.
func TestKept(t *testing.T) {
	r := &v1alpha1.TeamTalkReceiver{Spec: *generic("true", "", "")}
	first := Of(r)
	if Of(r.DeepCopy()) != first {
		t.Error("compiled again")
	}
	r.Spec.Filter = "false"
	if e := Of(r).Evaluate(t.Context(), nil); e.Keep(nil) {
		t.Error("the old one is used")
	}
	// The type decides which fields there are.
	r.Spec.Filter = "payload.any"
	e := Of(r).Evaluate(t.Context(), nil)
	r.Spec.Type = v1alpha1.ReceiverAlertmanager
	if strict := Of(r).Evaluate(t.Context(), nil); e.set == strict.set {
		t.Error("those of another type are used")
	}
	if !Of(&v1alpha1.TeamTalkReceiver{}).IsEmpty() || first.IsEmpty() {
		t.Error("IsEmpty")
	}
}

// TestCancelled: nobody waits for an evaluation whose request has ended.
func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	set, err := Compile(generic(`payload.list.all(x, payload.list.all(y, payload.list.all(z, x + y + z >= 0)))`, "", ""))
	if err != nil {
		t.Fatal(err)
	}
	payload := decoded(t, `{"list":[`+strings.Repeat("1,", 1000)+`1]}`)
	e := set.Evaluate(ctx, payload)
	if kept := e.Keep(payload); !kept || len(e.Faults()) != 1 || e.work < bodyWork-10_000 {
		t.Errorf("%t, %v, %d work is left", kept, e.Faults(), e.work)
	}
}
