// SPDX-License-Identifier: Apache-2.0

package template

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
	_ "time/tzdata" // the image has no time zones

	"github.com/prometheus/common/helpers/templates"
)

// Time is a time in templates. It has those methods of Go's own that templates can use. Local is the time zone of the
// receiver, and not of the process: two gateways make the same text.
type Time struct {
	t time.Time
	// zone is the result of Local. If nil, it is UTC.
	zone *time.Location
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *Time) UnmarshalJSON(b []byte) error {
	var read time.Time
	if err := json.Unmarshal(b, &read); err != nil {
		return err
	}
	*t = Time{t: read.UTC()}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) { return json.Marshal(t.t) }

// String implements fmt.Stringer.
func (t Time) String() string { return t.t.String() }

// Format returns the time as in a layout, as Go's own does.
func (t Time) Format(layout string) (string, error) {
	if len(layout) > maxLayout {
		return "", errors.New("the layout of a time is too long")
	}
	return t.t.Format(layout), nil
}

// local returns the time in the time zone of a receiver.
func (t Time) local(zone *time.Location) Time { return Time{t: t.t.In(zone), zone: zone} }

// GoTime returns a time as Go's own type.
func GoTime(t Time) time.Time { return t.t }

// UTC returns the time in UTC.
func (t Time) UTC() Time { return Time{t.t.UTC(), t.zone} }

// Local returns the time in the time zone of the receiver.
func (t Time) Local() Time { return t.local(cmp.Or(t.zone, time.UTC)) }

// Add returns the time so much later.
func (t Time) Add(d time.Duration) Time { return Time{t.t.Add(d), t.zone} }

// AddDate returns the time so many years, months and days later.
func (t Time) AddDate(years, months, days int) Time {
	return Time{t.t.AddDate(years, months, days), t.zone}
}

// Truncate returns the time rounded down.
func (t Time) Truncate(d time.Duration) Time { return Time{t.t.Truncate(d), t.zone} }

// Round returns the time rounded.
func (t Time) Round(d time.Duration) Time { return Time{t.t.Round(d), t.zone} }

// Sub returns how much later it is than another.
func (t Time) Sub(u Time) time.Duration { return t.t.Sub(u.t) }

// After reports whether it is later than another.
func (t Time) After(u Time) bool { return t.t.After(u.t) }

// Before reports whether it is earlier than another.
func (t Time) Before(u Time) bool { return t.t.Before(u.t) }

// Equal reports whether it is the same as another.
func (t Time) Equal(u Time) bool { return t.t.Equal(u.t) }

// IsZero reports whether there is none, as for the end of an alert that has not ended.
func (t Time) IsZero() bool { return t.t.IsZero() }

// Unix returns the seconds since 1970.
func (t Time) Unix() int64 { return t.t.Unix() }

// UnixMilli returns the milliseconds since 1970.
func (t Time) UnixMilli() int64 { return t.t.UnixMilli() }

// Year returns the year.
func (t Time) Year() int { return t.t.Year() }

// Month returns the month.
func (t Time) Month() time.Month { return t.t.Month() }

// Day returns the day of the month.
func (t Time) Day() int { return t.t.Day() }

// Hour returns the hour.
func (t Time) Hour() int { return t.t.Hour() }

// Minute returns the minute.
func (t Time) Minute() int { return t.t.Minute() }

// Second returns the second.
func (t Time) Second() int { return t.t.Second() }

// Weekday returns the day of the week.
func (t Time) Weekday() time.Weekday { return t.t.Weekday() }

// layouts are those of times that are texts. A text without a zone is in the receiver's.
var layouts = []string{
	time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05", "2006-01-02T15:04",
	"2006-01-02 15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 -0700 MST", "2006-01-02 15:04:05 -0700",
	"2006-01-02 15:04:05 MST", "2006-01-02 15:04", "2006-01-02", "2006/01/02 15:04:05",
	time.RFC1123Z, time.RFC1123, time.RFC850, time.ANSIC, time.UnixDate,
}

// timeOf returns the time that a value is: a Time, seconds or milliseconds since 1970, or a text.
func timeOf(b *budget, v any) (Time, error) {
	if t, ok := v.(Time); ok {
		return t, nil
	}
	if n, ok := numberOf(v); ok {
		seconds, _ := n.Float64()
		// As seconds, these are after the year 5138. As milliseconds, they are after March 1973.
		const milliseconds = 1e11
		if math.Abs(seconds) >= milliseconds {
			seconds /= 1000
		}
		if math.Abs(seconds) < milliseconds {
			whole, fraction := math.Modf(seconds)
			return Time{t: time.Unix(int64(whole), int64(math.Round(fraction*1e6))*1000)}.local(b.zone), nil
		}
	}
	text, err := textOf(v)
	if err == nil && len(text) <= maxLayout {
		if err := b.spend(callWork * len(layouts)); err != nil {
			return Time{}, err
		}
		for _, layout := range layouts {
			if t, err := time.ParseInLocation(layout, text, b.zone); err == nil {
				return Time{t: t}.local(b.zone), nil
			}
		}
	}
	return Time{}, errors.New("neither a time, nor seconds or milliseconds since 1970, nor in a common format")
}

// ParseTime returns the time that a value of JSON is, as the functions of templates do. A text without a zone is in
// UTC.
func ParseTime(v any) (Time, error) {
	return timeOf(&budget{ctx: context.Background(), work: maxWork, zone: time.UTC}, v)
}

// date formats a time.
func date(b *budget, layout string, v any) (string, error) {
	t, err := timeOf(b, v)
	if err != nil {
		return "", err
	}
	return t.Format(layout)
}

// dateInZone formats a time in a time zone.
func dateInZone(b *budget, layout string, v any, zone string) (string, error) {
	t, err := inZone(b, zone, v)
	if err != nil {
		return "", err
	}
	return t.Format(layout)
}

// inZone returns a time in a time zone.
func inZone(b *budget, name string, v any) (Time, error) {
	if err := b.spend(8 << 10); err != nil { // its data is read and parsed
		return Time{}, err
	}
	t, err := timeOf(b, v)
	if err != nil {
		return Time{}, err
	}
	if name == "Local" {
		return t.local(b.zone), nil
	}
	zone, err := LoadZone(name)
	return Time{t.t.In(zone), b.zone}, err
}

// LoadZone returns a time zone of the IANA database; UTC if the name is empty. Which one the process is in does not
// matter: "Local" is unknown.
func LoadZone(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return time.UTC, errors.New("an unknown time zone")
	}
	return zone, nil
}

func now(b *budget) Time { return Time{t: time.Now()}.local(b.zone) }

// since is how long ago a time was, in whole seconds.
func since(b *budget, v any) (time.Duration, error) {
	t, err := timeOf(b, v)
	return time.Since(t.t).Round(time.Second), err
}

// mustToDate returns the time that a text is in a layout.
func mustToDate(b *budget, layout, text string) (Time, error) {
	if len(layout) > maxLayout || len(text) > maxLayout {
		return Time{}, fmt.Errorf("a layout or a time of more than %d bytes", maxLayout)
	}
	t, err := time.ParseInLocation(layout, text, b.zone)
	if err != nil {
		return Time{}, errors.New("the time is not in this layout") // err quotes it
	}
	return Time{t, b.zone}, nil
}

// toDate is mustToDate, or the time that IsZero.
func toDate(b *budget, layout, text string) Time {
	t, _ := mustToDate(b, layout, text)
	return t
}

// addDuration returns the milliseconds since 1970 of a time and a duration.
func addDuration(b *budget, duration string, v any) (int64, error) {
	t, err := timeOf(b, v)
	if err != nil {
		return 0, err
	}
	d, err := time.ParseDuration(duration)
	if err != nil {
		return 0, errors.New("not a duration")
	}
	return t.t.Add(d).UnixMilli(), nil
}

// humanizeDuration shows a time.Duration, or a number of seconds, for people.
func humanizeDuration(v any) (string, error) {
	if n, ok := numberOf(v); ok {
		if _, isDuration := v.(time.Duration); !isDuration {
			v, _ = n.Float64()
		}
	}
	text, err := templates.HumanizeDuration(v)
	if err != nil {
		return "", errors.New("not a duration")
	}
	return text, nil
}
