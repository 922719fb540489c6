// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

func TestMrkdwn(t *testing.T) {
	for text, want := range map[string]string{
		"*bold* _italic_ ~struck~ *_both_*":                           "bold italic struck both",
		"**bold** ~~struck~~ __init__":                                "bold struck __init__",
		"2*3*4 a_b_c snake_case_ * not * _ _":                         "2*3*4 a_b_c snake_case_ * not * _ _",
		"<https://ci/job/_release_/12|*build*> https://g/d/*/x/* *b*": "build (https://ci/job/_release_/12) https://g/d/*/x/* b",
		"*two\nlines*":                                        "*two\nlines*",
		"`*code*` *x*":                                        "`*code*` x",
		"重要：*磁盘*，满":                                           "重要：磁盘，满",
		"<https://a.example.com|a & b> &lt;x":                 "a & b (https://a.example.com) <x",
		"<https://a.example.com>":                             "https://a.example.com",
		"<https://a.example.com|https://a.example.com>":       "https://a.example.com",
		"<mailto:ops@example.com|Ops>":                        "Ops (ops@example.com)",
		"<@U1> <@U2|li> <#C1|ops> <#C2>":                      "@U1 @li #ops #C2",
		"<!here> <!channel> <!subteam^S1|@dba> <!subteam^S2>": "@here @channel @dba @S2",
		"<!date^1^{date}|March 1st>":                          "March 1st",
		"<pod> <a|b> a < b > c <Error: it ends>":              "<pod> <a|b> a < b > c <Error: it ends>",
		"[text](https://a.example.com/x) [x]":                 "text (https://a.example.com/x) [x]",
	} {
		if got := (&writer{markup: maxMarkup}).mrkdwn(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestMarkdown(t *testing.T) {
	for text, want := range map[string]string{
		"# a\n\n## b #\ntext":             "a\nb\ntext",
		"a\n---\nb":                       "a\n---\nb",
		"延迟 10~20ms，昨天 30~40ms ~~x~~":     "延迟 10~20ms，昨天 30~40ms x",
		"http://j/job/_rel_/1 *x*":        "http://j/job/_rel_/1 x",
		"a<b and c>d <b>e</b>":            "a<b and c>d e",
		"    code *x*":                    "code *x*",
		"<div>\n**x**\n</div>\n<unknown>": "x\n\n<unknown>",
		"[a](https://a.example.com \"title\") <https://b.example.com>":           "a (https://a.example.com) https://b.example.com",
		"[![logo](https://img.example.com/l.png)](https://a.example.com)":        "logo (https://img.example.com/l.png) (https://a.example.com)",
		"<font color=\"warning\">w</font> <a href='https://a.example.com'>t</a>": "w t (https://a.example.com)",
		"<at id=all></at> <at user_id=\"u1\">Tom</at> <@zhang.san>":              "@all @Tom @zhang.san",
		"3. c\n4. d":              "3. c\n4. d",
		"- a\n\n  more\n- b":      "• a\n  more\n• b",
		"&lt;b&gt; &amp; \\*x\\*": "<b> & *x*",
		"1 < 2 && a_b_c":          "1 < 2 && a_b_c",
		"|a|b|\n|-|-|\n|1|":       "a | b\n1 |",
	} {
		if got := (&writer{markup: maxMarkup}).plain(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestMarkdownLosesNothing: whatever the markup, all words are in the text.
func TestMarkdownLosesNothing(t *testing.T) {
	parts := []string{
		"*", "**", "_", "`", "~~", "[", "](", ")", "![", "<", ">", "<font color=red>", "</font>", "\n", "\n\n", "\n- ", "\n  - ",
		"\n1. ", "\n> ", "\n# ", "\n    ", "\n\t", "\n```\n", "\n~~~\n", "|", "\n|-|-|\n", "\n---\n", "\\", "&amp;", " ", "<at id=a>",
		"</at>", "<a href=b>", "</a>", "<!-- ", " -->", "\"", "\n===\n", "\n[r]: ",
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		var b strings.Builder
		var words []string
		for n := range 12 {
			word := fmt.Sprintf("word%dx", n)
			words = append(words, word)
			b.WriteString(word + parts[random.IntN(len(parts))] + parts[random.IntN(len(parts))])
		}
		got := (&writer{markup: maxMarkup}).plain(b.String())
		for _, word := range words {
			if !strings.Contains(got, word) {
				t.Fatalf("%q: %s is not in %q", b.String(), word, got)
			}
		}
	}
}

// TestMarkupIsLimited: what is over the limit is shown as it is.
func TestMarkupIsLimited(t *testing.T) {
	w := &writer{markup: 12}
	if got := w.plain("**a**\n**b**\n**c**"); got != "a\nb\n**c**" {
		t.Errorf("%q", got)
	}
	if got := w.mrkdwn("*d*"); got != "*d*" {
		t.Errorf("%q", got)
	}
}

// TestMarkdownIsParsedAsFarAsItIsHeld: TeamTalk holds no more of the text.
func TestMarkdownIsParsedAsFarAsItIsHeld(t *testing.T) {
	const line, end = "**a** words and more of them\n", "**end**"
	for name, tc := range map[string]struct{ text, want string }{
		"it is held":      {strings.Repeat("<font color=\"red\">*a*</font>\n", 200) + end, "end"},
		"it is not":       {strings.Repeat(line, 200) + end, "**end**"},
		"it is one line":  {strings.Repeat("**a** words ", 500) + end, "end"},
		"an unended code": {"```\n" + strings.Repeat("*a*\n", 1200) + end, "**end**"},
	} {
		got := (&writer{markup: maxMarkup}).plain(tc.text)
		held := got[:min(len(got), cipher.MaxTextWithToken)]
		if !strings.HasSuffix(got, tc.want) || strings.HasSuffix(got, "*"+tc.want) || !strings.HasPrefix(name, "an unended") && strings.Contains(held, "*") {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestRepeats: the time at which a message is sent does not make it another one.
func TestRepeats(t *testing.T) {
	hash := func(kind v1alpha1.ReceiverType, body string) string {
		_, hash := postOf(t, kind, body, "application/json")
		return hash
	}
	for name, tc := range map[string]struct {
		kind        v1alpha1.ReceiverType
		one, other  string
		wantRepeats bool
	}{
		"signed again": {
			v1alpha1.ReceiverFeishu,
			`{"timestamp":"1","sign":"a","msg_type":"text","content":{"text":"x"}}`,
			`{"timestamp":"2","sign":"b","msg_type":"text","content":{"text":"x"}}`, true,
		},
		"another text": {
			v1alpha1.ReceiverFeishu,
			`{"timestamp":"1","sign":"a","msg_type":"text","content":{"text":"x"}}`,
			`{"timestamp":"1","sign":"a","msg_type":"text","content":{"text":"y"}}`, false,
		},
		"sent later": {
			v1alpha1.ReceiverSlack, `{"attachments":[{"text":"x","ts":1}]}`, `{"attachments":[{"text":"x","ts":2}]}`, true,
		},
		"another color": {
			v1alpha1.ReceiverSlack, `{"attachments":[{"text":"x","color":"good"}]}`, `{"attachments":[{"text":"x","color":"bad"}]}`, false,
		},
		"sent later in a text": {
			v1alpha1.ReceiverSlack, `{"attachments":"[{\"text\":\"x\",\"ts\":1}]"}`, `{"attachments":"[{\"ts\":2,\"text\":\"x\"}]"}`, true,
		},
		"another color in a text": {
			v1alpha1.ReceiverSlack, `{"attachments":"[{\"text\":\"x\",\"color\":\"good\"}]"}`, `{"attachments":"[{\"text\":\"x\",\"color\":\"bad\"}]"}`, false,
		},
		"the same": {
			v1alpha1.ReceiverDingTalk, `{"msgtype":"text","text":{"content":"x"}}`, `{"msgtype":"text","text":{"content":"x"}}`, true,
		},
	} {
		if got := hash(tc.kind, tc.one) == hash(tc.kind, tc.other); got != tc.wantRepeats {
			t.Errorf("%s: repeats %t", name, got)
		}
	}
}

// TestTitled: a title is left out if a line says the same, not if one begins with it.
func TestTitled(t *testing.T) {
	for name, tc := range map[string]struct{ title, text, want string }{
		"same line":       {"Disk", "Disk\nfull", "Disk\nfull"},
		"later line":      {"Disk", "a\nDisk", "a\nDisk"},
		"with its link":   {"Disk", "Disk (https://a.example)\nfull", "Disk (https://a.example)\nfull"},
		"several lines":   {"a\nb", "a\nb\nc", "a\nb\nc"},
		"prefix":          {"Disk", "Disk usage is high", "Disk\nDisk usage is high"},
		"prefix and line": {"Disk", "Disks\nDisk", "Disks\nDisk"},
		"no title":        {" ", "a", "a"},
		"no text":         {"Disk", "", "Disk"},
	} {
		w := &writer{}
		if w.titled(tc.title, tc.text); w.String() != tc.want {
			t.Errorf("%s: %q, want %q", name, w.String(), tc.want)
		}
	}
}
