// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
	"github.com/teamtalk-io/teamtalk-operator/test/framework/controlplane"
)

const (
	// operatorUser is the user of the operator at the API server. Its requests are counted.
	operatorUser = "teamtalk-operator"
	// bareUser is the user of the bare client, the other side of a ratio. It has the same rights, so that the API
	// server treats both alike, and may patch statuses.
	bareUser = "bare-client"

	leaseNamespace = "default"
	// namespace is what the operator works in, bareNamespace what the bare client patches.
	namespace     = "bench"
	bareNamespace = "bare"
	// messages is the API's name of the kind.
	messages = "teamtalkmessages"
	// patience bounds every wait. It is long, because a slow machine is no failure.
	patience = 5 * time.Minute
)

// world is the state that figures share: a cluster with one server, a TeamTalk, and an operator if one was left.
type world struct {
	framework.Cleanups
	o options
	// latency is the delay of teamtalk-dev.
	latency    time.Duration
	dir        string
	plane      *controlplane.ControlPlane
	audit      *auditLog
	admin      client.WithWatch
	asBare     client.Client
	kubeconfig string
	server     *v1alpha1.TeamTalkServer
	teamtalk   *teamtalk
	bare       *bare
	binary     string
	log        *framework.Log
	// operator is the one that leads, or nil.
	operator *operator
	// tracker belongs to the figure that is measured.
	tracker *tracker
}

func newWorld(ctx context.Context, o options, latency time.Duration) (*world, error) {
	w := &world{o: o, latency: latency, log: &framework.Log{}, binary: o.operator}
	err := framework.Try(func() {
		w.dir = framework.MustGet(os.MkdirTemp("", "teamtalk-bench-"))
		w.Cleanup(func() { _ = os.RemoveAll(w.dir) })
		w.startPlane(ctx)
		w.teamtalk = w.startTeamTalk(ctx)
		w.addServer(ctx)
		w.bare = w.dialBare(ctx)
		w.bare.checkUsers(ctx, o.users)
		if w.binary == "" {
			w.binary = framework.MustGet(framework.Build(ctx, "teamtalk-operator", w.dir))
		}
		w.Cleanup(func() {
			if w.operator != nil {
				w.operator.Kill()
			}
		})
	})
	if err != nil {
		w.Stop()
	}
	return w, err
}

// startPlane starts the control plane with all that the operator needs in it.
func (w *world) startPlane(ctx context.Context) {
	var flags map[string][]string
	w.audit, flags = newAuditLog(w.dir)
	var err error
	w.plane, w.admin, err = framework.StartPlane(ctx, controlplane.Options{Log: say, APIServerFlags: flags})
	framework.Must(err)
	w.Cleanup(func() { _ = w.plane.Stop() })
	for _, user := range []string{operatorUser, bareUser} {
		framework.Must(framework.BindOperator(ctx, w.admin, user, leaseNamespace))
	}
	w.grant(ctx, bareUser, messages+"/status", "patch")
	w.grant(ctx, bareUser, messages, "create")
	// These are the rights that config/rbac grants a gateway that records messages. Here it runs as the operator's
	// user.
	w.grant(ctx, operatorUser, messages, "create", "get", "list", "watch")
	bareConfig := framework.MustGet(w.plane.User(bareUser))
	bareConfig.QPS = -1 // the API server's limit is the limit
	w.asBare = framework.MustGet(client.New(bareConfig, client.Options{}))
	w.kubeconfig = filepath.Join(w.dir, "kubeconfig")
	framework.Must(framework.WriteKubeconfig(w.kubeconfig, framework.MustGet(w.plane.User(operatorUser))))
}

// grant lets a user do something with messages or their statuses.
func (w *world) grant(ctx context.Context, user, resource string, verbs ...string) {
	name := user + "-" + strings.ReplaceAll(resource, "/", "-")
	framework.Must(w.admin.Create(ctx, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{resource}, Verbs: verbs,
		}},
	}))
	framework.Must(w.admin.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Subjects:   framework.Users(user),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
	}))
}

// addServer adds the namespaces, the key and the server "default", which has the default limits.
func (w *world) addServer(ctx context.Context) {
	w.server = framework.Server(namespace, w.teamtalk.dbProxy, w.teamtalk.router, w.o.sender)
	for _, name := range []string{namespace, bareNamespace} {
		framework.Must(framework.CreateNamespace(ctx, w.admin, operatorUser, name))
	}
	framework.Must(w.admin.Create(ctx, framework.KeySecret(namespace, w.o.key)))
	framework.Must(w.admin.Create(ctx, w.server))
}

// clear deletes all messages of a namespace.
func (w *world) clear(ctx context.Context, in string) {
	err := w.admin.DeleteAllOf(ctx, &v1alpha1.TeamTalkMessage{}, client.InNamespace(in))
	framework.Mustf(err, "delete the messages of an earlier round")
}

// sayLog prints the last lines of the programs' logs.
func (w *world) sayLog() {
	lines := strings.Split(strings.TrimSpace(w.log.String()), "\n")
	say("the last lines of the logs:\n%s", strings.Join(lines[max(0, len(lines)-30):], "\n"))
}

// until waits for a condition, which is checked every few milliseconds.
func until(ctx context.Context, what string, met func(context.Context) bool) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not within %s", patience))
	defer cancel()
	framework.Must(framework.AwaitEvery(ctx, 5*time.Millisecond, what,
		framework.Checked(func(ctx context.Context) (string, bool) { return "", met(ctx) })))
}

// teamtalk is the TeamTalk that receives messages: the user's own, or teamtalk-dev.
type teamtalk struct {
	dbProxy, router string
	// inbox is the inbox of teamtalk-dev, which sets its faults.
	inbox string
}

// startTeamTalk runs teamtalk-dev, unless the user has named a TeamTalk. It is a separate process, so that its work
// does not count as that of the operator or the bench.
func (w *world) startTeamTalk(ctx context.Context) *teamtalk {
	if own := w.o.own; own != nil {
		return &teamtalk{dbProxy: own.DBProxy, router: own.Router}
	}
	database := filepath.Join(w.dir, "teamtalk.db")
	seed(ctx, database, w.o)
	binary := framework.MustGet(framework.Build(ctx, "teamtalk-dev", w.dir))
	addresses := framework.MustGet(framework.FreeAddresses(3))
	t := &teamtalk{dbProxy: addresses[0], router: addresses[1], inbox: addresses[2]}
	process := framework.MustGet(framework.Start(binary, w.log, "--database", database,
		"--db-proxy-address", t.dbProxy, "--router-address", t.router, "--inbox-address", addresses[2],
		"--latency", w.latency.String()))
	w.Cleanup(process.Kill)
	return t
}

// seed fills a database with the users and the groups that messages go to.
func seed(ctx context.Context, database string, o options) {
	all := devserver.Seed{Users: []devserver.User{framework.User(o.sender)}}
	for _, id := range o.users {
		all.Users = append(all.Users, framework.User(id))
	}
	members := append([]uint32{o.sender}, o.users[:devMembers]...)
	for _, id := range o.groups {
		all.Groups = append(all.Groups, devserver.Group{ID: id, Name: fmt.Sprintf("bench-%d", id), Members: members})
	}
	s, err := framework.StartTeamTalk(ctx, func(options *devserver.Options) {
		options.Database, options.Seed = database, all
	})
	framework.Mustf(err, "fill teamtalk-dev's database")
	s.Stop()
}
