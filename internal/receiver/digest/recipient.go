// SPDX-License-Identifier: Apache-2.0

package digest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// recipient is a recipient in a state. An id is a number there: negative for a group. A name is a text.
type recipient v1alpha1.Recipient

// Prefixes of names.
const (
	userPrefix  = "user:"
	groupPrefix = "group:"
)

var errRecipient = errors.New("a recipient is neither an id nor a name")

// text returns the recipient as it is in a state, without quotes.
func (r recipient) text() string {
	switch {
	case r.Name == "":
		return strconv.FormatInt(r.number(), 10)
	case r.Type == v1alpha1.RecipientGroup:
		return groupPrefix + r.Name
	}
	return userPrefix + r.Name
}

// number returns the id as it is in a state. withNumber is the inverse.
func (r recipient) number() int64 {
	if r.Type == v1alpha1.RecipientGroup {
		return -int64(r.ID)
	}
	return int64(r.ID)
}

func withNumber(n int64) (recipient, error) {
	switch {
	case n == 0 || n > math.MaxInt32 || n < -math.MaxInt32:
		return recipient{}, errRecipient
	case n < 0:
		return recipient{Type: v1alpha1.RecipientGroup, ID: uint32(-n)}, nil
	}
	return recipient{Type: v1alpha1.RecipientUser, ID: uint32(n)}, nil
}

// String implements fmt.Stringer. Names of digests derive from it, so no two recipients have the same text.
func (r recipient) String() string {
	if r.Name == "" {
		return r.text()
	}
	return strconv.Quote(r.text())
}

// MarshalText implements encoding.TextMarshaler, for keys.
func (r recipient) MarshalText() ([]byte, error) { return []byte(r.text()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *recipient) UnmarshalText(text []byte) (err error) {
	if name, ok := strings.CutPrefix(string(text), userPrefix); ok && name != "" {
		*r = recipient{Type: v1alpha1.RecipientUser, Name: name}
		return nil
	}
	if name, ok := strings.CutPrefix(string(text), groupPrefix); ok && name != "" {
		*r = recipient{Type: v1alpha1.RecipientGroup, Name: name}
		return nil
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return errRecipient
	}
	*r, err = withNumber(n)
	return err
}

// recipients are encoded as a whole: a state may have many thousand.
type recipients []recipient

// MarshalJSON implements json.Marshaler.
func (l recipients) MarshalJSON() ([]byte, error) {
	list := []byte{'['}
	for i, r := range l {
		if i > 0 {
			list = append(list, ',')
		}
		if r.Name == "" {
			list = strconv.AppendInt(list, r.number(), 10)
			continue
		}
		name, err := json.Marshal(r.text())
		if err != nil {
			return nil, fmt.Errorf("encode a name: %w", err)
		}
		list = append(list, name...)
	}
	return append(list, ']'), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (l *recipients) UnmarshalJSON(text []byte) (err error) {
	if !bytes.Contains(text, []byte{'"'}) { // several times as fast
		var numbers []int64
		if err := json.Unmarshal(text, &numbers); err != nil {
			return fmt.Errorf("decode recipients: %w", err)
		}
		*l = make(recipients, len(numbers))
		for i, n := range numbers {
			if (*l)[i], err = withNumber(n); err != nil {
				return err
			}
		}
		return nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(text, &list); err != nil {
		return fmt.Errorf("decode recipients: %w", err)
	}
	all := make(recipients, len(list))
	for i, one := range list {
		if bytes.HasPrefix(one, []byte{'"'}) {
			var name string
			if err := json.Unmarshal(one, &name); err != nil {
				return fmt.Errorf("decode a name: %w", err)
			}
			one = []byte(name)
		}
		if err := all[i].UnmarshalText(one); err != nil {
			return err
		}
	}
	*l = all
	return nil
}
