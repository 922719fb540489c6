// SPDX-License-Identifier: Apache-2.0

package legacy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

func scanned(t testing.TB, body string) (*object, *response) {
	t.Helper()
	return readObject(httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body)))
}

// TestScanObject finds the fields that encoding/json finds.
func TestScanObject(t *testing.T) {
	for _, body := range []string{
		`{}`, ` { } `, `{"a":1}`, "\n{ \"a\" : \"x,y}\" , \"b\":[1,{\"a\":2}], \"c\":{\"app_key\":\"no\"},\"d\":null }\t",
		`{"a":1,"a":2}`, `{"app_key":"first","app_key":"last"}`, `{"\u0061pp_key":"escaped"}`, `{"a":"\\","b":"\"}","c":"\\\""}`,
		`{"":0,"é":"é","a":-1.5e3,"b":true}`, `{"a":{},"b":[],"c":[[],{}]}`, `{"app_key":123}`,
	} {
		got, bad := scanned(t, body)
		if bad != nil || got.check() != nil {
			t.Errorf("%s: refused: %v", body, bad)
			continue
		}
		want := map[string]json.RawMessage{}
		if err := json.Unmarshal([]byte(body), &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got.raw, want) {
			t.Errorf("%s: %q, want %q", body, got.raw, want)
		}
	}
}

func FuzzScanObject(f *testing.F) {
	f.Add(`{"a":"\\","b":[{"c":1}],"a":2}`)
	f.Fuzz(func(t *testing.T, body string) {
		got, bad := scanned(t, body)
		want := map[string]json.RawMessage{}
		if err := json.Unmarshal([]byte(body), &want); err != nil || want == nil {
			// What TeamTalk's jsoncpp accepts is accepted if it is JSON once it is rewritten.
			strict, _ := strictJSON([]byte(strings.TrimPrefix(body, "\uFEFF")))
			if bad == nil && !json.Valid(strict) {
				t.Fatalf("%q is accepted: %v", body, err)
			}
			return
		}
		if bad != nil || got.fields > maxFields {
			return
		}
		for name, value := range want {
			if len(name) < 20 && string(got.raw[name]) != string(value) {
				t.Errorf("%q: %q is %q, want %q", body, name, got.raw[name], value)
			}
		}
	})
}

// TestObjectLimits: bodies that are refused after the app_key was found.
func TestObjectLimits(t *testing.T) {
	many := strings.Repeat(`"x":0,`, maxFields)
	for name, tc := range map[string]struct {
		body, want string
	}{
		"fields":              {`{` + many + `"app_key":"k"}`, "fields"},
		"all but too many":    {`{` + strings.TrimPrefix(many, `"x":0,`) + `"app_key":"k"}`, ""},
		"a second app_key":    {`{"app_key":"first",` + many + `"app_key":"k"}`, "fields"},
		"depth":               {`{"app_key":"k","a":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`, "deep"},
		"all but too deep":    {`{"app_key":"k","a":` + strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1) + `}`, ""},
		"brackets in strings": {`{"app_key":"k","a":"` + strings.Repeat("[", 2*maxDepth) + `"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o, bad := scanned(t, tc.body)
			if bad != nil || o.appKey() != "k" {
				t.Fatalf("%v, the app_key is not found", bad)
			}
			if bad := o.check(); (bad == nil) != (tc.want == "") || bad != nil && !strings.Contains(bad.Detail, tc.want) {
				t.Errorf("%+v", bad)
			}
		})
	}
}

// TestObjectMemory: before it is known who calls, a body costs little more memory than its bytes.
func TestObjectMemory(t *testing.T) {
	const size = 1 << 20
	long := strings.Repeat("x", size/2)
	for name, body := range map[string]string{
		"many fields":      `{` + strings.Repeat(`"abc":1,`, size/8) + `"a":1}`,
		"different fields": differentFields(size),
		"a deep value":     `{"a":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`,
		"many values":      `{"a":[` + strings.Repeat("0,", size/2) + `0]}`,
		"a long name":      `{"` + long + `":1,"\u0061` + long[:size/4] + `":1}`,
		"a long app_key":   `{"app_key":"` + long + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			o, bad := scanned(t, body)
			if bad != nil {
				t.Fatal(bad.Detail)
			}
			_ = o.appKey()
			runtime.GC()
			runtime.ReadMemStats(&after)
			held := int(after.HeapAlloc) - int(before.HeapAlloc)
			if held > 2*len(body)+64<<10 {
				t.Errorf("%d bytes are held for a body of %d", held, len(body))
			}
			runtime.KeepAlive(o)
		})
	}
}

// differentFields returns a body with as many fields as fit.
func differentFields(size int) string {
	var b strings.Builder
	b.WriteString(`{"x":0`)
	for i := 0; b.Len() < size-16; i++ {
		fmt.Fprintf(&b, `,"%x":0`, i)
	}
	b.WriteString(`}`)
	return b.String()
}
