// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// allMessages are the messages of the .proto files, empty.
var allMessages = []proto.Message{
	&UserInfo{}, &UserStat{}, &MsgInfo{}, &UnreadInfo{}, &GroupInfo{}, &GroupVersionInfo{},
	&ContactSessionInfo{}, &IMRecentContactSessionReq{}, &IMRecentContactSessionRsp{},
	&IMAllUserReq{}, &IMAllUserRsp{}, &IMNormalGroupListReq{}, &IMNormalGroupListRsp{},
	&IMUsersInfoReq{}, &IMUsersInfoRsp{}, &IMUsersStatReq{}, &IMUsersStatRsp{},
	&IMGroupInfoListReq{}, &IMGroupInfoListRsp{}, &IMGroupCreateReq{}, &IMGroupCreateRsp{},
	&IMGroupChangeMemberReq{}, &IMGroupChangeMemberRsp{}, &IMGroupChangeMemberNotify{},
	&IMMsgData{}, &IMMsgDataReadAck{}, &IMMsgDataReadNotify{},
	&IMUnreadMsgCntReq{}, &IMUnreadMsgCntRsp{}, &IMGetMsgListReq{}, &IMGetMsgListRsp{},
	&IMGetLatestMsgIdReq{}, &IMGetLatestMsgIdRsp{}, &IMGetMsgByIdReq{}, &IMGetMsgByIdRsp{},
	&IMHeartBeat{}, &IMStopReceivePacket{},
}

func TestAllMessages(t *testing.T) {
	n := 0
	for _, file := range []protoreflect.FileDescriptor{
		File_base_proto, File_buddy_proto, File_group_proto, File_message_proto, File_other_proto,
	} {
		n += file.Messages().Len()
	}
	if n != len(allMessages) {
		t.Errorf("the test has %d messages, the files have %d", len(allMessages), n)
	}
}

// filled returns a copy of an empty message with a value in every field.
func filled(m proto.Message) proto.Message {
	m = proto.Clone(m)
	fill(m.ProtoReflect())
	return m
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
	for _, empty := range allMessages {
		t.Run(nameOf(empty), func(t *testing.T) {
			m, got, parsed := filled(empty), proto.Clone(empty), proto.Clone(empty)
			data, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			if err := proto.Unmarshal(data, got); err != nil || !proto.Equal(m, got) || len(got.ProtoReflect().GetUnknown()) > 0 {
				t.Errorf("%v became %v, %v", m, got, err)
			}
			if again, err := proto.Marshal(got); err != nil || !bytes.Equal(again, data) {
				t.Errorf("%x became %x, %v", data, again, err)
			}
			if text := fmt.Sprint(got); prototext.Unmarshal([]byte(text), parsed) != nil || !proto.Equal(m, parsed) {
				t.Errorf("%q became %v", text, parsed)
			}
			if proto.Reset(got); proto.Size(got) != 0 {
				t.Errorf("%d bytes after Reset", proto.Size(got))
			}
		})
	}
}

// TestRequired: a message needs its required fields, for encoding and for parsing, and no optional one.
func TestRequired(t *testing.T) {
	for _, empty := range allMessages {
		fields := empty.ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() {
			f := fields.Get(i)
			t.Run(nameOf(empty)+" "+string(f.Name()), func(t *testing.T) {
				m := filled(empty).ProtoReflect()
				m.Clear(f)
				required := f.Cardinality() == protoreflect.Required
				if _, err := proto.Marshal(m.Interface()); (err != nil) != required {
					t.Errorf("Marshal: %v, required: %v", err, required)
				}
				data, err := proto.MarshalOptions{AllowPartial: true}.Marshal(m.Interface())
				if err != nil {
					t.Fatal(err)
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
	var stat UserStat
	if err := proto.Unmarshal([]byte{0x08, 1, 0x10, 3}, &stat); err != nil { // status 3
		t.Fatal(err)
	}
	if stat.GetStatus() != 3 || stat.GetStatus().String() != "3" {
		t.Errorf("status %v", stat.GetStatus())
	}
}

// TestGetters calls the generated methods of a filled message, an empty one and nil.
func TestGetters(t *testing.T) {
	for _, empty := range allMessages {
		t.Run(nameOf(empty), func(t *testing.T) {
			null, getters := reflect.Zero(reflect.TypeOf(empty)), 0
			for i := range null.NumMethod() {
				name := null.Type().Method(i).Name
				if !strings.HasPrefix(name, "Get") {
					continue
				}
				getters++
				if v := reflect.ValueOf(filled(empty)).Method(i).Call(nil)[0]; v.IsZero() || v.Kind() == reflect.Slice && v.Len() < 2 {
					t.Errorf("%s of a filled message: %v", name, v)
				}
				ofNil := null.Method(i).Call(nil)[0]
				if _, isEnum := reflect.TypeAssert[protoreflect.Enum](ofNil); !isEnum && !ofNil.IsZero() {
					t.Errorf("%s of nil: %v", name, ofNil)
				}
				if v := reflect.ValueOf(empty).Method(i).Call(nil)[0]; !reflect.DeepEqual(v.Interface(), ofNil.Interface()) {
					t.Errorf("%s of an empty message: %v, want %v", name, v, ofNil)
				}
			}
			if fields := empty.ProtoReflect().Descriptor().Fields().Len(); getters != fields {
				t.Errorf("%d getters of %d fields", getters, fields)
			}
			null.MethodByName("ProtoMessage").Call(nil)
			path := null.MethodByName("Descriptor").Call(nil)[1].Interface()
			if want := []int{empty.ProtoReflect().Descriptor().Index()}; !reflect.DeepEqual(path, want) {
				t.Errorf("Descriptor: %v, want %v", path, want)
			}
			if m, _ := reflect.TypeAssert[proto.Message](null); m.ProtoReflect().IsValid() {
				t.Error("nil is valid")
			}
		})
	}
}

func TestEnums(t *testing.T) {
	for _, v := range []protoreflect.Enum{
		SessionType_SESSION_TYPE_GROUP, MsgType_MSG_TYPE_GROUP_AUDIO, UserStatType_USER_STATUS_OFFLINE,
		GroupType_GROUP_TYPE_TMP, GroupModifyType_GROUP_MODIFY_TYPE_DEL,
	} {
		d := v.Descriptor()
		t.Run(string(d.Name()), func(t *testing.T) {
			name := d.Values().ByNumber(v.Number()).Name()
			if fmt.Sprint(v) != string(name) || v.Type().Descriptor() != d {
				t.Errorf("%s is %s", name, v)
			}
			path := reflect.ValueOf(v).MethodByName("EnumDescriptor").Call(nil)[1].Interface()
			if want := []int{d.Index()}; !reflect.DeepEqual(path, want) {
				t.Errorf("EnumDescriptor: %v, want %v", path, want)
			}
			copied := reflect.ValueOf(v).MethodByName("Enum").Call(nil)[0]
			unmarshal, _ := reflect.TypeAssert[json.Unmarshaler](copied)
			if err := json.Unmarshal([]byte(`"NONE"`), unmarshal); err == nil {
				t.Error("UnmarshalJSON accepted an unknown name")
			}
			err := json.Unmarshal(fmt.Appendf(nil, "%q", name), unmarshal)
			if err != nil || copied.Elem().Interface() != v {
				t.Errorf("UnmarshalJSON: %v, %v", copied.Elem(), err)
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

func TestAnswer(t *testing.T) {
	for command, want := range map[Command]Command{
		CommandMsgData: CommandMsgData, CommandUsersInfoReq: CommandUsersInfoRsp, CommandMsgListReq: CommandMsgListRsp,
		CommandMsgByIDReq: CommandMsgByIDRsp, CommandLatestMsgIDReq: CommandLatestMsgIDRsp,
		CommandUserGroupsReq: CommandUserGroupsRsp, CommandGroupInfoReq: CommandGroupInfoRsp, CommandGroupCreateReq: CommandGroupCreateRsp,
		CommandGroupChangeReq: CommandGroupChangeRsp,
	} {
		if got := command.Answer(); got != want {
			t.Errorf("the answer to %#04x is %#04x, want %#04x", command, got, want)
		}
	}
}

// FuzzUnmarshal parses any bytes as any message. What Unmarshal accepts is what a plain parser makes of it, without
// unknown fields; it refuses no more than what is over its limits.
func FuzzUnmarshal(f *testing.F) {
	for i, m := range allMessages {
		data, err := proto.Marshal(filled(m))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), data, 1)
		f.Add(uint8(i), data, 2)
		f.Add(uint8(i), append(data, 0xfa, 1, 0, 0x0b, 0x0c), 2)
	}
	f.Fuzz(func(t *testing.T, which uint8, data []byte, limit int) {
		empty := allMessages[int(which)%len(allMessages)]
		m, plain, again := proto.Clone(empty), proto.Clone(empty), proto.Clone(empty)
		err := Unmarshal(data, m, limit)
		plainErr := proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, plain)
		switch {
		case errors.Is(err, errTooMany):
			if n := elementsOf(plain.ProtoReflect()); plainErr == nil && n <= limit {
				t.Fatalf("%d elements are too many for %d", n, limit)
			}
			return
		case errors.Is(err, errMalformed):
			if plainErr == nil && !hasGroup(data, empty.ProtoReflect().Descriptor()) {
				t.Fatalf("%x is refused, and parses as %v", data, plain)
			}
			return
		case err != nil && !errors.Is(err, proto.Error):
			t.Fatalf("%T: %v", err, err)
		case err != nil && plainErr == nil:
			t.Fatalf("%v: a plain parser makes %v of it", err, plain)
		case err != nil:
			return
		case plainErr != nil || !proto.Equal(m, plain):
			t.Fatalf("%v, want %v, %v", m, plain, plainErr)
		case elementsOf(m.ProtoReflect()) > max(0, limit):
			t.Fatalf("%d elements, want at most %d", elementsOf(m.ProtoReflect()), limit)
		}
		data, err = proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := Unmarshal(data, again, limit); err != nil || !proto.Equal(m, again) {
			t.Fatalf("%v became %v, %v", m, again, err)
		}
	})
}

// elementsOf counts the messages in the repeated fields of m.
func elementsOf(m protoreflect.Message) (n int) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.IsList() && f.Message() != nil {
			n += v.List().Len()
		}
		return true
	})
	return n
}

// hasGroup reports whether the bytes of a message have a group, in it or in one of its elements.
func hasGroup(b []byte, d protoreflect.MessageDescriptor) bool {
	for len(b) > 0 {
		number, kind, tag := protowire.ConsumeTag(b)
		if tag < 0 || kind == protowire.StartGroupType {
			return tag >= 0
		}
		length := protowire.ConsumeFieldValue(number, kind, b[tag:])
		if length < 0 {
			return false
		}
		if f := d.Fields().ByNumber(number); f != nil && f.Message() != nil && kind == protowire.BytesType {
			if value, _ := protowire.ConsumeBytes(b[tag:]); hasGroup(value, f.Message()) {
				return true
			}
		}
		b = b[tag+length:]
	}
	return false
}

// TestUnmarshal refuses what would take far more memory than its bytes, before anything is allocated.
func TestUnmarshal(t *testing.T) {
	user := func(id uint32) *UserInfo {
		u := &UserInfo{UserId: &id}
		for _, s := range []**string{
			&u.UserNickName, &u.AvatarUrl, &u.Email, &u.UserRealName, &u.UserTel, &u.UserDomain,
		} {
			*s = proto.String("s")
		}
		u.UserGender, u.DepartmentId, u.Status = proto.Uint32(1), proto.Uint32(1), proto.Uint32(0)
		return u
	}
	users, err := proto.Marshal(&IMUsersInfoRsp{UserId: proto.Uint32(1), UserInfoList: []*UserInfo{user(2), user(3)}})
	if err != nil {
		t.Fatal(err)
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	nested := join(bytes.Repeat([]byte{0x0b}, 9000), bytes.Repeat([]byte{0x0c}, 9000))
	inRow := func(b []byte) []byte { return join(protowire.AppendBytes([]byte{0x12}, b)) }
	const size = 1 << 20
	cases := map[string]struct {
		body  []byte
		limit int
		want  bool
	}{
		"what was asked for":           {users, 2, true},
		"one more":                     {users, 1, false},
		"empty elements":               {bytes.Repeat([]byte{0x12, 0}, size), 200, false},
		"empty elements, then a user":  {join(bytes.Repeat([]byte{0x12, 0}, size), users), 200, false},
		"unknown fields":               {join(users, bytes.Repeat([]byte{0xfa, 1, 0}, size)), 2, true},
		"unknown fields in an element": {join([]byte{8, 1}, inRow(bytes.Repeat([]byte{0xfa, 1, 0}, size))), 1, false},
		"groups":                       {join(users, nested), 2, false},
		"groups in an element":         {join(users, inRow(nested)), 9, false},
		"a field again and again":      {join(users, bytes.Repeat([]byte{0x08, 1}, size)), 2, true},
		"cut":                          {users[:len(users)-1], 2, false},
		"a field is missing":           {users[2:], 2, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			m := &IMUsersInfoRsp{}
			err := Unmarshal(tc.body, m, tc.limit)
			runtime.ReadMemStats(&after)
			if (err == nil) != tc.want || tc.want && (len(m.GetUserInfoList()) != 2 || len(m.ProtoReflect().GetUnknown()) > 0) {
				t.Errorf("%v: %v", err, m)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 128<<10 {
				t.Errorf("%d bytes are allocated for a body of %d", n, len(tc.body))
			}
		})
	}
}
