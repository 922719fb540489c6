// SPDX-License-Identifier: Apache-2.0

package content

import (
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

func TestFirstLine(t *testing.T) {
	for want, tc := range map[string]struct {
		language  v1alpha1.Language
		undeliver bool
		within    time.Duration
	}{
		"Not read within 15 minutes:":         {within: 15 * time.Minute},
		"Not read within 1 hour:":             {within: time.Hour, language: v1alpha1.LanguageEnglish},
		"Not read within 90 seconds:":         {within: 90 * time.Second},
		"Not read within 1 second:":           {within: time.Second},
		"Not read within 30 days:":            {within: 30 * 24 * time.Hour},
		"Did not reach all who must read it:": {within: time.Hour, undeliver: true},
		"15 分钟内未读：":                           {within: 15 * time.Minute, language: v1alpha1.LanguageChinese},
		"1 天内未读：":                             {within: 24 * time.Hour, language: v1alpha1.LanguageChinese},
		"未能送达所有须阅读的接收人：":                      {undeliver: true, language: v1alpha1.LanguageChinese},
	} {
		if got := FirstLine(tc.language, !tc.undeliver, tc.within); got != want {
			t.Errorf("%q, want %q", got, want)
		} else if len(got) >= v1alpha1.MaxFirstLine {
			t.Errorf("%q has %d bytes", got, len(got))
		}
	}
	if got := string(Escalated("Not read:", []byte("disk full"))); got != "Not read:\ndisk full" {
		t.Errorf("%q", got)
	}
}
