// SPDX-License-Identifier: Apache-2.0

package schedule

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func parseTime(t *testing.T, value string) time.Time {
	t.Helper()
	when, err := time.Parse(time.RFC3339, value)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

func parse(t *testing.T, expression, zone string) *Schedule {
	t.Helper()
	s, err := Parse(expression, zone)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestNext: days on which clocks change, in zones that do so by an hour, by half an hour, at midnight, and by a day.
func TestNext(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		expression, zone, after string
		want                    []string // day, hour, minute and offset
	}{
		"daily in UTC":          {"0 9 * * *", "", "2026-03-07T12:00:00Z", []string{"08T09:00Z", "09T09:00Z"}},
		"daily in Shanghai":     {"0 9 * * *", "Asia/Shanghai", "2026-03-07T12:00:00Z", []string{"08T09:00+08"}},
		"in the skipped hour":   {"30 2 * * *", "America/New_York", "2026-03-07T12:00:00-05:00", []string{"08T03:00-04", "09T02:30-04"}},
		"several in it":         {"10,40 2 * * *", "America/New_York", "2026-03-07T12:00:00-05:00", []string{"08T03:00-04", "09T02:10-04", "09T02:40-04"}},
		"at its end":            {"0 2,3 * * *", "America/New_York", "2026-03-07T12:00:00-05:00", []string{"08T03:00-04", "09T02:00-04"}},
		"hourly over it":        {"30 * * * *", "America/New_York", "2026-03-08T00:00:00-05:00", []string{"08T00:30-05", "08T01:30-05", "08T03:30-04"}},
		"macro over it":         {"@hourly", "America/New_York", "2026-03-08T00:30:00-05:00", []string{"08T01:00-05", "08T03:00-04", "08T04:00-04"}},
		"minutes of it":         {"*/30 2 * * *", "America/New_York", "2026-03-07T12:00:00-05:00", []string{"09T02:00-04", "09T02:30-04"}},
		"in the repeated hour":  {"30 1 * * *", "America/New_York", "2026-10-31T12:00:00-04:00", []string{"01T01:30-04", "02T01:30-05"}},
		"from its second pass":  {"30 1 * * *", "America/New_York", "2026-11-01T01:10:00-05:00", []string{"02T01:30-05"}},
		"after it":              {"0 2 * * *", "America/New_York", "2026-10-31T12:00:00-04:00", []string{"01T02:00-05", "02T02:00-05"}},
		"half-hourly in both":   {"*/30 * * * *", "America/New_York", "2026-11-01T00:45:00-04:00", []string{"01T01:00-04", "01T01:30-04", "01T01:00-05", "01T01:30-05", "01T02:00-05"}},
		"hours as a range":      {"0 0-23 * * *", "America/New_York", "2026-11-01T00:30:00-04:00", []string{"01T01:00-04", "01T02:00-05"}},
		"skipped midnight":      {"0 0 * * *", "America/Sao_Paulo", "2018-11-02T12:00:00-03:00", []string{"03T00:00-03", "04T01:00-02", "05T00:00-02"}},
		"only on that day":      {"30 0 * * 0", "America/Sao_Paulo", "2018-11-03T12:00:00-03:00", []string{"04T01:00-02", "11T00:30-02"}},
		"hourly on that day":    {"15 * 4 11 *", "America/Sao_Paulo", "2018-11-03T12:00:00-03:00", []string{"04T01:15-02", "04T02:15-02"}},
		"repeated midnight":     {"30 23 * * *", "America/Sao_Paulo", "2018-02-17T12:00:00-02:00", []string{"17T23:30-02", "18T23:30-03"}},
		"even hours in Cairo":   {"0 */2 * * *", "Africa/Cairo", "2025-04-24T21:10:00+02:00", []string{"24T22:00+02", "25T02:00+03", "25T04:00+03"}},
		"half an hour skipped":  {"15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00+10:30", []string{"04T02:30+11", "05T02:15+11"}},
		"half an hour repeated": {"45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00:00+11:00", []string{"05T01:45+11", "06T01:45+1030"}},
		"a day skipped":         {"0 9 * * *", "Pacific/Apia", "2011-12-28T12:00:00-10:00", []string{"29T09:00-10", "31T09:00+14"}},
		"Friday or the 13th":    {"0 9 13 * 5", "Asia/Shanghai", "2026-01-01T00:00:00+08:00", []string{"02T09:00+08", "09T09:00+08", "13T09:00+08"}},
		"leap day":              {"0 0 29 2 *", "Asia/Shanghai", "2096-03-01T00:00:00+08:00", []string{"29T00:00+08"}},
		"leap day in New York":  {"0 0 29 2 *", "America/New_York", "2096-03-01T00:00:00-05:00", []string{"29T00:00-05"}},
		"not the same again":    {"0 9 * * *", "", "2026-03-07T09:00:00Z", []string{"08T09:00Z"}},
		"a fraction before":     {"0 9 * * *", "", "2026-03-07T08:59:59.999Z", []string{"07T09:00Z"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := parse(t, tc.expression, tc.zone)
			var got []string
			for when := parseTime(t, tc.after); len(got) < len(tc.want); {
				when = s.Next(when)
				format := "02T15:04Z07"
				if _, seconds := when.In(s.zone).Zone(); seconds%3600 != 0 {
					format += "00"
				}
				got = append(got, when.In(s.zone).Format(format))
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

// TestTicksAreOrdered: over years with changes of the clock, each tick is later than the one before, is Latest when it
// is due, and is what Next returns from any time before it.
func TestTicksAreOrdered(t *testing.T) {
	t.Parallel()
	years := map[string]string{
		"": "2017", "America/New_York": "2039", "America/Sao_Paulo": "2017", "Australia/Lord_Howe": "2039",
		"Africa/Cairo": "2023", "Europe/Dublin": "2023",
	}
	for zone, year := range years {
		for _, expression := range []string{"30 1,2 * * *", "0 0 * * *", "*/45 */7 * * *", "15 0 * * 0", "@monthly", "0 3 13 * 5"} {
			s := parse(t, expression, zone)
			begin := parseTime(t, year+"-06-01T00:00:00Z")
			end := begin.AddDate(1, 8, 0)
			for before, tick := begin, s.Next(begin); tick.Before(end); before, tick = tick, s.Next(tick) {
				middle := before.Add(tick.Sub(before) / 2)
				switch {
				case !tick.After(before):
					t.Fatalf("%s %s: %v is followed by %v", zone, expression, before, tick)
				case !s.Latest(begin, tick).Equal(tick):
					t.Fatalf("%s %s: the latest at %v is %v", zone, expression, tick, s.Latest(begin, tick))
				case !s.Next(middle).Equal(tick), !s.Next(tick.Add(-1)).Equal(tick):
					t.Fatalf("%s %s: %v is not next from %v", zone, expression, tick, middle)
				case before != begin && !s.Latest(begin, tick.Add(-1)).Equal(before):
					t.Fatalf("%s %s: the latest before %v is not %v", zone, expression, tick, before)
				}
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ expression, zone, want string }{
		"four fields":        {"0 9 * *", "", "five fields"},
		"seconds":            {"0 0 9 * * *", "", "five fields"},
		"no minute 60":       {"60 * * * *", "", "five fields"},
		"a word":             {"often", "", "five fields"},
		"empty":              {"", "", "five fields"},
		"an interval":        {"@every 5m", "", "no fixed times"},
		"at start":           {"@reboot", "", "five fields"},
		"a zone":             {"CRON_TZ=Asia/Tokyo 0 9 * * *", "", "set timeZone instead"},
		"never":              {"0 0 31 2 *", "Asia/Shanghai", "never due"},
		"unknown zone":       {"0 9 * * *", "Asia/Peking2", "IANA"},
		"the machine's zone": {"0 9 * * *", "Local", "IANA"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse(tc.expression, tc.zone)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %q in one line", err, tc.want)
			}
		})
	}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	tests := map[string]struct {
		expression, handled, now           string
		deadline                           time.Duration
		wantDue, wantFirst, wantLast, next string
	}{
		"not yet":              {"0 9 * * *", "2026-03-07T09:00:00Z", "2026-03-08T08:59:59Z", 0, "", "", "", "2026-03-08T09:00:00Z"},
		"on time":              {"0 9 * * *", "2026-03-07T09:00:00Z", "2026-03-08T09:00:00Z", 0, "2026-03-08T09:00:00Z", "", "", "2026-03-09T09:00:00Z"},
		"late":                 {"0 9 * * *", "2026-03-07T09:00:00Z", "2026-03-08T20:00:00Z", 0, "2026-03-08T09:00:00Z", "", "", "2026-03-09T09:00:00Z"},
		"two missed":           {"0 9 * * *", "2026-03-07T09:00:00Z", "2026-03-10T09:00:05Z", 0, "2026-03-10T09:00:00Z", "2026-03-08T09:00:00Z", "2026-03-09T09:00:00Z", "2026-03-11T09:00:00Z"},
		"a year of minutes":    {"* * * * *", "2025-03-07T09:00:00Z", "2026-03-07T09:00:30Z", 0, "2026-03-07T09:00:00Z", "2025-03-07T09:01:00Z", "2026-03-07T08:59:00Z", "2026-03-07T09:01:00Z"},
		"within the deadline":  {"0 9 * * *", "2026-03-07T09:00:00Z", "2026-03-08T09:00:30Z", time.Minute, "2026-03-08T09:00:00Z", "", "", "2026-03-09T09:00:00Z"},
		"later than that":      {"0 9 * * *", "2026-03-07T09:00:00Z", "2026-03-08T09:01:01Z", time.Minute, "", "2026-03-08T09:00:00Z", "2026-03-08T09:00:00Z", "2026-03-09T09:00:00Z"},
		"an outage, in time":   {"0 9 * * *", "2026-03-01T09:00:00Z", "2026-03-08T10:00:00Z", day, "2026-03-08T09:00:00Z", "2026-03-02T09:00:00Z", "2026-03-07T09:00:00Z", "2026-03-09T09:00:00Z"},
		"the clock is behind":  {"0 9 * * *", "2026-03-09T09:00:00Z", "2026-03-08T09:00:00Z", 0, "", "", "", "2026-03-09T09:00:00Z"},
		"created in that time": {"0 9 * * *", "2026-03-08T09:00:00.5Z", "2026-03-08T09:00:01Z", 0, "", "", "", "2026-03-09T09:00:00Z"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := parse(t, tc.expression, "").Plan(parseTime(t, tc.handled), parseTime(t, tc.now), tc.deadline)
			for i, got := range []time.Time{p.Due, p.FirstMissed, p.LastMissed, p.Next} {
				want := []string{tc.wantDue, tc.wantFirst, tc.wantLast, tc.next}[i]
				if want == "" && !got.IsZero() || want != "" && !got.Equal(parseTime(t, want)) {
					t.Errorf("got %v, want %q of %+v", got, want, p)
				}
			}
		})
	}
}

// BenchmarkPlan is after an outage of a year.
func BenchmarkPlan(b *testing.B) {
	s, err := Parse("* * * * *", "America/New_York")
	if err != nil {
		b.Fatal(err)
	}
	now := time.Date(2026, 3, 7, 9, 0, 30, 0, time.UTC)
	for b.Loop() {
		s.Plan(now.AddDate(-1, 0, 0), now, 0)
	}
}
