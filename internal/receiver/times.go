// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"encoding/json"
	"errors"
	"time"
)

const (
	// maxLayout is the longest layout of a time, in bytes.
	maxLayout = 256
	// maxTimeText is the longest text of a time.
	maxTimeText = 3 * maxLayout
)

// Time is a time of an alert. It has those methods of Go's own that templates can
// use, in UTC whatever the time zone of the process: two gateways make the same text.
type Time struct{ t time.Time }

// UnmarshalJSON implements json.Unmarshaler.
func (t *Time) UnmarshalJSON(b []byte) error {
	var read time.Time
	if err := json.Unmarshal(b, &read); err != nil {
		return err
	}
	t.t = read.UTC()
	return nil
}

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) { return json.Marshal(t.t) }

// String implements fmt.Stringer.
func (t Time) String() string { return t.t.UTC().String() }

// Format returns the time as in a layout, as Go's own does.
func (t Time) Format(layout string) (string, error) {
	if len(layout) > maxLayout {
		return "", errors.New("the layout of a time is too long")
	}
	return t.t.UTC().Format(layout), nil
}

// UTC returns the time itself.
func (t Time) UTC() Time { return t }

// Local returns the time itself: there is no other time zone.
func (t Time) Local() Time { return t }

// Add returns the time so much later.
func (t Time) Add(d time.Duration) Time { return Time{t.t.Add(d)} }

// AddDate returns the time so many years, months and days later.
func (t Time) AddDate(years, months, days int) Time { return Time{t.t.AddDate(years, months, days)} }

// Truncate returns the time rounded down.
func (t Time) Truncate(d time.Duration) Time { return Time{t.t.Truncate(d)} }

// Round returns the time rounded.
func (t Time) Round(d time.Duration) Time { return Time{t.t.Round(d)} }

// Sub returns how much later it is than another.
func (t Time) Sub(u Time) time.Duration { return t.t.Sub(u.t) }

// After tells whether it is later than another.
func (t Time) After(u Time) bool { return t.t.After(u.t) }

// Before tells whether it is earlier than another.
func (t Time) Before(u Time) bool { return t.t.Before(u.t) }

// Equal tells whether it is the same as another.
func (t Time) Equal(u Time) bool { return t.t.Equal(u.t) }

// IsZero tells whether there is none: that of an alert that has not ended.
func (t Time) IsZero() bool { return t.t.IsZero() }

// Unix returns the seconds since 1970.
func (t Time) Unix() int64 { return t.t.Unix() }

// UnixMilli returns the milliseconds since 1970.
func (t Time) UnixMilli() int64 { return t.t.UnixMilli() }

// Year returns the year.
func (t Time) Year() int { return t.t.UTC().Year() }

// Month returns the month.
func (t Time) Month() time.Month { return t.t.UTC().Month() }

// Day returns the day of the month.
func (t Time) Day() int { return t.t.UTC().Day() }

// Hour returns the hour.
func (t Time) Hour() int { return t.t.UTC().Hour() }

// Minute returns the minute.
func (t Time) Minute() int { return t.t.UTC().Minute() }

// Second returns the second.
func (t Time) Second() int { return t.t.UTC().Second() }

// Weekday returns the day of the week.
func (t Time) Weekday() time.Weekday { return t.t.UTC().Weekday() }

// formatTime formats a time, or a text that is one in RFC 3339.
func formatTime(b *budget, layout string, v any) (string, error) {
	t, ok := v.(Time)
	if text, isText := v.(string); isText {
		if len(text) > maxLayout {
			return "", errors.New("date: not a time in RFC 3339")
		}
		parsed, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return "", errors.New("date: not a time in RFC 3339")
		}
		t, ok = Time{parsed}, true
	}
	if !ok {
		return "", errors.New("date: not a time")
	}
	if err := b.hold(maxTimeText); err != nil {
		return "", err
	}
	return t.Format(layout)
}

// since is how long ago a time was, in whole seconds.
func since(t Time) string { return time.Since(t.t).Round(time.Second).String() }
