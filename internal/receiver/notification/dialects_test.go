// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

// chatTypes are the types of receivers for chats, by the directory of their messages in testdata.
var chatTypes = map[string]v1alpha1.ReceiverType{
	"slack": v1alpha1.ReceiverSlack, "dingtalk": v1alpha1.ReceiverDingTalk, "wecom": v1alpha1.ReceiverWeCom,
	"feishu": v1alpha1.ReceiverFeishu,
}

// postOf decodes a message for a chat.
func postOf(t testing.TB, kind v1alpha1.ReceiverType, body, contentType string) (*template.Post, string) {
	t.Helper()
	decoded, err := Decode(t.Context(), newReceiver(kind), []byte(body), contentType)
	list := decoded.Messages
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 {
		t.Fatalf("%d messages", len(list))
	}
	return list[0].Body.(*template.Post), list[0].Hash
}

// TestTexts: testdata has a message as a tool posts it, and beside it its text.
func TestTexts(t *testing.T) {
	for directory, kind := range chatTypes {
		bodies, err := filepath.Glob(filepath.Join("testdata", directory, "*.[jf]*"))
		must(t, err)
		if len(bodies) < 6 {
			t.Errorf("%s: %d messages", directory, len(bodies))
		}
		for _, file := range bodies {
			t.Run(strings.TrimPrefix(file, "testdata/"), func(t *testing.T) {
				body, err := os.ReadFile(file)
				must(t, err)
				contentType := "application/json"
				if filepath.Ext(file) == ".form" {
					contentType = "application/x-www-form-urlencoded"
				}
				got, _ := postOf(t, kind, string(body), contentType)
				file := strings.TrimSuffix(file, filepath.Ext(file)) + ".txt"
				want, err := os.ReadFile(file)
				must(t, err)
				if got.Text+"\n" != string(want) {
					t.Errorf("got:\n%s\nwant:\n%s", got.Text, want)
				}
			})
		}
	}
}

// TestFormInAnotherCharset: the encoding that a content type names is that of the field of a form.
func TestFormInAnotherCharset(t *testing.T) {
	const form, kind = "payload=%7B%22text%22%3A%22%B4%C5%C5%CC%22%7D", "application/x-www-form-urlencoded"
	if got, _ := postOf(t, v1alpha1.ReceiverSlack, form, kind+"; charset=gbk"); got.Text != "磁盘" {
		t.Errorf("%q", got.Text)
	}
	if got, err := Decode(t.Context(), newReceiver(v1alpha1.ReceiverSlack), []byte(form), kind); err == nil {
		t.Errorf("%+v", got)
	}
}

// TestTextsOfJSON: fields that are JSON in a text are what templates and expressions get, as if they were objects.
func TestTextsOfJSON(t *testing.T) {
	for name, tc := range map[string]struct {
		kind            v1alpha1.ReceiverType
		body, want      string
		wantText, where string
	}{
		"attachments": {
			v1alpha1.ReceiverSlack, `{"attachments":"[{\"color\":\"bad\",\"text\":\"*full*\"}]"}`, "bad",
			"full", `payload.attachments[0].color`,
		},
		"blocks": {
			v1alpha1.ReceiverSlack, `{"blocks":"[{\"type\":\"section\",\"text\":{\"text\":\"full\"}}]"}`, "section",
			"full", `payload.blocks[0].type`,
		},
		"blocks of attachments": {
			v1alpha1.ReceiverSlack, `{"attachments":[{"blocks":"[{\"type\":\"section\",\"text\":{\"text\":\"full\"}}]"}]}`,
			"section", "full", `payload.attachments[0].blocks[0].type`,
		},
		"blocks in attachments in a text": {
			v1alpha1.ReceiverSlack, `{"attachments":"[{\"blocks\":[{\"type\":\"section\",\"text\":{\"text\":\"full\"}}]}]"}`,
			"section", "full", `payload.attachments[0].blocks[0].type`,
		},
		"card": {
			v1alpha1.ReceiverFeishu, `{"msg_type":"interactive","card":"{\"header\":{\"title\":{\"content\":\"full\"}}}"}`, "full",
			"full", `payload.card.header.title.content`,
		},
		"content and post": {
			v1alpha1.ReceiverFeishu, `{"msg_type":"post","content":"{\"post\":\"{\\\"en_us\\\":{\\\"title\\\":\\\"full\\\"}}\"}"}`,
			"full", "full", `payload.content.post.en_us.title`,
		},
	} {
		r := newReceiver(tc.kind)
		r.Spec.DedupKey = tc.where
		decoded, err := Decode(t.Context(), r, []byte(tc.body), "application/json")
		must(t, err)
		m := decoded.Messages[0]
		if len(decoded.Faults) > 0 || len(m.Keys) != 1 || m.Keys[0] != tc.want {
			t.Errorf("%s: %q %+v", name, m.Keys, decoded.Faults)
		}
		if got := m.Body.(*template.Post).Text; got != tc.wantText {
			t.Errorf("%s: %q, want %q", name, got, tc.wantText)
		}
	}
}
