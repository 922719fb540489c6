// SPDX-License-Identifier: Apache-2.0

package legacy

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
)

func TestPrefersChinese(t *testing.T) {
	for name, tc := range map[string]struct {
		header string
		want   bool
	}{
		"no header":            {"", false},
		"Chinese":              {"zh", true},
		"of the mainland":      {"zh-CN,zh;q=0.9,en;q=0.8", true},
		"in its script":        {"zh-Hans", true},
		"English first":        {"en-GB,en;q=0.9,zh;q=0.8", false},
		"by weight":            {"en;q=0.2, zh;q=0.7", true},
		"neither, then it":     {"de, zh;q=0.5", true},
		"neither":              {"fr-FR, ja", false},
		"anything":             {"*", false},
		"excluded":             {"zh;q=0, en", false},
		"not parsable":         {"zh;;;q=x", false},
		"too many, not parsed": {strings.Repeat("zh-a-b-c-d-", 400), false},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
			r.Header.Set("Accept-Language", tc.header)
			if got := prefersChinese(r); got != tc.want {
				t.Errorf("prefersChinese with %q = %t, want %t", tc.header, got, tc.want)
			}
		})
	}
}

func TestChinese(t *testing.T) {
	for name, tc := range map[string]struct {
		detail, reason string
		want           string
	}{
		"a value":           {"session_id is missing", "", "缺少字段 session_id"},
		"the specific one":  {"Idempotency-Key must be at most 253 characters of ASCII", "", "Idempotency-Key 最多 253 个 ASCII 字符"},
		"values in a value": {"group_type must be 1 (normal) or 2 (temporary)", "", "group_type 必须是 1（普通群）或 2（临时群）"},
		"quotes":            {`the app_key is not for namespace "chat"`, "", "此 app_key 不适用于命名空间 chat"},
		"the API's reason": {
			"user 9 does not exist", v1alpha1.ReasonRecipientNotFound, "接收者在 TeamTalk 中不存在（user 9 does not exist）",
		},
		"the API's reason, after a text of the gateway": {
			"not delivered yet, the operator continues; db_proxy is away", v1alpha1.ReasonServerNotReady,
			"尚未投递，operator 会继续；TeamTalkServer 尚未就绪：请稍后重试（db_proxy is away）",
		},
		"in another order": {
			"1 of 3 recipients do not have it; one of them: gone", v1alpha1.ReasonRecipientDeparted,
			"3 个接收者中有 1 个没有收到；其中之一：该用户已离开 TeamTalk（gone）",
		},
		"the reason is not said of a value": {
			"group 7 belongs to user 5, and user 1 may not change it: add 7 to spec.groups.adoptable of the TeamTalkServer " +
				"chat/default, or set spec.groups.adoptAny there", v1alpha1.ReasonGroupNotAdoptable,
			"群 7 属于用户 5，用户 1 不能修改它：请把 7 加入 TeamTalkServer chat/default 的 spec.groups.adoptable，或在其中设置 spec.groups.adoptAny",
		},
		"nothing known": {"something else", "", "something else"},
		"no detail":     {"", v1alpha1.ReasonSending, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := chinese(tc.detail, tc.reason); got != tc.want {
				t.Errorf("chinese(%q, %q) = %q, want %q", tc.detail, tc.reason, got, tc.want)
			}
		})
	}
}

// TestWriteInChinese: the details are Chinese, and code and error_msg are as in every language.
func TestWriteInChinese(t *testing.T) {
	a := responseOf(api.Result{
		State: api.Failed, Cause: v1alpha1.Cause{Reason: v1alpha1.ReasonSendToSelf, Message: "it is the sender"},
		Recipients: []api.Recipient{
			{ID: 3, State: api.Delivered, MessageID: 8},
			{ID: 9, Cause: v1alpha1.Cause{Reason: v1alpha1.ReasonSendToSelf, Message: "it is the sender"}},
		},
	}, false)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
	r.Header.Set("Accept-Language", "zh-CN")
	w := httptest.NewRecorder()
	write(w, r, a)
	var got response
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	const want = "发送者和接收者是同一个用户（it is the sender）"
	if got.Detail != want || got.Results[1].Detail != want || got.Results[0].Detail != "" {
		t.Errorf("details %q and %+v, want %q", got.Detail, got.Results, want)
	}
	if got.Code != CodeIDNotAllowed || got.Text != messages[CodeIDNotAllowed] || w.Header().Get("Content-Language") != "zh" {
		t.Errorf("code %d, text %q, Content-Language %q", got.Code, got.Text, w.Header().Get("Content-Language"))
	}
}

// TestEveryReasonIsExplained: a reason for which a message waits or has failed has a text in Chinese.
func TestEveryReasonIsExplained(t *testing.T) {
	source, err := os.ReadFile("../../../api/v1alpha1/conditions.go")
	if err != nil {
		t.Fatal(err)
	}
	// Of a TeamTalkServer, of a success, of the conditions Read and Escalated, or of an event.
	others := map[string]bool{
		"Ready": true, "KeyLoaded": true, "Connected": true, "Connecting": true, "Delivered": true, "RecreatedByGitOps": true,
		"Read": true, "Unread": true, "ReadsMissed": true, "ReadDeadlineExceeded": true, "NotRouted": true,
		"AlertResolved": true, "Escalated": true,
	}
	found := regexp.MustCompile(`Reason\w+ += "(\w+)"`).FindAllSubmatch(source, -1)
	for _, reason := range found {
		if name := string(reason[1]); !others[name] && chineseReasons[name] == "" {
			t.Errorf("chineseReasons lacks %s", name)
		}
	}
	if len(found) < 40 {
		t.Errorf("found %d reasons only", len(found))
	}
}

// TestEveryDetailIsTranslated finds what callers can see as a detail in the gateway's sources.
func TestEveryDetailIsTranslated(t *testing.T) {
	found := 0
	for _, pkg := range []string{"access", "api", "crd", "direct", "httpserver", "legacy"} {
		files, err := filepath.Glob("../" + pkg + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("no sources of %s: %v", pkg, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				for _, e := range detailsOf(n) {
					format := formatOf(e)
					if !strings.ContainsFunc(verb.ReplaceAllString(format, ""), unicode.IsLetter) {
						continue
					}
					found++
					checkTranslated(t, file, format)
				}
				return true
			})
		}
	}
	if found < 80 {
		t.Errorf("found %d details only", found)
	}
}

func checkTranslated(t *testing.T, file, format string) {
	t.Helper()
	detail := strings.NewReplacer("%d", "7", "%q", `"x"`, "%s", "x").Replace(format)
	if got := chinese(detail, ""); got == detail || strings.Contains(got, "%!") {
		t.Errorf("%s: %q is %q in Chinese: see chineseFormats", file, detail, got)
	}
}

// detailsOf returns the expressions of a node that are details.
func detailsOf(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.CallExpr:
		at, ok := map[string]int{"badParameter": 0, "fail": 0, "Refuse": 1, "errorResponse": 2, "WriteError": 3}[nameOf(n.Fun)]
		if ok && at < len(n.Args) {
			return n.Args[at : at+1]
		}
	case *ast.CompositeLit:
		if name := nameOf(n.Type); (name == "Denial" || name == "BusyError") && len(n.Elts) == 2 {
			return n.Elts[1:]
		}
	case *ast.KeyValueExpr:
		if name := nameOf(n.Key); name == "Detail" || name == "Message" {
			return []ast.Expr{n.Value}
		}
	case *ast.AssignStmt:
		var found []ast.Expr
		for i, to := range n.Lhs {
			if name := nameOf(to); (name == "Detail" || name == "Message") && len(n.Rhs) == len(n.Lhs) {
				e := n.Rhs[i]
				if n.Tok == token.ADD_ASSIGN {
					e = &ast.BinaryExpr{X: to, Op: token.ADD, Y: e}
				}
				found = append(found, e)
			}
		}
		return found
	}
	return nil
}

// nameOf returns the last name of an expression.
func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// formatOf returns a text with %s for its variable parts.
func formatOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil {
			return text
		}
	case *ast.BinaryExpr:
		return formatOf(e.X) + formatOf(e.Y)
	case *ast.CallExpr:
		if name := nameOf(e.Fun); name == "Sprintf" || name == "TrimSuffix" {
			return formatOf(e.Args[0])
		}
	}
	return "%s"
}

// TestChineseFormats have each value of the English ones once.
func TestChineseFormats(t *testing.T) {
	for english, translated := range chineseFormats {
		values := make([]any, len(verb.FindAllString(english, -1)))
		for i := range values {
			values[i] = fmt.Sprintf("<%d>", i)
		}
		got := fmt.Sprintf(translated, values...)
		for _, v := range values {
			if strings.Count(got, v.(string)) != 1 {
				t.Errorf("%q: %q has not each value once", english, got)
			}
		}
		if strings.Contains(got, "%!") {
			t.Errorf("%q: %q", english, got)
		}
	}
}
