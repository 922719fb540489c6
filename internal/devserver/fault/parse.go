// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// text is a fault as it is written: the keys of the flag and of JSON.
type text struct {
	ID          int     `json:"id,omitempty"`
	Kind        Kind    `json:"kind"`
	Server      Target  `json:"server,omitempty"`
	Command     string  `json:"command,omitempty"`
	From        uint32  `json:"from,omitempty"`
	To          uint32  `json:"to,omitempty"`
	Session     string  `json:"session,omitempty"`
	Skip        int     `json:"skip,omitempty"`
	Every       int     `json:"every,omitempty"`
	Count       int     `json:"count,omitempty"`
	Probability float64 `json:"probability,omitempty"`
	Delay       string  `json:"delay,omitempty"`
	Table       string  `json:"table,omitempty"`
	After       int     `json:"after,omitempty"`
	Limit       int     `json:"limit,omitempty"`
	Store       bool    `json:"store,omitempty"`
	Down        bool    `json:"down,omitempty"`
}

const (
	sessionSingle = "single"
	sessionGroup  = "group"
)

// MarshalJSON writes the keys that Parse reads.
func (f Fault) MarshalJSON() ([]byte, error) { return json.Marshal(f.text()) }

func (f Fault) text() text {
	t := text{
		ID: f.ID, Kind: f.Kind, Server: f.Server, From: f.From, To: f.To, Skip: f.Skip, Every: f.Every,
		Count: f.Count, Probability: f.Probability, Table: f.Table, After: f.After, Limit: f.Limit, Store: f.Store,
		Down: f.Down,
	}
	if f.Command != 0 {
		t.Command = fmt.Sprintf("%#04x", uint16(f.Command))
	}
	switch f.Session {
	case wire.SessionType_SESSION_TYPE_SINGLE:
		t.Session = sessionSingle
	case wire.SessionType_SESSION_TYPE_GROUP:
		t.Session = sessionGroup
	}
	if f.Delay != 0 {
		t.Delay = f.Delay.String()
	}
	return t
}

// UnmarshalJSON reads the keys that Parse reads.
func (f *Fault) UnmarshalJSON(b []byte) error {
	var t text
	decoder := json.NewDecoder(strings.NewReader(string(b)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&t); err != nil {
		return err
	}
	parsed, err := t.fault()
	if err != nil {
		return err
	}
	*f = parsed
	return nil
}

func (t text) fault() (Fault, error) {
	f := Fault{
		Kind: t.Kind, Server: t.Server, From: t.From, To: t.To, Skip: t.Skip, Every: t.Every,
		Count: t.Count, Probability: t.Probability, Table: t.Table, After: t.After, Limit: t.Limit, Store: t.Store,
		Down: t.Down,
	}
	if t.Command != "" && t.Command != "all" {
		n, err := strconv.ParseUint(t.Command, 0, 16)
		if err != nil {
			return f, fmt.Errorf("fault command %q: want a number such as 0x0301, or all", t.Command)
		}
		f.Command = wire.Command(n)
	}
	switch t.Session {
	case "":
	case sessionSingle:
		f.Session = wire.SessionType_SESSION_TYPE_SINGLE
	case sessionGroup:
		f.Session = wire.SessionType_SESSION_TYPE_GROUP
	default:
		return f, fmt.Errorf("fault session %q: want single or group", t.Session)
	}
	if t.Delay != "" {
		var err error
		if f.Delay, err = time.ParseDuration(t.Delay); err != nil {
			return f, fmt.Errorf("fault delay %q: want a duration such as 500ms", t.Delay)
		}
	}
	return f.complete()
}

// Parse reads a fault written as comma-separated key=value pairs, such as
// "kind=no-answer,command=0x0301,probability=0.5,count=3". Kind is required;
// the keys are those of JSON.
func Parse(spec string) (Fault, error) {
	var t text
	number := func(value string, set func(int)) error {
		n, err := strconv.ParseInt(value, 0, 32)
		if err == nil {
			set(int(n))
		}
		return err
	}
	id := func(value string, set func(uint32)) error {
		n, err := strconv.ParseUint(value, 0, 32)
		if err == nil {
			set(uint32(n))
		}
		return err
	}
	boolean := func(value string, to *bool) (err error) {
		*to, err = strconv.ParseBool(value)
		return err
	}
	keys := map[string]func(string) error{
		"kind":    func(v string) error { t.Kind = Kind(v); return nil },
		"server":  func(v string) error { t.Server = Target(v); return nil },
		"command": func(v string) error { t.Command = v; return nil },
		"session": func(v string) error { t.Session = v; return nil },
		"delay":   func(v string) error { t.Delay = v; return nil },
		"table":   func(v string) error { t.Table = v; return nil },
		"from":    func(v string) error { return id(v, func(n uint32) { t.From = n }) },
		"to":      func(v string) error { return id(v, func(n uint32) { t.To = n }) },
		"skip":    func(v string) error { return number(v, func(n int) { t.Skip = n }) },
		"every":   func(v string) error { return number(v, func(n int) { t.Every = n }) },
		"count":   func(v string) error { return number(v, func(n int) { t.Count = n }) },
		"after":   func(v string) error { return number(v, func(n int) { t.After = n }) },
		"limit":   func(v string) error { return number(v, func(n int) { t.Limit = n }) },
		"store":   func(v string) error { return boolean(v, &t.Store) },
		"down":    func(v string) error { return boolean(v, &t.Down) },
		"probability": func(v string) (err error) {
			t.Probability, err = strconv.ParseFloat(v, 64)
			if err == nil && t.Probability <= 0 {
				err = strconv.ErrRange
			}
			return err
		},
	}
	for pair := range strings.SplitSeq(spec, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if !ok {
			return Fault{}, fmt.Errorf("fault %q: want key=value, not %q", spec, pair)
		}
		set, ok := keys[key]
		if !ok {
			return Fault{}, fmt.Errorf("fault %q: unknown key %q, want one of %s", spec, key,
				strings.Join(slices.Sorted(maps.Keys(keys)), ", "))
		}
		if err := set(value); err != nil {
			return Fault{}, fmt.Errorf("fault %q: %s=%s is out of range or not of its type", spec, key, value)
		}
	}
	return t.fault()
}

func kindList() string {
	names := make([]string, 0, len(kinds))
	for kind := range kinds {
		names = append(names, string(kind))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// Help describes every kind, one per line.
func Help() string {
	var b strings.Builder
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		fmt.Fprintf(&b, "  %-19s %s\n", kind, kinds[kind].summary)
	}
	return b.String()
}
