// SPDX-License-Identifier: Apache-2.0

package template

import (
	"fmt"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// words are the built-in texts of a language.
type words struct {
	firing, resolved, alert string
	// value, since and period are layouts of fmt, with a value and with times.
	value, since, period string
	// more has a number; it may not be known.
	more, manyMore   string
	runbook, silence string
}

// languages are the languages of the built-in texts.
var languages = map[v1alpha1.Language]words{
	v1alpha1.LanguageEnglish: {
		firing: "🔥 FIRING", resolved: "✅ RESOLVED", alert: "alert",
		value: ", value %s", since: ", since %s", period: ", %s – %s",
		more: "\n+%d more", manyMore: "\n+many more", runbook: "Runbook: ", silence: "Silence: ",
	},
	v1alpha1.LanguageChinese: {
		firing: "🔥 告警", resolved: "✅ 已恢复", alert: "告警",
		value: "，当前值 %s", since: "，开始于 %s", period: "，%s 至 %s",
		more: "\n另有 %d 条", manyMore: "\n另有多条", runbook: "处理手册：", silence: "静默：",
	},
}

// wordsOf returns the words of a receiver's language.
func wordsOf(spec *v1alpha1.TeamTalkReceiverSpec) words {
	if w, ok := languages[spec.Language]; ok {
		return w
	}
	return languages[v1alpha1.LanguageEnglish]
}

// rest tells how many alerts are left out: here, and by the sender before.
func (w words) rest(here int, before uint64) string {
	left := uint64(max(0, here))
	if left+before < before {
		return w.manyMore
	}
	if left+before == 0 {
		return ""
	}
	return fmt.Sprintf(w.more, left+before)
}
