// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/chatgroup"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

type groupEdit = func(*v1alpha1.TeamTalkGroup)

// group is a new group with some users.
func (x *tenant) group(name string, edits ...groupEdit) *v1alpha1.TeamTalkGroup {
	g := &v1alpha1.TeamTalkGroup{ObjectMeta: x.Named(name)}
	g.Spec.DisplayName = "The " + name
	for _, edit := range edits {
		edit(g)
	}
	return g
}

func ofUsers(ids ...uint32) groupEdit {
	return func(g *v1alpha1.TeamTalkGroup) {
		g.Spec.Members.Users = []v1alpha1.UserID{}
		for _, id := range ids {
			g.Spec.Members.Users = append(g.Spec.Members.Users, v1alpha1.UserID(id))
		}
	}
}

func adopts(id uint32) groupEdit {
	return func(g *v1alpha1.TeamTalkGroup) { g.Spec.DisplayName, g.Spec.GroupID = "", new(v1alpha1.GroupID(id)) }
}

func (x *tenant) declareGroup(name string, edits ...groupEdit) *v1alpha1.TeamTalkGroup {
	x.Helper()
	g := x.group(name, edits...)
	x.Create(g)
	return g
}

// hasCome reports whether the current spec of a group has come to a reason.
func hasCome(reason string) func(*v1alpha1.TeamTalkGroup) bool {
	return func(g *v1alpha1.TeamTalkGroup) bool {
		ready := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ConditionReady)
		refused := meta.IsStatusConditionTrue(g.Status.Conditions, v1alpha1.ConditionStalled)
		waits := meta.IsStatusConditionTrue(g.Status.Conditions, v1alpha1.ConditionReconciling)
		return ready != nil && ready.Reason == reason && g.Status.ObservedGeneration == g.Generation &&
			(!refused || !waits)
	}
}

// awaitGroup waits until the current spec of a group has come to a reason.
func (x *tenant) awaitGroup(g *v1alpha1.TeamTalkGroup, reason string) *v1alpha1.TeamTalkGroup {
	x.Helper()
	return framework.AwaitObject(x.Tenant, g, reason, hasCome(reason))
}

// passesThrough waits until a version of a group after g has come to a reason, however soon that ends.
func (x *tenant) passesThrough(g *v1alpha1.TeamTalkGroup, reason string) {
	x.Helper()
	framework.AwaitVersion(x.Tenant, g, reason, hasCome(reason))
}

// chatGroups are the groups in TeamTalk that the tenant's bot has created.
func (x *tenant) chatGroups() (created []devserver.Group) {
	x.Helper()
	groups, err := x.TeamTalk.Groups()
	x.Must(err)
	for _, g := range groups {
		if g.Creator == x.Bot {
			created = append(created, g)
		}
	}
	return created
}

func (x *tenant) members(id uint32) []uint32 {
	x.Helper()
	groups, err := x.TeamTalk.Groups()
	x.Must(err)
	for _, g := range groups {
		if g.ID == id {
			return slices.Sorted(slices.Values(g.Members))
		}
	}
	x.Errorf("group %d does not exist", id)
	return nil
}

func (x *tenant) awaitMembers(id uint32, want ...uint32) {
	x.Helper()
	slices.Sort(want)
	x.EventuallySeen(func() string { return fmt.Sprintf("members %v, want %v", x.members(id), want) },
		func() bool { return slices.Equal(x.members(id), want) })
}

// setMembers has a group's members be set, as an operator of TeamTalk does.
func (x *tenant) setMembers(g *v1alpha1.TeamTalkGroup, users ...uint32) {
	x.Helper()
	ids := strings.Join(strings.Fields(fmt.Sprint(users)), ",")
	x.Patch(g, fmt.Sprintf(`{"spec":{"members":{"users":%s}}}`, ids))
}

// routerPeer is another peer of the tenant's router.
type routerPeer struct {
	*tenant
	peer *framework.RouterPeer
}

func (x *tenant) routerPeer() *routerPeer {
	x.Helper()
	return &routerPeer{x, x.RouterPeer()}
}

// awaitAnnounced waits for the announcement of a change of some users.
func (p *routerPeer) awaitAnnounced(group uint32, kind wire.GroupModifyType, users ...uint32) {
	p.Helper()
	slices.Sort(users)
	p.EventuallySeen(func() string {
		return fmt.Sprintf("%v of %v is not announced, only %v", kind, users, p.peer.Changes(int64(group)))
	}, func() bool {
		return slices.ContainsFunc(p.announced(group, kind), func(changed []uint32) bool { return slices.Equal(changed, users) })
	})
}

// awaitAllAnnounced waits until changes of all of some users are announced, and checks that each is of 100 at most.
func (p *routerPeer) awaitAllAnnounced(group uint32, kind wire.GroupModifyType, users ...uint32) {
	p.Helper()
	slices.Sort(users)
	var all []uint32
	p.EventuallySeen(func() string { return fmt.Sprintf("%v of %v is announced, want %v", kind, all, users) }, func() bool {
		all = nil
		for _, changed := range p.announced(group, kind) {
			if len(changed) > chatgroup.MaxChanged {
				p.Errorf("%d members in one announcement", len(changed))
			}
			all = append(all, changed...)
		}
		slices.Sort(all)
		return slices.Equal(slices.Compact(all), users)
	})
}

// announced returns the users of each announcement, in order.
func (p *routerPeer) announced(group uint32, kind wire.GroupModifyType) (all [][]uint32) {
	for _, c := range p.peer.Changes(int64(group)) {
		if c.GetChangeType() == kind {
			all = append(all, slices.Sorted(slices.Values(c.GetChgUserIdList())))
		}
	}
	return all
}

// notify tells the peers of the router that a group was changed.
func (p *routerPeer) notify(group uint32) {
	p.Helper()
	frame, err := pdu.New(wire.CommandGroupChangeNotify, 0, &wire.IMGroupChangeMemberNotify{
		UserId: proto.Uint32(p.Alice), ChangeType: wire.GroupModifyType_GROUP_MODIFY_TYPE_ADD.Enum(), GroupId: &group,
	})
	p.Must(err)
	_, err = p.peer.Write(frame.Append(nil))
	p.Must(err)
}

const added, removed = wire.GroupModifyType_GROUP_MODIFY_TYPE_ADD, wire.GroupModifyType_GROUP_MODIFY_TYPE_DEL

// TestGroup creates a group, changes it, has its drift corrected, and leaves it behind.
func TestGroup(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	router := x.routerPeer()
	o := x.declareGroup("oncall", ofUsers(x.Alice), func(g *v1alpha1.TeamTalkGroup) { g.Spec.AvatarURL = "https://example.com/a.png" })
	o = x.awaitGroup(o, v1alpha1.ReasonReady)
	created := x.chatGroups()
	if len(created) != 1 || created[0].Name != "The oncall" || created[0].Type != wire.GroupType_GROUP_TYPE_NORMAL ||
		created[0].Avatar != "https://example.com/a.png#teamtalkgroup-"+string(o.UID) {
		t.Fatalf("created %+v", created)
	}
	id := created[0].ID
	if o.Status.GroupID == nil || *o.Status.GroupID != v1alpha1.GroupID(id) || o.Status.CreateAttempt != nil ||
		o.Status.Members == nil || *o.Status.Members != 2 {
		t.Errorf("status %+v", o.Status)
	}
	x.awaitMembers(id, x.Bot, x.Alice)
	router.awaitAnnounced(id, added, x.Bot, x.Alice)

	x.setMembers(o, x.Bob, x.Mate)
	x.awaitGroup(o, v1alpha1.ReasonReady)
	x.awaitMembers(id, x.Bot, x.Bob, x.Mate)
	router.awaitAnnounced(id, added, x.Bob, x.Mate)
	router.awaitAnnounced(id, removed, x.Alice)

	x.Must(x.TeamTalk.SetMembers(id, x.Alice, x.Bob))
	router.notify(id)
	x.awaitMembers(id, x.Bot, x.Bob, x.Mate)
	x.Patch(o, `{"spec":{"membersPolicy":"AtLeast"}}`)
	x.awaitGroup(o, v1alpha1.ReasonReady)
	x.Must(x.TeamTalk.SetMembers(id, x.Alice, x.Bob))
	router.notify(id)
	x.awaitMembers(id, x.Bot, x.Alice, x.Bob, x.Mate)

	x.Deliver("m", "hello", func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.To = v1alpha1.Recipients{Groups: []v1alpha1.GroupID{v1alpha1.GroupID(id)}}
	})
	x.Delete(o)
	x.Must(x.TeamTalk.SetMembers(id, x.Alice))
	router.notify(id)
	again := x.awaitGroup(x.declareGroup("oncall"), v1alpha1.ReasonReady)
	if *again.Status.GroupID == v1alpha1.GroupID(id) || len(x.chatGroups()) != 2 {
		t.Errorf("another resource has group %d: %+v", *again.Status.GroupID, x.chatGroups())
	}
	x.awaitMembers(id, x.Alice)
}

// TestGroupAdopted: one resource manages a group, the older one, and as the system where another user has created it.
func TestGroupAdopted(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t, func(s *v1alpha1.TeamTalkServer) { s.Spec.Groups.AdoptAny = new(true) })
	older := x.awaitGroup(x.declareGroup("older", adopts(x.OnCall), ofUsers(x.Mate)), v1alpha1.ReasonReady)
	x.awaitMembers(x.OnCall, x.Bot, x.Mate, x.Alice, x.Bob)
	newer := x.declareGroup("newer", adopts(x.OnCall), func(g *v1alpha1.TeamTalkGroup) { g.Spec.MembersPolicy = v1alpha1.MembersExact })
	x.awaitGroup(newer, v1alpha1.ReasonGroupNotAdoptable)
	x.Patch(older, `{"spec":{"membersPolicy":"Exact"}}`)
	x.awaitGroup(older, v1alpha1.ReasonReady)
	x.awaitMembers(x.OnCall, x.Bot, x.Mate)
	x.Delete(older)
	x.awaitGroup(newer, v1alpha1.ReasonReady)
	x.awaitMembers(x.OnCall, x.Bot)

	created := x.awaitGroup(x.declareGroup("created", ofUsers(x.Alice)), v1alpha1.ReasonReady)
	thief := x.declareGroup("thief", adopts(uint32(*created.Status.GroupID)))
	x.awaitGroup(thief, v1alpha1.ReasonGroupNotAdoptable)
	x.Delete(created)
	x.awaitGroup(thief, v1alpha1.ReasonReady)
	x.Patch(x.Server(), `{"spec":{"groups":{"adoptAny":false}}}`)
	x.awaitGroup(newer, v1alpha1.ReasonGroupNotAdoptable)
	x.awaitGroup(thief, v1alpha1.ReasonGroupNotAdoptable)
}

// TestGroupUnanswered: whatever becomes of an attempt to create it, there is one group.
func TestGroupUnanswered(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]devserver.Fault{
		"executed":          {Kind: devserver.NoAnswer, Command: wire.CommandGroupCreateReq, Count: 1},
		"not executed":      {Kind: devserver.Drop, Command: wire.CommandGroupCreateReq, Count: 1},
		"db_proxy crashes":  {Kind: devserver.CloseAfterStore, Command: wire.CommandGroupCreateReq, Count: 1},
		"before it is made": {Kind: devserver.CloseBeforeStore, Command: wire.CommandGroupCreateReq, Count: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTenantWithTeamTalk(t)
			x.AddFault(f)
			o := x.declareGroup("oncall", ofUsers(x.Alice))
			x.passesThrough(o, v1alpha1.ReasonNoAnswer)
			o = x.awaitGroup(o, v1alpha1.ReasonReady)
			if created := x.chatGroups(); len(created) != 1 || created[0].ID != uint32(*o.Status.GroupID) {
				t.Errorf("created %+v, status %+v", created, o.Status)
			}
			x.awaitMembers(uint32(*o.Status.GroupID), x.Bot, x.Alice)
		})
	}
}

// TestGroupMany: 2,000 members are added 100 at a time.
func TestGroupMany(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	x.Timeout = 3 * framework.Timeout
	router := x.routerPeer()
	var many []uint32
	for n := range uint32(v1alpha1.MaxGroupMembers) {
		id := x.Bot + 100_000 + n
		many = append(many, id)
		x.Must(x.TeamTalk.AddUser(framework.User(id)))
	}
	o := x.awaitGroup(x.declareGroup("all", ofUsers(many...)), v1alpha1.ReasonReady)
	id := uint32(*o.Status.GroupID)
	x.awaitMembers(id, append(slices.Clone(many), x.Bot)...)
	router.awaitAllAnnounced(id, added, append(slices.Clone(many), x.Bot)...)
	x.setMembers(o, many[500:]...)
	x.awaitGroup(o, v1alpha1.ReasonReady)
	x.awaitMembers(id, append(slices.Clone(many[500:]), x.Bot)...)
	router.awaitAllAnnounced(id, removed, many[:500]...)
}

// TestGroupWaits: a message to a group whose members are being changed is for the members after the change.
func TestGroupWaits(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	o := x.awaitGroup(x.declareGroup("oncall", ofUsers(x.Alice)), v1alpha1.ReasonReady)
	id := *o.Status.GroupID
	toGroup := func(m *v1alpha1.TeamTalkMessage) { m.Spec.To = v1alpha1.Recipients{Groups: []v1alpha1.GroupID{id}} }
	x.Deliver("first", "before", toGroup)
	x.AddFault(devserver.Fault{Kind: devserver.IDZero, Command: wire.CommandGroupChangeReq, Count: 2})
	x.setMembers(o, x.Alice, x.Bob)
	x.passesThrough(o, v1alpha1.ReasonStoreRejected)
	x.Declare("second", "after", toGroup)
	x.AwaitRows(2)
	if members := x.members(uint32(id)); !slices.Contains(members, x.Bob) {
		t.Errorf("sent to %v", members)
	}
	x.awaitGroup(o, v1alpha1.ReasonReady)
}

// TestGroupRestart: drift is corrected after a restart, and nothing is created again.
func TestGroupRestart(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	x := newTenantOf(t, c)
	o := x.awaitGroup(x.declareGroup("oncall", ofUsers(x.Alice)), v1alpha1.ReasonReady)
	id := uint32(*o.Status.GroupID)
	x.StopLeader()
	x.Must(x.TeamTalk.SetMembers(id, x.Bot, x.Bob))
	later := x.declareGroup("later", ofUsers(x.Bob))
	x.StartLeader()
	x.awaitMembers(id, x.Bot, x.Alice)
	x.awaitGroup(later, v1alpha1.ReasonReady)
	if n := len(x.chatGroups()); n != 2 {
		t.Errorf("%d groups were created, want 2", n)
	}
}

func TestGroupAdmission(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	spec := func(edit func(*v1alpha1.TeamTalkGroupSpec)) groupEdit {
		return func(g *v1alpha1.TeamTalkGroup) { edit(&g.Spec) }
	}
	avatar := func(url string) groupEdit { return spec(func(s *v1alpha1.TeamTalkGroupSpec) { s.AvatarURL = url }) }
	name := func(name string) groupEdit { return spec(func(s *v1alpha1.TeamTalkGroupSpec) { s.DisplayName = name }) }
	many := make([]uint32, v1alpha1.MaxGroupMembers+1)
	for i := range many {
		many[i] = uint32(i) + 1
	}
	manyNames := make([]string, 1001)
	for i := range manyNames {
		manyNames[i] = fmt.Sprint("user.", i)
	}
	tests := map[string]struct {
		edit groupEdit
		want string // in the refusal; "": none
	}{
		"a new group":       {ofUsers(x.Alice), ""},
		"2,000 members":     {ofUsers(many[1:]...), ""},
		"2,001 members":     {ofUsers(many...), "must have at most 2000 items"},
		"a member twice":    {ofUsers(x.Alice, x.Alice), "Duplicate value"},
		"no name":           {all(ofUsers(x.Alice), name("")), "set displayName to create a group, or groupID"},
		"blanks":            {name("  "), "visible"},
		"a NUL":             {name("a\x00b"), "NUL"},
		"a long name":       {name(strings.Repeat("名", 129)), "Too long"},
		"an adopted group":  {adopts(7), ""},
		"name and id":       {all(adopts(7), name("x")), "keeps its name"},
		"an avatar, and id": {all(adopts(7), avatar("https://a.example")), "keeps its avatar"},
		"a fragment":        {avatar("https://a.example/#x"), "avatarURL"},
		"no URL":            {avatar("javascript:alert(1)"), "avatarURL"},
		"names":             {ofNames("zhang.san", "li.si"), ""},
		"a name twice":      {ofNames("zhang.san", "zhang.san"), "Duplicate value"},
		"an empty name":     {ofNames(""), "should be at least 1 chars long"},
		"a long login name": {ofNames(strings.Repeat("名", 65)), "Too long"},
		"1,001 names":       {ofNames(manyNames...), "must have at most 1000 items"},
		"2,000 in all":      {all(ofUsers(many[:1000]...), ofNames(manyNames[:1000]...)), ""},
		"2,001 in all":      {all(ofUsers(many[:1001]...), ofNames(manyNames[:1000]...)), "at most 2000 members in users and userNames together"},
		"a policy":          {spec(func(s *v1alpha1.TeamTalkGroupSpec) { s.MembersPolicy = "Some" }), "supported values"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := world.Admin.Create(t.Context(), x.group("g", tc.edit), client.DryRunAll)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
	created, adopted := x.declareGroup("created", avatar("https://a.example/a")), x.declareGroup("adopted", adopts(7))
	for patch, tc := range map[string]struct {
		of   *v1alpha1.TeamTalkGroup
		want string
	}{
		`{"spec":{"displayName":"Another"}}`:                         {created, "TeamTalk cannot rename a group"},
		`{"spec":{"avatarURL":"https://a.example/b"}}`:               {created, "avatarURL is immutable"},
		`{"spec":{"avatarURL":null}}`:                                {created, "avatarURL is immutable"},
		`{"spec":{"displayName":null,"groupID":8}}`:                  {created, "immutable"},
		`{"spec":{"groupID":8}}`:                                     {adopted, "groupID is immutable"},
		`{"spec":{"serverRef":{"name":"another"}}}`:                  {adopted, "serverRef is immutable"},
		`{"spec":{"membersPolicy":"Exact","members":{"users":[3]}}}`: {adopted, ""},
	} {
		err := x.TryPatch(tc.of, patch)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, want %q", patch, err, tc.want)
		}
	}
}

func all(edits ...groupEdit) groupEdit {
	return func(g *v1alpha1.TeamTalkGroup) {
		for _, edit := range edits {
			edit(g)
		}
	}
}
