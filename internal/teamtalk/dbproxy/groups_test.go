// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"encoding/hex"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestGroupConformance makes each recorded change of a group and gives the recorded
// answer.
func TestGroupConformance(t *testing.T) {
	create := func(g NewGroup) func(context.Context, *Client) (any, error) {
		return func(ctx context.Context, c *Client) (any, error) { return c.CreateGroup(ctx, g) }
	}
	change := func(m MemberChange) func(context.Context, *Client) (any, error) {
		return func(ctx context.Context, c *Client) (any, error) { return c.ChangeMembers(ctx, m) }
	}
	cases := map[string]struct {
		handle  uint32
		request func(context.Context, *Client) (any, error)
		want    any
		wantErr error
	}{
		"group_create":         {handle: 19, request: create(NewGroup{Name: "release", Members: []uint32{1, 20, 21}}), want: uint32(3)},
		"group_create_no_name": {handle: 20, request: create(NewGroup{Members: []uint32{1}}), wantErr: ErrRefused},
		"group_add": {handle: 21, request: change(MemberChange{Group: 1, Members: []uint32{30, 31}}), want: Membership{
			Current: []uint32{1, 10, 2, 3, 30, 31, 4}, Changed: []uint32{30, 31},
		}},
		"group_add_again": {handle: 22, request: change(MemberChange{Group: 1, Members: []uint32{30, 31}}), wantErr: ErrRefused},
		"group_remove": {handle: 23, request: change(MemberChange{Group: 1, Remove: true, Members: []uint32{31}}), want: Membership{
			Current: []uint32{1, 10, 2, 3, 30, 4}, Changed: []uint32{31},
		}},
		"group_change_unknown": {handle: 24, request: change(MemberChange{Group: 777, Members: []uint32{31}}), wantErr: ErrNoAnswer},
	}
	frames := recorded(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			rec, ok := frames[name]
			if !ok {
				t.Fatal("not recorded")
			}
			synctest.Test(t, func(t *testing.T) {
				h := run(t, Options{})
				defer h.stop()
				server := <-h.peers
				defer func() { _ = server.nc.Close() }()
				h.handles.Store(tc.handle - 1)
				got := async(func() (any, error) { return tc.request(t.Context(), h.Client) })
				if req := hex.EncodeToString(server.next().Append(nil)); req != rec.Request {
					t.Errorf("requested\n%s, want\n%s", req, rec.Request)
				}
				if rec.Response != nil {
					response, err := hex.DecodeString(*rec.Response)
					if err != nil {
						t.Fatal(err)
					}
					server.write(response)
				}
				r := <-got
				if !errors.Is(r.err, tc.wantErr) {
					t.Fatalf("%v, want %v", r.err, tc.wantErr)
				}
				if diff := cmp.Diff(tc.want, r.got); tc.wantErr == nil && diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestTemporaryGroup: the kind that clients create.
func TestTemporaryGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, Options{RequestTimeout: time.Second})
		defer h.stop()
		server := <-h.peers
		defer func() { _ = server.nc.Close() }()
		got := async(func() (uint32, error) {
			return h.CreateGroup(t.Context(), NewGroup{By: 1, Temporary: true, Name: "x", Avatar: "http://a", Members: []uint32{2}})
		})
		req := server.next()
		if body := hex.EncodeToString(req.Body); body[:8] != "08011002" {
			t.Errorf("requested %s", body)
		}
		if r := <-got; !errors.Is(r.err, ErrNoAnswer) {
			t.Errorf("%v", r.err)
		}
	})
}
