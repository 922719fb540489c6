// SPDX-License-Identifier: Apache-2.0

package notification

import "testing"

// TestMarksInChinese: Chinese has no blanks around words.
func TestMarksInChinese(t *testing.T) {
	for text, want := range map[string]string{
		"**主机：**web-1":                                      "主机：web-1",
		"**主机：** web-1":                                     "主机： web-1",
		"**级别**：**严重**请处理":                                  "级别：严重请处理",
		"**主机：**web-1 **状态：**ok":                            "主机：web-1 状态：ok",
		"**主机：**web-1\n**状态：**ok":                           "主机：web-1\n状态：ok",
		"（**注意**）":                                          "（注意）",
		"(**注意**)后":                                         "(注意)后",
		"**“引号”**后":                                         "“引号”后",
		"前**“引号”**web":                                      "前“引号”web",
		"请**立即**处理，*尽快*完成":                                  "请立即处理，尽快完成",
		"**注意!**请处理":                                        "注意!请处理",
		"**`db-1`**的磁盘":                                     "db-1的磁盘",
		"**[详情](http://g.example)**请看":                      "详情 (http://g.example)请看",
		"***重要：***db-1":                                     "重要：db-1",
		"~~旧值：~~10 **新值：**20":                               "旧值：10 新值：20",
		"**標題**（**副標題**）":                                   "標題（副標題）",
		"**障害：**web-1、**장애：**web-2":                         "障害：web-1、장애：web-2",
		"<font color=\"red\">**级别：**P1</font>":              "级别：P1",
		"**Host:**web-1 **State:**ok":                       "Host:web-1 State:ok",
		"**Host**: web-1":                                   "Host: web-1",
		"地址：http://g.example/d/_a_/x，**重要**":                "地址：http://g.example/d/_a_/x，重要",
		"**http://g.example/a**后 *https://b.example/*/x* y": "http://g.example/a后 https://b.example/*/x y",
		"(见 http://g.example/a_(b)_c)":                      "(见 http://g.example/a_(b)_c)",
		"Host:**web-1**is down":                             "Host:web-1is down",
	} {
		if got := (&writer{markup: maxMarkup}).plain(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestNoMarks: these are texts, not marks.
func TestNoMarks(t *testing.T) {
	for _, text := range []string{
		"2**3 and 4**5", "a * b * c", "**/*.go", "**/*.go and **/*.ts", "src/**/a.go 和 src/**/b.go", "3*4 和 5*6", "共3*4个，每个5*6元",
		"foo*bar*baz", "x**2 + y**2", "__init__.py", "pkg/__init__.py 和 __main__.py", "a_b_c", "std::*p x::*q", "* not *",
		"SELECT a*b, c*d FROM t", "10 ** 2 ** 3", "__name__(x)", "总数：3 * 4 * 5",
	} {
		want := text
		if want == "* not *" { // an item of a list
			want = "• not *"
		}
		if got := (&writer{markup: maxMarkup}).plain(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}
