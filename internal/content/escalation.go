// SPDX-License-Identifier: Apache-2.0

package content

import (
	"fmt"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// unit is a unit of time in words.
type unit struct {
	length  time.Duration
	english string
	chinese string
}

var units = []unit{
	{24 * time.Hour, "day", "天"}, {time.Hour, "hour", "小时"}, {time.Minute, "minute", "分钟"}, {time.Second, "second", "秒"},
}

// FirstLine returns the first line of a text that is escalated. The text was delivered and not read within a time, or
// did not reach all who must read it. It may be stored for them nevertheless.
func FirstLine(l v1alpha1.Language, delivered bool, within time.Duration) string {
	isChinese := l == v1alpha1.LanguageChinese
	switch {
	case !delivered && isChinese:
		return "未能送达所有须阅读的接收人："
	case !delivered:
		return "Did not reach all who must read it:"
	}
	u := units[len(units)-1]
	for _, u = range units {
		if within%u.length == 0 {
			break
		}
	}
	n := int64(within / u.length)
	switch {
	case isChinese:
		return fmt.Sprintf("%d %s内未读：", n, u.chinese)
	case n == 1:
		return fmt.Sprintf("Not read within 1 %s:", u.english)
	}
	return fmt.Sprintf("Not read within %d %ss:", n, u.english)
}

// Escalated returns a text below its first line.
func Escalated(firstLine string, text []byte) []byte {
	return append([]byte(firstLine+"\n"), text...)
}
