// SPDX-License-Identifier: Apache-2.0

package pdu

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/recorded"
)

// bodies are the messages of the commands that were recorded.
var bodies = map[wire.Command]proto.Message{
	wire.CommandUsersInfoReq:   &wire.IMUsersInfoReq{},
	wire.CommandUsersInfoRsp:   &wire.IMUsersInfoRsp{},
	wire.CommandUsersStatReq:   &wire.IMUsersStatReq{},
	wire.CommandUsersStatRsp:   &wire.IMUsersStatRsp{},
	wire.CommandMsgData:        &wire.IMMsgData{},
	wire.CommandMsgReadAck:     &wire.IMMsgDataReadAck{},
	wire.CommandMsgReadNotify:  &wire.IMMsgDataReadNotify{},
	wire.CommandUnreadCntReq:   &wire.IMUnreadMsgCntReq{},
	wire.CommandUnreadCntRsp:   &wire.IMUnreadMsgCntRsp{},
	wire.CommandMsgListReq:     &wire.IMGetMsgListReq{},
	wire.CommandMsgListRsp:     &wire.IMGetMsgListRsp{},
	wire.CommandLatestMsgIDReq: &wire.IMGetLatestMsgIdReq{},
	wire.CommandLatestMsgIDRsp: &wire.IMGetLatestMsgIdRsp{},
	wire.CommandMsgByIDReq:     &wire.IMGetMsgByIdReq{},
	wire.CommandMsgByIDRsp:     &wire.IMGetMsgByIdRsp{},
	wire.CommandGroupInfoReq:   &wire.IMGroupInfoListReq{},
	wire.CommandGroupInfoRsp:   &wire.IMGroupInfoListRsp{},
	wire.CommandGroupCreateReq: &wire.IMGroupCreateReq{},
	wire.CommandGroupCreateRsp: &wire.IMGroupCreateRsp{},
	wire.CommandGroupChangeReq: &wire.IMGroupChangeMemberReq{},
	wire.CommandGroupChangeRsp: &wire.IMGroupChangeMemberRsp{},
	wire.CommandHeartBeat:      &wire.IMHeartBeat{},
}

// recordedFrames returns the recorded frames by name and direction.
func recordedFrames(tb testing.TB) map[string][]byte {
	tb.Helper()
	frames := map[string][]byte{}
	for _, f := range recorded.Frames(tb) {
		for direction, b := range map[string][]byte{
			"request": f.Request, "response": f.Response, "peer_receives": f.PeerReceives,
		} {
			if b != nil {
				frames[f.Name+" "+direction] = b
			}
		}
	}
	return frames
}

// TestConformance reads every recorded frame, and writes it again byte for byte, with its body and from the parsed
// message.
func TestConformance(t *testing.T) {
	for name, raw := range recordedFrames(t) {
		t.Run(name, func(t *testing.T) {
			p, err := NewReader(bytes.NewReader(raw), 0).Read()
			if err != nil {
				t.Fatal(err)
			}
			if again := p.Append(nil); !bytes.Equal(again, raw) {
				t.Errorf("became %x, want %x", again, raw)
			}
			if p.Service != p.Command.Service() || p.Len() != len(raw) {
				t.Errorf("service %d, length %d", p.Service, p.Len())
			}
			switch strings.Fields(name)[0] {
			case "send_bad_type", "unknown_command": // no message of ours
				return
			}
			body := bodies[p.Command]
			if body == nil {
				t.Fatalf("command %#04x has no message", uint16(p.Command))
			}
			body = proto.Clone(body)
			if err := proto.Unmarshal(p.Body, body); err != nil {
				t.Fatal(err)
			}
			if n := len(body.ProtoReflect().GetUnknown()); n > 0 {
				t.Errorf("%d bytes of unknown fields", n)
			}
			p, err = New(p.Command, p.Seq, body)
			if err != nil {
				t.Fatal(err)
			}
			if again := p.Append(nil); !bytes.Equal(again, raw) {
				t.Errorf("parsed and written, became %x, want %x", again, raw)
			}
		})
	}
}

func TestNewRefusesIncomplete(t *testing.T) {
	p, err := New(wire.CommandMsgData, 1, &wire.IMMsgData{})
	if err == nil || p.Body != nil {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestHandle(t *testing.T) {
	cases := map[string]struct {
		data   []byte
		want   uint32
		wantOK bool
	}{
		"a handle":     {data: AttachData(0x01020304), want: 0x01020304, wantOK: true},
		"zero":         {data: AttachData(0), wantOK: true},
		"the greatest": {data: AttachData(0xFFFFFFFF), want: 0xFFFFFFFF, wantOK: true},
		"nothing":      {},
		"cut":          {data: AttachData(7)[:11]},
		"longer":       {data: append(AttachData(7), 0)},
		"another type": {data: []byte{0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got, ok := Handle(tc.data); got != tc.want || ok != tc.wantOK {
				t.Errorf("%#x, %v", got, ok)
			}
		})
	}
	if got := hex.EncodeToString(AttachData(0x0a0b0c0d)); got != "000000030a0b0c0d00000000" {
		t.Errorf("attach_data %s", got)
	}
}

// header returns a header that announces a frame of length bytes.
func header(length uint32) []byte {
	b := PDU{Service: 3, Command: wire.CommandMsgListRsp, Seq: 7}.Append(nil)
	binary.BigEndian.PutUint32(b, length)
	return b
}

func TestRead(t *testing.T) {
	frame := PDU{Service: 3, Command: wire.CommandMsgData, Seq: 0xFFFF, Body: []byte("body")}
	empty := PDU{Service: 7, Command: wire.CommandHeartBeat, Body: []byte{}}
	skipped := PDU{Service: 3, Command: wire.CommandMsgListRsp, Seq: 7}
	type read struct {
		PDU PDU
		Err error
	}
	cases := map[string]struct {
		in    []byte
		limit int
		want  []read
	}{
		"nothing":               {want: []read{{Err: io.EOF}}},
		"two frames":            {in: empty.Append(frame.Append(nil)), want: []read{{PDU: frame}, {PDU: empty}, {Err: io.EOF}}},
		"cut in the header":     {in: frame.Append(nil)[:15], want: []read{{Err: io.ErrUnexpectedEOF}}},
		"cut after the header":  {in: frame.Append(nil)[:16], want: []read{{Err: io.ErrUnexpectedEOF}}},
		"cut in the body":       {in: frame.Append(nil)[:19], want: []read{{Err: io.ErrUnexpectedEOF}}},
		"length 0":              {in: header(0), want: []read{{Err: ErrLength}}},
		"length 1":              {in: header(1), want: []read{{Err: ErrLength}}},
		"length 15":             {in: header(15), want: []read{{Err: ErrLength}}},
		"length over MaxSkip":   {in: header(MaxSkip + 1), want: []read{{Err: ErrLength}}},
		"length all ones":       {in: header(0xFFFFFFFF), want: []read{{Err: ErrLength}}},
		"limit beyond MaxSkip":  {in: header(MaxSkip + 1), limit: 1 << 30, want: []read{{Err: ErrLength}}},
		"at the limit":          {in: frame.Append(nil), limit: 20, want: []read{{PDU: frame}, {Err: io.EOF}}},
		"over the limit":        {in: frame.Append(append(header(20), "body"...)), limit: 19, want: []read{{PDU: skipped, Err: ErrTooLong}, {PDU: PDU{Service: 3, Command: wire.CommandMsgData, Seq: 0xFFFF}, Err: ErrTooLong}, {Err: io.EOF}}},
		"skipped, then held":    {in: empty.Append(append(header(20), "body"...)), limit: 19, want: []read{{PDU: skipped, Err: ErrTooLong}, {PDU: empty}, {Err: io.EOF}}},
		"cut while skipping":    {in: append(header(MaxSkip), "body"...), want: []read{{Err: io.ErrUnexpectedEOF}}},
		"cut before it skipped": {in: header(MaxIn + 1), want: []read{{Err: io.ErrUnexpectedEOF}}},
		"longer than a chunk":   {in: append(header(16+200_000), make([]byte, 200_000)...), want: []read{{PDU: PDU{Service: 3, Command: wire.CommandMsgListRsp, Seq: 7, Body: make([]byte, 200_000)}}, {Err: io.EOF}}},
		"MaxIn":                 {in: append(header(MaxIn), make([]byte, MaxIn-16)...), want: []read{{PDU: PDU{Service: 3, Command: wire.CommandMsgListRsp, Seq: 7, Body: make([]byte, MaxIn-16)}}, {Err: io.EOF}}},
		"MaxIn and one":         {in: frame.Append(append(header(MaxIn+1), make([]byte, MaxIn-15)...)), want: []read{{PDU: skipped, Err: ErrTooLong}, {PDU: frame}, {Err: io.EOF}}},
	}
	sources := map[string]func(io.Reader) io.Reader{
		"as it comes":             func(r io.Reader) io.Reader { return r },
		"by halves":               iotest.HalfReader,
		"data and error together": iotest.DataErrReader,
	}
	for name, tc := range cases {
		for how, source := range sources {
			t.Run(name+" "+how, func(t *testing.T) {
				r := NewReader(source(bytes.NewReader(tc.in)), tc.limit)
				for i, want := range tc.want {
					p, err := r.Read()
					if !errors.Is(err, want.Err) || (err != nil) != (want.Err != nil) {
						t.Fatalf("frame %d: error %v, want %v", i, err, want.Err)
					}
					// cmp is too slow for bodies of megabytes.
					gotBody, wantBody := p.Body, want.PDU.Body
					p.Body, want.PDU.Body = nil, nil
					if diff := cmp.Diff(want.PDU, p); diff != "" {
						t.Fatalf("frame %d (-want +got):\n%s", i, diff)
					}
					if !bytes.Equal(gotBody, wantBody) || (gotBody == nil) != (wantBody == nil) {
						t.Fatalf("frame %d: %d bytes of body, want %d", i, len(gotBody), len(wantBody))
					}
				}
			})
		}
	}
}

func TestReadPassesErrorsOn(t *testing.T) {
	broken := errors.New("broken")
	for name, in := range map[string][]byte{"header": nil, "body": header(100), "skipped": header(MaxIn + 100)} {
		t.Run(name, func(t *testing.T) {
			r := NewReader(io.MultiReader(bytes.NewReader(in), iotest.ErrReader(broken)), 0)
			if _, err := r.Read(); !errors.Is(err, broken) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestNoOverAllocation: the length in a header does not allocate memory before the bytes arrive.
func TestNoOverAllocation(t *testing.T) {
	for name, length := range map[string]uint32{"held": MaxIn, "skipped": MaxSkip} {
		t.Run(name, func(t *testing.T) {
			in := append(header(length), make([]byte, 1000)...)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := NewReader(bytes.NewReader(in), 0).Read()
			runtime.ReadMemStats(&after)
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatal(err)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 256<<10 {
				t.Errorf("%d bytes allocated for 1016 that came", n)
			}
		})
	}
}

func FuzzReader(f *testing.F) {
	for _, frame := range recordedFrames(f) {
		f.Add(frame, 0)
	}
	f.Add(header(MaxSkip), 0)
	f.Add(append(header(32), make([]byte, 40)...), 20)
	f.Fuzz(func(t *testing.T, in []byte, limit int) {
		r := NewReader(bytes.NewReader(in), limit)
		at := 0
		for {
			p, err := r.Read()
			if err != nil && !errors.Is(err, ErrTooLong) {
				if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, ErrLength) {
					t.Fatalf("unknown error %v", err)
				}
				if p.Body != nil {
					t.Fatalf("%d bytes of body beside %v", len(p.Body), err)
				}
				return
			}
			frame := in[at : at+int(binary.BigEndian.Uint32(in[at:]))]
			at += len(frame)
			if err != nil {
				if limit <= 0 || len(frame) <= limit || p.Body != nil {
					t.Fatalf("%d bytes are too long for %d", len(frame), limit)
				}
				continue
			}
			again := p.Append(nil)
			// Version, flag and reserved are not kept.
			if !bytes.Equal(again[:4], frame[:4]) || !bytes.Equal(again[8:14], frame[8:14]) || !bytes.Equal(again[16:], frame[16:]) {
				t.Fatalf("%x became %x", frame, again)
			}
			got, err := NewReader(bytes.NewReader(again), 0).Read()
			if err != nil || !cmp.Equal(got, p) {
				t.Fatalf("%+v came back as %+v, %v", p, got, err)
			}
			if cap(p.Body) > 2*len(p.Body)+64<<10 {
				t.Fatalf("%d bytes for a body of %d", cap(p.Body), len(p.Body))
			}
		}
	})
}

// sample is a text of 200 bytes.
func sample() *wire.IMMsgData {
	return &wire.IMMsgData{
		FromUserId: proto.Uint32(1), ToSessionId: proto.Uint32(160), MsgId: proto.Uint32(1), CreateTime: proto.Uint32(1795409000),
		MsgType: wire.MsgType_MSG_TYPE_SINGLE_TEXT.Enum(), MsgData: make([]byte, 300), AttachData: AttachData(7),
	}
}

func BenchmarkEncode(b *testing.B) {
	m := sample()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		p, err := New(wire.CommandMsgData, 7, m)
		if err != nil {
			b.Fatal(err)
		}
		buf = p.Append(buf[:0])
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkDecode(b *testing.B) {
	p, err := New(wire.CommandMsgData, 7, sample())
	if err != nil {
		b.Fatal(err)
	}
	frame := p.Append(nil)
	in := bytes.NewReader(frame)
	r := NewReader(in, 0)
	b.ReportAllocs()
	b.SetBytes(int64(len(frame)))
	for b.Loop() {
		in.Reset(frame)
		p, err := r.Read()
		if err != nil {
			b.Fatal(err)
		}
		var m wire.IMMsgData
		if err := proto.Unmarshal(p.Body, &m); err != nil {
			b.Fatal(err)
		}
	}
}

// TestNext reads some of each body, and skips the rest.
func TestNext(t *testing.T) {
	long := PDU{Service: 3, Command: wire.CommandMsgListRsp, Seq: 7, Body: bytes.Repeat([]byte("row"), MaxSmall)}
	short := PDU{Service: 3, Command: wire.CommandMsgData, Seq: 8, Body: []byte("short")}
	empty := PDU{Service: 7, Command: wire.CommandHeartBeat, Seq: 9}
	var in []byte
	frames := []PDU{long, short, empty, long, short}
	for _, p := range frames {
		in = p.Append(in)
	}
	for name, read := range map[string]func(*Frame) ([]byte, error){
		"nothing": func(*Frame) ([]byte, error) { return nil, nil },
		"one byte": func(f *Frame) ([]byte, error) {
			b, err := f.ReadByte()
			if errors.Is(err, io.EOF) {
				return nil, nil
			}
			return []byte{b}, err
		},
		"some bytes": func(f *Frame) ([]byte, error) { return io.ReadAll(io.LimitReader(f, 3)) },
		"all":        func(f *Frame) ([]byte, error) { return io.ReadAll(f) },
		"held":       (*Frame).Hold,
		"small ones": func(f *Frame) ([]byte, error) {
			if body, ok := f.Small(); ok || f.Len > MaxSmall {
				return body, nil
			}
			return nil, errors.New("a small one is not returned")
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewReader(iotest.HalfReader(bytes.NewReader(in)), 0)
			for _, want := range frames {
				f, err := r.Next()
				if err != nil {
					t.Fatal(err)
				}
				if f.Service != want.Service || f.Command != want.Command || f.Seq != want.Seq || f.Len != want.Len() {
					t.Errorf("frame %+v, want %+v", f, want)
				}
				got, err := read(f)
				if err != nil || !bytes.HasPrefix(want.Body, got) || f.Left() != len(want.Body)-len(got) {
					t.Errorf("%d bytes of %d, %d left, %v", len(got), len(want.Body), f.Left(), err)
				}
			}
			if _, err := r.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %v", err)
			}
		})
	}
}

// TestSkipsWithoutCopy: a frame that nobody wants takes no memory.
func TestSkipsWithoutCopy(t *testing.T) {
	var in []byte
	for _, size := range []int{0, 100, MaxSmall - HeaderLen, 1 << 20} {
		in = PDU{Command: wire.CommandMsgListRsp, Body: make([]byte, size)}.Append(in)
	}
	source := bytes.NewReader(in)
	r := NewReader(source, 0)
	frames := 0
	allocs := testing.AllocsPerRun(10, func() {
		source.Reset(in)
		for {
			f, err := r.Next()
			if err != nil {
				return
			}
			frames++
			if body, ok := f.Small(); ok {
				HandleOf(body)
			}
		}
	})
	if allocs > 4 || frames < 40 { // of io.CopyN, and of the pool, which the race detector empties
		t.Errorf("%v allocations, %d frames", allocs, frames)
	}
}

func TestHandleOf(t *testing.T) {
	attach := AppendHandle(nil, 7)
	for name, tc := range map[string]struct {
		body   []byte
		want   uint32
		wantOK bool
	}{
		"nothing":                {},
		"alone":                  {attach, 7, true},
		"after other fields":     {append([]byte{0x08, 1, 0x12, 1, 'x', 0x1d, 0, 0, 0, 0}, attach...), 7, true},
		"before other fields":    {append(slices.Clip(attach), 0x08, 1), 7, true},
		"the last one counts":    {AppendHandle(slices.Clip(attach), 9), 9, true},
		"not a handle":           {[]byte{0xa2, 1, 1, 9}, 0, false},
		"a number":               {[]byte{0xa0, 1, 7}, 0, false},
		"cut":                    {attach[:len(attach)-1], 0, false},
		"before what is invalid": {append(slices.Clip(attach), 0xff), 7, true},
		"in a group":             {append([]byte{0x0b}, append(slices.Clip(attach), 0x0c)...), 0, false},
		"after nested groups":    {append(append(bytes.Repeat([]byte{0x0b}, 5000), bytes.Repeat([]byte{0x0c}, 5000)...), attach...), 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got, ok := HandleOf(tc.body); got != tc.want || ok != tc.wantOK {
				t.Errorf("%d, %v", got, ok)
			}
		})
	}
}

// TestSmallIsReturned: a Reader holds no buffer while it waits for a frame.
func TestSmallIsReturned(t *testing.T) {
	p := PDU{Command: wire.CommandMsgData, Body: make([]byte, 1000)}
	r := NewReader(bytes.NewReader(bytes.Repeat(p.Append(nil), 2)), 0)
	for range 2 {
		f, err := r.Next()
		if err != nil || r.small != nil {
			t.Fatalf("%v, or the buffer is kept", err)
		}
		if body, ok := f.Small(); !ok || len(body) != 1000 || r.small == nil {
			t.Fatalf("%d bytes, %v", len(body), ok)
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) || r.small != nil {
		t.Errorf("%v, or the buffer is kept", err)
	}
}
