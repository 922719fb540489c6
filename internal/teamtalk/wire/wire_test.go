// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// messages returns every message, empty, in a fixed order.
func messages(tb testing.TB) []proto.Message {
	tb.Helper()
	// The generated code sets these only after package variables.
	files := []protoreflect.FileDescriptor{
		File_base_proto, File_buddy_proto, File_group_proto, File_message_proto, File_other_proto,
	}
	var all []proto.Message
	for _, file := range files {
		for i := range file.Messages().Len() {
			name := file.Messages().Get(i).FullName()
			all = append(all, newMessage(tb, name))
		}
	}
	if len(all) < 25 {
		tb.Fatalf("only %d messages", len(all))
	}
	return all
}

// newMessage returns the message of that name, empty.
func newMessage(tb testing.TB, name protoreflect.FullName) proto.Message {
	tb.Helper()
	for _, m := range goTypes {
		if m.ProtoReflect().Descriptor().FullName() == name {
			return m.ProtoReflect().New().Interface()
		}
	}
	tb.Fatalf("%s is missing from the test", name)
	return nil
}

// goTypes are the messages' Go types.
var goTypes = []proto.Message{
	&UserInfo{}, &UserStat{}, &MsgInfo{}, &UnreadInfo{}, &GroupInfo{}, &GroupVersionInfo{},
	&IMUsersInfoReq{}, &IMUsersInfoRsp{}, &IMUsersStatReq{}, &IMUsersStatRsp{},
	&IMGroupInfoListReq{}, &IMGroupInfoListRsp{}, &IMGroupCreateReq{}, &IMGroupCreateRsp{},
	&IMGroupChangeMemberReq{}, &IMGroupChangeMemberRsp{}, &IMGroupChangeMemberNotify{},
	&IMMsgData{}, &IMMsgDataReadAck{}, &IMMsgDataReadNotify{},
	&IMUnreadMsgCntReq{}, &IMUnreadMsgCntRsp{}, &IMGetMsgListReq{}, &IMGetMsgListRsp{},
	&IMGetLatestMsgIdReq{}, &IMGetLatestMsgIdRsp{}, &IMGetMsgByIdReq{}, &IMGetMsgByIdRsp{},
	&IMHeartBeat{}, &IMStopReceivePacket{},
}

// fill sets every field of m to something that is not its zero value.
func fill(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		one := func() protoreflect.Value {
			switch f.Kind() {
			case protoreflect.Uint32Kind:
				return protoreflect.ValueOfUint32(uint32(1000 + f.Number()))
			case protoreflect.StringKind:
				return protoreflect.ValueOfString("text of " + string(f.Name()))
			case protoreflect.BytesKind:
				return protoreflect.ValueOfBytes([]byte{0, 0xFF, byte(f.Number())})
			case protoreflect.EnumKind:
				values := f.Enum().Values()
				return protoreflect.ValueOfEnum(values.Get(values.Len() - 1).Number())
			default:
				panic(fmt.Sprintf("%s is a %v", f.FullName(), f.Kind()))
			}
		}
		switch {
		case f.IsList() && f.Kind() == protoreflect.MessageKind:
			list := m.Mutable(f).List()
			for range 2 {
				fill(list.AppendMutable().Message())
			}
		case f.IsList():
			list := m.Mutable(f).List()
			list.Append(one())
			list.Append(one())
		default:
			m.Set(f, one())
		}
	}
}

func nameOf(m proto.Message) string { return string(m.ProtoReflect().Descriptor().Name()) }

func TestRoundTrip(t *testing.T) {
	for _, m := range messages(t) {
		t.Run(nameOf(m), func(t *testing.T) {
			fill(m.ProtoReflect())
			data, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			got := m.ProtoReflect().New().Interface()
			if err := proto.Unmarshal(data, got); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(m, got) || len(got.ProtoReflect().GetUnknown()) > 0 {
				t.Errorf("%v came back as %v", m, got)
			}
			again, err := proto.Marshal(got)
			if err != nil || !bytes.Equal(again, data) {
				t.Errorf("%x came back as %x, %v", data, again, err)
			}
			text := fmt.Sprint(got)
			if m.ProtoReflect().Descriptor().Fields().Len() > 0 {
				parsed := m.ProtoReflect().New().Interface()
				if err := prototext.Unmarshal([]byte(text), parsed); err != nil || !proto.Equal(m, parsed) {
					t.Errorf("%q does not read back: %v", text, err)
				}
			}
			proto.Reset(got)
			if n := proto.Size(got); n != 0 {
				t.Errorf("%d bytes after Reset", n)
			}
		})
	}
}

// TestRequired: a message without one of its required fields is refused, both
// ways, and one without its optional ones is not.
func TestRequired(t *testing.T) {
	for _, m := range messages(t) {
		fields := m.ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() {
			f := fields.Get(i)
			t.Run(nameOf(m)+" "+string(f.Name()), func(t *testing.T) {
				m := proto.Clone(m).ProtoReflect()
				fill(m)
				m.Clear(f)
				required := f.Cardinality() == protoreflect.Required
				data, err := proto.Marshal(m.Interface())
				if (err != nil) != required {
					t.Errorf("Marshal: %v, required: %v", err, required)
				}
				if err != nil {
					data, err = proto.MarshalOptions{AllowPartial: true}.Marshal(m.Interface())
					if err != nil {
						t.Fatal(err)
					}
				}
				if err := proto.Unmarshal(data, m.New().Interface()); (err != nil) != required {
					t.Errorf("Unmarshal: %v, required: %v", err, required)
				}
			})
		}
	}
}

// TestUnknownEnumValue: Go's protobuf keeps what TeamTalk's servers refuse.
func TestUnknownEnumValue(t *testing.T) {
	data := []byte{0x08, 1, 0x10, 3} // status 3
	var stat UserStat
	if err := proto.Unmarshal(data, &stat); err != nil {
		t.Fatal(err)
	}
	if stat.GetStatus() != 3 || stat.GetStatus().String() != "3" {
		t.Errorf("status %v", stat.GetStatus())
	}
}

// TestGetters calls every generated getter, on a filled message, an empty one
// and on nil.
func TestGetters(t *testing.T) {
	for _, m := range messages(t) {
		t.Run(nameOf(m), func(t *testing.T) {
			filled := proto.Clone(m)
			fill(filled.ProtoReflect())
			null := reflect.Zero(reflect.TypeOf(m)).Interface()
			fields := m.ProtoReflect().Descriptor().Fields()
			for i := range fields.Len() {
				f := fields.Get(i)
				getter := "Get" + goName(string(f.Name()))
				call := func(m any) reflect.Value {
					method := reflect.ValueOf(m).MethodByName(getter)
					if !method.IsValid() {
						t.Fatalf("no %s", getter)
					}
					return method.Call(nil)[0]
				}
				if v := call(filled); v.IsZero() || f.IsList() && v.Len() != 2 {
					t.Errorf("%s of a filled message: %v", getter, v)
				}
				for what, v := range map[string]reflect.Value{"an empty message": call(m), "nil": call(null)} {
					if f.Kind() == protoreflect.EnumKind {
						if v.Interface() != call(null).Interface() {
							t.Errorf("%s of %s: %v", getter, what, v)
						}
					} else if !v.IsZero() {
						t.Errorf("%s of %s: %v", getter, what, v)
					}
				}
			}
			reflect.ValueOf(m).MethodByName("ProtoMessage").Call(nil)
			path := reflect.ValueOf(m).MethodByName("Descriptor").Call(nil)[1].Interface()
			if want := []int{m.ProtoReflect().Descriptor().Index()}; !slices.Equal(path.([]int), want) {
				t.Errorf("Descriptor: %v, want %v", path, want)
			}
			if null.(proto.Message).ProtoReflect().IsValid() {
				t.Error("nil is valid")
			}
		})
	}
}

// goName returns a field's name as protoc-gen-go writes it.
func goName(field string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(field, "_") {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}

// enum is what every generated enum's value has.
type enum interface {
	protoreflect.Enum
	fmt.Stringer
	EnumDescriptor() ([]byte, []int)
}

func TestEnums(t *testing.T) {
	values := []enum{
		SessionType_SESSION_TYPE_GROUP, MsgType_MSG_TYPE_GROUP_AUDIO, UserStatType_USER_STATUS_OFFLINE,
		GroupType_GROUP_TYPE_TMP, GroupModifyType_GROUP_MODIFY_TYPE_DEL,
	}
	for _, v := range values {
		d := v.Descriptor()
		t.Run(string(d.Name()), func(t *testing.T) {
			name := d.Values().ByNumber(v.Number()).Name()
			if v.String() != string(name) || v.Type().Descriptor() != d {
				t.Errorf("%s is %s", name, v)
			}
			if _, path := v.EnumDescriptor(); !slices.Equal(path, []int{d.Index()}) {
				t.Errorf("EnumDescriptor: %v", path)
			}
			copied := reflect.ValueOf(v).MethodByName("Enum").Call(nil)[0]
			if copied.Elem().Interface() != v {
				t.Errorf("Enum: %v", copied.Elem())
			}
			unmarshal, ok := reflect.TypeAssert[interface{ UnmarshalJSON([]byte) error }](copied)
			if !ok {
				t.Fatal("no UnmarshalJSON")
			}
			if err := unmarshal.UnmarshalJSON(fmt.Appendf(nil, "%q", name)); err != nil || copied.Elem().Interface() != v {
				t.Errorf("UnmarshalJSON: %v, %v", copied.Elem(), err)
			}
			if err := unmarshal.UnmarshalJSON([]byte(`"NONE"`)); err == nil {
				t.Error("UnmarshalJSON took an unknown name")
			}
		})
	}
}

func TestCommandService(t *testing.T) {
	cases := map[string]struct {
		command Command
		want    Service
	}{
		"users":     {CommandUsersInfoReq, ServiceBuddy},
		"message":   {CommandMsgData, ServiceMessage},
		"group":     {CommandGroupInfoRsp, ServiceGroup},
		"heartbeat": {CommandHeartBeat, ServiceOther},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := tc.command.Service(); got != tc.want {
				t.Errorf("service %d, want %d", got, tc.want)
			}
		})
	}
}

func TestMsgType(t *testing.T) {
	cases := map[string]struct {
		kind        MsgType
		wantAudio   bool
		wantSession SessionType
	}{
		"single text":  {MsgType_MSG_TYPE_SINGLE_TEXT, false, SessionType_SESSION_TYPE_SINGLE},
		"single audio": {MsgType_MSG_TYPE_SINGLE_AUDIO, true, SessionType_SESSION_TYPE_SINGLE},
		"group text":   {MsgType_MSG_TYPE_GROUP_TEXT, false, SessionType_SESSION_TYPE_GROUP},
		"group audio":  {MsgType_MSG_TYPE_GROUP_AUDIO, true, SessionType_SESSION_TYPE_GROUP},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if tc.kind.Audio() != tc.wantAudio || tc.kind.SessionType() != tc.wantSession {
				t.Errorf("audio: %v, session: %v", tc.kind.Audio(), tc.kind.SessionType())
			}
		})
	}
}

// FuzzUnmarshal parses any bytes as any message: what parses can be written
// again, and reads the same then.
func FuzzUnmarshal(f *testing.F) {
	for i, m := range messages(f) {
		fill(m.ProtoReflect())
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), data)
	}
	all := messages(f)
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		kind := all[int(which)%len(all)].ProtoReflect()
		m := kind.New().Interface()
		if err := proto.Unmarshal(data, m); err != nil {
			if !errors.Is(err, proto.Error) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		again, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		got := kind.New().Interface()
		if err := proto.Unmarshal(again, got); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(m, got) {
			t.Fatalf("%v came back as %v", m, got)
		}
	})
}
