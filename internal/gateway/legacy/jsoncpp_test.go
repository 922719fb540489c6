// SPDX-License-Identifier: Apache-2.0

package legacy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// received decodes a message as an operation does.
func received(t *testing.T, body string) (from, to uint32, msg string, bad *response) {
	t.Helper()
	o, bad := scanned(t, body)
	if bad != nil {
		return 0, 0, "", bad
	}
	f := fields{raw: o.raw, bad: o.check()}
	from, to, msg = f.id("from_user_id"), f.id("session_id"), f.msg()
	return from, to, msg, f.bad
}

// TestRequestsOfHTTPMsgServer: requests that http_msg_server's jsoncpp accepts, and encoding/json does not.
func TestRequestsOfHTTPMsgServer(t *testing.T) {
	for name, want := range map[string]string{
		"rawnl": "backup done\nhost: db1", "rawtab": "a\tb", "comment": "c", "floats": "f", "num": "5", "semi": "semi",
	} {
		body, err := os.ReadFile(filepath.Join("testdata", "requests", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		from, to, msg, bad := received(t, string(body))
		if bad != nil || from != 1 || to != 5 || msg != want {
			t.Errorf("%s: from %d to %d: %q, %+v", name, from, to, msg, bad)
		}
	}
}

// TestJSONOfJsoncpp: more of the same, and refused bodies. jsoncpp refuses it too, except that it ignores what follows
// the object.
func TestJSONOfJsoncpp(t *testing.T) {
	const ids = `"from_user_id":1,"session_id":5,`
	for name, tc := range map[string]struct{ body, msg, detail string }{
		"a byte order mark":      {"\uFEFF{" + ids + `"msg":"m"}`, "m", ""},
		"a line's comment":       {"{" + ids + "// \"msg\":\"no\"\n\"msg\":\"m\"} // end", "m", ""},
		"an old Mac's newline":   {"{" + ids + "// c\r\"msg\":\"m\"}", "m", ""},
		"a comment in a text":    {"{" + ids + `"msg":"/* m */ // http://x"` + "\n} ;", "/* m */ // http://x", ""},
		"several semicolons":     {"{" + ids + `"msg":"m"};;` + "\n", "m", ""},
		"the NUL of C's strings": {"{" + ids + "\"msg\":\"m\"}\x00", "m", ""},
		"Windows' newlines":      {"{" + ids + "\"msg\":\"a\r\nb\x01\\\"\\\\\"}", "a\r\nb\x01\"\\", ""},
		"leading zeros":          {`{"from_user_id":01,"session_id":005,"msg":"00"}`, "00", ""},
		"an exponent":            {`{"from_user_id":1e0,"session_id":0.5e1,"msg":"m"}`, "m", ""},
		"a boolean":              {"{" + ids + `"msg":true}`, "true", ""},
		"a fraction":             {`{"from_user_id":1.5,"session_id":5,"msg":"m"}`, "", "from_user_id must be a number"},
		"too large":              {`{"from_user_id":1e400,"session_id":5,"msg":"m"}`, "", "from_user_id must be a number"},
		"a text of a fraction":   {`{"from_user_id":"1.0","session_id":5,"msg":"m"}`, "", "from_user_id must be a number"},
		"a list":                 {"{" + ids + `"msg":["m"]}`, "", "msg must be a string or an object"},
		"a trailing comma":       {"{" + ids + `"msg":"m",}`, "", "not JSON, at byte"},
		"an escaped newline":     {"{" + ids + "\"msg\":\"a\\\nb\"}", "", "not JSON, at byte"},
		"a second object":        {"{" + ids + `"msg":"m"} {}`, "", "not JSON, at byte"},
		"a comment without end":  {"{" + ids + `"msg":"m"} /*`, "", "not JSON, at byte"},
		"a text without end":     {"{" + ids + `"msg":"m`, "", "not JSON, at byte"},
		"control characters":     {"{" + ids + `"msg":"` + strings.Repeat("\x01", 1000) + `"}`, "", "too many control characters"},
		"GBK":                    {"{" + ids + "\"msg\":\"\xb4\xc5\"}", "", "not UTF-8: convert it"},
		"a NUL in a text":        {"{" + ids + "\"msg\":\"a\x00b\"}", "", "NUL"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, msg, bad := received(t, tc.body)
			switch {
			case tc.detail == "" && (bad != nil || msg != tc.msg):
				t.Errorf("%q, %+v, want %q", msg, bad, tc.msg)
			case tc.detail != "" && (bad == nil || bad.Code != CodeBadParameter || !strings.Contains(bad.Detail, tc.detail)):
				t.Errorf("%q, %+v, want %s", msg, bad, tc.detail)
			}
		})
	}
}
