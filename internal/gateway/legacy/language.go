// SPDX-License-Identifier: Apache-2.0

package legacy

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/text/language"
)

// languages are the languages of error_detail. The first one is the default.
var languages = language.NewMatcher([]language.Tag{language.English, language.Chinese})

// prefersChinese reports whether the caller's Accept-Language prefers Chinese to English. For a header that cannot be
// parsed, it is English.
func prefersChinese(r *http.Request) bool {
	header := r.Header.Get("Accept-Language")
	if header == "" {
		return false
	}
	tags, _, err := language.ParseAcceptLanguage(header)
	if err != nil {
		return false
	}
	_, i, _ := languages.Match(tags...)
	return i == 1
}

// chinese returns a detail in Chinese. reason is the API's reason for it, if there is one.
//
// It finds the English format that made the detail. A detail may come from a TeamTalkMessage's status, which holds the
// text alone. The operator's own texts are not known here: the reason is explained in Chinese, and the text with its
// ids and addresses follows.
func chinese(detail, reason string) string {
	if detail == "" {
		return ""
	}
	for _, t := range translations {
		values := t.english.FindStringSubmatch(detail)
		if values == nil {
			continue
		}
		inner := make([]any, len(values)-1)
		for i, v := range values[1:] {
			about := ""
			if t.whole[i] {
				about = reason
			}
			inner[i] = chinese(v, about)
		}
		return fmt.Sprintf(t.chinese, inner...)
	}
	if explained := chineseReasons[reason]; explained != "" {
		return explained + "（" + detail + "）"
	}
	return detail
}

// translation is a format of details.
type translation struct {
	english *regexp.Regexp
	// whole tells which values begin or end the text: they may be a text for the same reason.
	whole   []bool
	chinese string
}

// translations are those of chineseFormats. The ones with most text of their own come first, because they are the
// least ambiguous.
var translations = compile(chineseFormats)

var verb = regexp.MustCompile(`%[dqs]`)

func compile(formats map[string]string) []translation {
	ownText := func(format string) int { return len(verb.ReplaceAllString(format, "")) }
	keys := slices.SortedFunc(maps.Keys(formats), func(a, b string) int {
		if n := ownText(b) - ownText(a); n != 0 {
			return n
		}
		return strings.Compare(a, b)
	})
	list := make([]translation, len(keys))
	for i, format := range keys {
		t := translation{chinese: formats[format]}
		pattern, last := `(?s)^`, 0
		for _, at := range verb.FindAllStringIndex(format, -1) {
			pattern += regexp.QuoteMeta(format[last:at[0]])
			last = at[1]
			isText := format[at[0]:last] == "%s"
			t.whole = append(t.whole, isText && (at[0] == 0 || last == len(format)))
			switch format[at[0]:last] {
			case "%d":
				pattern += `(\d+)`
			case "%q":
				pattern += `"(.*?)"`
			default:
				pattern += `(.*?)`
			}
		}
		t.english = regexp.MustCompile(pattern + regexp.QuoteMeta(format[last:]) + `$`)
		list[i] = t
	}
	return list
}
