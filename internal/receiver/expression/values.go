// SPDX-License-Identifier: Apache-2.0

package expression

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

// values makes decoded bodies what CEL takes: what template.Values returns, and alerts.
var values types.Adapter = adapter{types.NewEmptyRegistry()}

type adapter struct{ types.Adapter }

// NativeToValue implements types.Adapter.
func (a adapter) NativeToValue(v any) ref.Val {
	switch v := v.(type) {
	case map[string]any:
		if v == nil {
			return types.NullValue
		}
		return types.NewStringInterfaceMap(a, v)
	case []any:
		return types.NewDynamicList(a, v)
	case template.KV:
		return &labels{types.NewStringStringMap(a, v)}
	case template.Float:
		return types.Double(v)
	case json.Number: // one that is neither an integer of 64 bits nor a float
		return types.String(v)
	}
	return a.Adapter.NativeToValue(v)
}

// alertFields and notificationFields are what expressions may ask alerts and their notification for.
var alertFields, notificationFields = fieldsOf[template.Alert](), fieldsOf[template.Notification]()

func fieldsOf[T any]() map[string]bool {
	fields := map[string]bool{}
	for f := range reflect.TypeFor[T]().Fields() {
		if name, _ := jsonName(f.Tag.Get("json")); name != "" {
			fields[name] = true
		}
	}
	return fields
}

// jsonName returns the name of a field in JSON, and whether it may be left out. Fields without a tag have no name.
func jsonName(tag string) (name string, optional bool) {
	name, options, _ := strings.Cut(tag, ",")
	return name, options == "omitempty"
}

// objectOf returns a struct as JSON has it, without decoding it again: fields by their names, those that may be left
// out only if they are set.
func objectOf(v any) map[string]any {
	of, object := reflect.ValueOf(v), map[string]any{}
	for i := range of.NumField() {
		name, optional := jsonName(of.Type().Field(i).Tag.Get("json"))
		if f := of.Field(i); name != "" && (!optional || !f.IsZero()) {
			object[name] = f.Interface()
		}
	}
	return object
}

// Alert returns an alert as payload is.
func Alert(a *template.Alert) map[string]any {
	object := objectOf(*a)
	object["startsAt"] = types.Timestamp{Time: template.GoTime(a.StartsAt)}
	object["endsAt"] = types.Timestamp{Time: template.GoTime(a.EndsAt)}
	return object
}

// Notification returns a notification as the variable of that name is, and its alerts.
func Notification(n *template.Notification) (object map[string]any, alerts []map[string]any) {
	object = objectOf(*n)
	list := make([]any, len(n.Alerts))
	alerts = make([]map[string]any, len(n.Alerts))
	for i := range n.Alerts {
		alerts[i] = Alert(&n.Alerts[i])
		list[i] = alerts[i]
	}
	object["alerts"] = list
	return object, alerts
}

// Body returns a decoded body as payload is. What is neither JSON nor made of it is taken as JSON has it.
func Body(v any) any {
	switch v.(type) {
	case map[string]any, []any, string, bool, int64, uint64, template.Float, json.Number:
		return v
	}
	encoded, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	var decoded any
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	decoder.UseNumber()
	if decoder.Decode(&decoded) != nil {
		return nil
	}
	return template.Values(decoded)
}

// labels are those of an alert, or annotations. One that is missing is an empty text, as in Alertmanager and in
// templates. has(), in and optional fields tell it from one that is empty.
type labels struct{ all traits.Mapper }

// asMap returns labels as a map.
func asMap(v ref.Val) ref.Val {
	if l, ok := v.(*labels); ok {
		return l.all
	}
	return v
}

// Get implements traits.Indexer.
func (l *labels) Get(name ref.Val) ref.Val {
	if _, isText := name.(types.String); !isText {
		return types.NewErr("no such overload")
	}
	if v, ok := l.all.Find(name); ok {
		return v
	}
	return types.String("")
}

// IsSet implements traits.FieldTester.
func (l *labels) IsSet(name ref.Val) ref.Val { return l.all.Contains(name) }

// Contains implements traits.Container.
func (l *labels) Contains(name ref.Val) ref.Val { return l.all.Contains(name) }

// Iterator implements traits.Iterable.
func (l *labels) Iterator() traits.Iterator { return l.all.Iterator() }

// Size implements traits.Sizer.
func (l *labels) Size() ref.Val { return l.all.Size() }

// ConvertToNative implements ref.Val.
func (l *labels) ConvertToNative(t reflect.Type) (any, error) { return l.all.ConvertToNative(t) }

// ConvertToType implements ref.Val.
func (l *labels) ConvertToType(t ref.Type) ref.Val { return l.all.ConvertToType(t) }

// Equal implements ref.Val.
func (l *labels) Equal(other ref.Val) ref.Val { return l.all.Equal(asMap(other)) }

// Type implements ref.Val.
func (l *labels) Type() ref.Type { return types.MapType }

// Value implements ref.Val.
func (l *labels) Value() any { return l.all.Value() }

var recipientType = types.NewOpaqueType("recipient")

// recipient is the result of user and group.
type recipient struct{ v1alpha1.Recipient }

// newRecipient returns a recipient of an id or a name.
func newRecipient(t v1alpha1.RecipientType) func(ref.Val) ref.Val {
	return func(v ref.Val) ref.Val {
		to := v1alpha1.Recipient{Type: t}
		switch v := v.(type) {
		case types.Int:
			if v < 1 || v > math.MaxInt32 {
				return types.WrapErr(errRecipientID)
			}
			to.ID = uint32(v)
		case types.String:
			if v == "" {
				return types.WrapErr(errRecipientName)
			}
			to.Name = string(v)
		default:
			return types.NewErr("no such overload")
		}
		return recipient{to}
	}
}

// ConvertToNative implements ref.Val.
func (r recipient) ConvertToNative(reflect.Type) (any, error) {
	return nil, errors.New("a recipient is not converted")
}

// ConvertToType implements ref.Val.
func (r recipient) ConvertToType(t ref.Type) ref.Val {
	if t == types.TypeType {
		return recipientType
	}
	return types.NewErr("type conversion error")
}

// Equal implements ref.Val.
func (r recipient) Equal(other ref.Val) ref.Val {
	o, ok := other.(recipient)
	return types.Bool(ok && o.Recipient == r.Recipient)
}

// Type implements ref.Val.
func (r recipient) Type() ref.Type { return recipientType }

// Value implements ref.Val.
func (r recipient) Value() any { return r.Recipient }
