// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// hostile are messages that take much time or memory for their length, of up to a MiB.
var hostile = func() map[string]struct {
	kind v1alpha1.ReceiverType
	body string
} {
	all := map[string]struct {
		kind v1alpha1.ReceiverType
		body string
	}{}
	add := func(name string, kind v1alpha1.ReceiverType, format string, args ...any) {
		all[name] = struct {
			kind v1alpha1.ReceiverType
			body string
		}{kind, fmt.Sprintf(format, args...)}
	}
	const md = maxMarkup - 1
	fill := func(part string, size int) string { return strings.Repeat(part, size/len(part)) }
	for name, text := range map[string]string{
		"quotes":         fill(">", md),
		"quotes apart":   fill("> ", md),
		"quoted lines":   fill(fill(">", 120)+"\n", md),
		"lists":          fill("- ", md),
		"deeper lists":   deeper("- a\n", md),
		"ordered lists":  fill("1. ", md),
		"lists and text": fill("- a\n", md/2) + fill("- ", md/2),
		"emphasis":       fill("*a **a ", md),
		"both emphases":  fill("*_", md),
		"openers":        fill("**a", md),
		"closers":        fill("a**", md),
		"inside words":   fill("a*", md),
		"inside Chinese": fill("：*", md),
		"strikethrough":  fill("~a ~~a ", md),
		"brackets":       fill("[", md),
		"closed":         fill("[", md/2) + fill("]", md/2),
		"images":         fill("![", md/2) + fill("](a)", md/2),
		"link openers":   fill("[a](", md),
		"link titles":    fill("[a](<b> \"", md),
		"links":          fill("[a](b)", md),
		"code spans":     backquotes(md),
		"backquotes":     fill("`", md),
		"tags":           fill("<a ", md),
		"tag comments":   fill("<!-- ", md),
		"processing":     fill("<?", md),
		"cdata":          fill("<![CDATA[", md),
		"declarations":   fill("<!A ", md),
		"attributes":     "<a" + fill(" b='", md),
		"autolinks":      fill("<http://", md),
		"at tags":        fill("<at id=a>", md),
		"entities":       fill("&#1114112;", md),
		"escapes":        fill("\\*", md),
		"table":          fill("|a", md/3) + "\n" + fill("|-", md/3) + "\n" + fill("|\n", md/3),
		"table of rows":  "|a|b\n|-|-\n" + fill("|\n", md),
		"fences":         fill("```\n", md),
		"blank lines":    fill("a\n\n", md),
		"underlines":     fill("a\n-\n", md),
		"text":           fill("a b ", 1<<20-200),
		"long markup":    fill("*a* ", 1<<20-200),
	} {
		add("markdown "+name, v1alpha1.ReceiverDingTalk, `{"msgtype":"markdown","markdown":{"title":"t","text":%s}}`, strconv.Quote(text))
	}
	for name, text := range map[string]string{
		"stars": fill("*a ", md), "pairs": fill("*a* ", md), "links": fill("<a|", md), "brackets": fill("[a](http://", md),
		"underscores": fill("_a ~b *c ", md), "closed": fill("<http://a|b>", md), "long": fill("*a ~b _c <d|", 1<<20-200),
	} {
		add("mrkdwn "+name, v1alpha1.ReceiverSlack, `{"text":%s}`, strconv.Quote(text))
	}
	nested := func(open, inner, closing string, deep int) string {
		return strings.Repeat(open, deep) + inner + strings.Repeat(closing, deep)
	}
	columns := nested(`{"tag":"column_set","columns":[{"tag":"column","elements":[`, `{"tag":"markdown","content":"deep"}`, `]}]}`, 45)
	add("card nested", v1alpha1.ReceiverFeishu, `{"msg_type":"interactive","card":{"elements":[%s]}}`, columns)
	add("card lists", v1alpha1.ReceiverFeishu, `{"msg_type":"interactive","card":{"elements":[%s]}}`, nested("[", `{"tag":"hr"}`, "]", 190))
	many := func(item string, n int) string { return strings.TrimSuffix(strings.Repeat(item+",", n), ",") }
	add("card markdowns", v1alpha1.ReceiverFeishu, `{"msg_type":"interactive","card":{"elements":[%s]}}`, many(`{"tag":"markdown","content":"*a*"}`, 20000))
	add("card nothing", v1alpha1.ReceiverFeishu, `{"msg_type":"interactive","card":{"elements":[{"tag":"hr"},%s]}}`, many(`{}`, 30000))
	add("card table", v1alpha1.ReceiverFeishu, `{"msg_type":"interactive","card":{"elements":[{"tag":"table","columns":[%s],"rows":[%s]}]}}`, many(`{}`, 15000), many(`{}`, 15000))
	add("card buttons", v1alpha1.ReceiverFeishu, `{"msg_type":"interactive","card":{"elements":[{"tag":"button","text":{"content":"a"},"behaviors":[%s]}]}}`, many(`{}`, 30000))
	add("post", v1alpha1.ReceiverFeishu, `{"msg_type":"post","content":{"post":{"zh_cn":{"title":"t","content":[%s]}}}}`, many(`[{"tag":"md","text":"**a**"}]`, 15000))
	add("fields", v1alpha1.ReceiverSlack, `{"text":"a","attachments":[{"fields":[%s]}]}`, many(`{"title":"*a*","value":"<a|b>"}`, 20000))
	add("attachments", v1alpha1.ReceiverSlack, `{"text":"a","attachments":[%s]}`, many(`{"ts":1}`, 30000))
	add("blocks", v1alpha1.ReceiverSlack, `{"text":"a","blocks":[%s]}`, many(`{"type":"context","elements":[{"text":"*a*"}]}`, 12000))
	add("table cells", v1alpha1.ReceiverSlack, `{"text":"a","blocks":[{"type":"table","rows":[%s]}]}`, many(`[{"type":"rich_text"}]`, 20000))
	add("rich text", v1alpha1.ReceiverSlack, `{"text":"a","blocks":[{"type":"rich_text","elements":[{"type":"rich_text_section","elements":[%s]}]}]}`, many(`{"type":"link","url":"a"}`, 20000))
	add("mentions", v1alpha1.ReceiverDingTalk, `{"msgtype":"text","text":{"content":%q},"at":{"atMobiles":[%s]}}`, fill("@b ", 60<<10)+"@a", many(`"a"`, 60000))
	add("feed", v1alpha1.ReceiverDingTalk, `{"msgtype":"feedCard","feedCard":{"links":[%s]}}`, many(`{"title":"a","messageURL":"b"}`, 20000))
	add("news", v1alpha1.ReceiverWeCom, `{"msgtype":"news","news":{"articles":[%s]}}`, many(`{"title":"a"}`, 30000))
	return all
}()

// deeper returns lines that are indented more and more.
func deeper(line string, size int) string {
	var b strings.Builder
	for indent := 0; b.Len()+indent+len(line) <= size; indent += 2 {
		b.WriteString(strings.Repeat(" ", indent) + line)
	}
	return b.String()
}

// backquotes returns openers of code of all lengths, none of which is closed.
func backquotes(size int) string {
	var b strings.Builder
	for n := 1; b.Len()+n < size; n++ {
		b.WriteString("a" + strings.Repeat("`", n))
	}
	return b.String()
}

// maxGarbage is how much memory a message may allocate, in bytes, most of which is free again meanwhile.
const maxGarbage = 256 << 20

// TestHostile: the text and its memory remain within their limits.
func TestHostile(t *testing.T) {
	for name, tc := range hostile {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			post, _ := postOf(t, tc.kind, tc.body, "application/json")
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; n > maxGarbage {
				t.Errorf("%d MiB allocated for %d bytes", n>>20, len(tc.body))
			}
			if len(post.Text) > 3*maxText || !utf8.ValidString(post.Text) {
				t.Errorf("%d bytes", len(post.Text))
			}
		})
	}
}

// TestHostileEmbedded: what a text holds as JSON is limited as the body is.
func TestHostileEmbedded(t *testing.T) {
	quoted := func(s string) string { return strconv.Quote(s) }
	for name, tc := range map[string]struct {
		kind              v1alpha1.ReceiverType
		body, contentType string
	}{
		"card of many values": {v1alpha1.ReceiverFeishu, `{"msg_type":"interactive","card":` + quoted("["+strings.Repeat("1,", smallBody)+"1]") + `}`, ""},
		"card that is deep":   {v1alpha1.ReceiverFeishu, `{"msg_type":"interactive","card":` + quoted(strings.Repeat("[", maxDepth+1)+strings.Repeat("]", maxDepth+1)) + `}`, ""},
		"many texts":          {v1alpha1.ReceiverSlack, `{"attachments":[` + strings.Repeat(`{"blocks":`+quoted("["+strings.Repeat("1,", 100)+"1]")+`},`, 41) + `{}]}`, ""},
		"form of many values": {v1alpha1.ReceiverSlack, "payload=%5B" + strings.Repeat("1%2C", smallBody) + "1%5D", "application/x-www-form-urlencoded"},
	} {
		_, err := Decode(t.Context(), newReceiver(tc.kind), []byte(tc.body), tc.contentType)
		if err == nil || !strings.Contains(err.Error(), "more than 4096 values, or values nested more than 200 deep") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// BenchmarkHostile measures each hostile message: decoding and its text.
func BenchmarkHostile(b *testing.B) {
	for name, tc := range hostile {
		b.Run(strings.ReplaceAll(name, " ", "-"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				postOf(b, tc.kind, tc.body, "application/json")
			}
		})
	}
}
