// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
	"github.com/teamtalk-io/teamtalk-operator/test/framework/controlplane"
)

const (
	// operatorUser is who the operator is at the API server; its requests are counted.
	operatorUser = "teamtalk-operator"
	// bareUser is the client that a ratio's other side is measured with. It has the
	// same rights, so that the API server treats both alike, and may patch statuses.
	bareUser = "bare-client"

	leaseNamespace = "default"
	// namespace has the server and what the operator delivers; bareNamespace what
	// the bare client patches.
	namespace     = "bench"
	bareNamespace = "bare"
	// messages is the API's name of the kind.
	messages = "teamtalkmessages"
	// patience bounds every wait: generous, since a slow machine is no failure.
	patience = 5 * time.Minute
)

// world is what figures share: a cluster with one server in it, a TeamTalk, and
// a running operator, if a figure has left one.
type world struct {
	o options
	// latency is teamtalk-dev's.
	latency    time.Duration
	dir        string
	plane      *controlplane.ControlPlane
	audit      *auditLog
	admin      client.WithWatch
	asBare     client.Client
	adminRaw   *rest.RESTClient
	kubeconfig string
	server     *v1alpha1.TeamTalkServer
	teamtalk   *teamtalk
	bare       *bare
	binary     string
	log        *framework.Log
	// operator is the one that leads, or nil.
	operator *operator
	ends     []func()
}

func newWorld(ctx context.Context, o options, latency time.Duration) (_ *world, err error) {
	w := &world{o: o, latency: latency, log: &framework.Log{}}
	defer func() {
		if err != nil {
			w.stop()
		}
	}()
	if w.dir, err = os.MkdirTemp("", "teamtalk-bench-"); err != nil {
		return nil, fmt.Errorf("make a folder for the bench: %w", err)
	}
	w.ends = append(w.ends, func() { _ = os.RemoveAll(w.dir) })
	if err := w.startPlane(ctx); err != nil {
		return nil, err
	}
	if w.teamtalk, err = startTeamTalk(ctx, w.dir, o, latency, w.log); err != nil {
		return nil, err
	}
	w.ends = append(w.ends, w.teamtalk.stop)
	if err := w.addServer(ctx); err != nil {
		return nil, err
	}
	key, err := cipher.New(o.key)
	if err != nil {
		return nil, err
	}
	proxy := w.server.Spec.DBProxy
	if w.bare, err = dialBare(ctx, w.teamtalk.dbProxy, int(proxy.Connections), int(proxy.MaxInFlight),
		int(proxy.MaxGroupInFlight), key, o.sender); err != nil {
		return nil, err
	}
	w.ends = append(w.ends, w.bare.stop)
	if err := w.bare.knows(ctx, o.users); err != nil {
		return nil, err
	}
	if w.binary = o.operator; w.binary == "" {
		if w.binary, err = framework.Build(ctx, "teamtalk-operator", w.dir); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// startPlane starts the control plane with all that the operator needs in it.
func (w *world) startPlane(ctx context.Context) error {
	audit, flags, err := newAuditLog(w.dir)
	if err != nil {
		return err
	}
	w.audit = audit
	w.plane, w.admin, err = framework.StartPlane(ctx, controlplane.Options{Log: say, APIServerFlags: flags})
	if err != nil {
		return err
	}
	w.ends = append(w.ends, func() { _ = w.plane.Stop() })
	admin := unlimited(w.plane.Config())
	admin.GroupVersion, admin.APIPath = &v1alpha1.GroupVersion, "/apis"
	admin.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	if w.adminRaw, err = rest.RESTClientFor(admin); err != nil {
		return err
	}
	for _, user := range []string{operatorUser, bareUser} {
		if err := framework.BindOperator(ctx, w.admin, user, leaseNamespace); err != nil {
			return err
		}
	}
	if err := w.grant(ctx, bareUser, messages+"/status", "patch"); err != nil {
		return err
	}
	// What config/rbac lets a gateway do that records messages: here the
	// operator's user starts it.
	if err := w.grant(ctx, operatorUser, messages, "create", "get", "list", "watch"); err != nil {
		return err
	}
	bareConfig, err := w.plane.User(bareUser)
	if err != nil {
		return err
	}
	if w.asBare, err = client.New(unlimited(bareConfig), client.Options{}); err != nil {
		return err
	}
	operatorConfig, err := w.plane.User(operatorUser)
	if err != nil {
		return err
	}
	w.kubeconfig = filepath.Join(w.dir, "kubeconfig")
	return framework.WriteKubeconfig(w.kubeconfig, operatorConfig)
}

// grant lets a user do something with messages or their statuses.
func (w *world) grant(ctx context.Context, user, resource string, verbs ...string) error {
	name := user + "-" + strings.ReplaceAll(resource, "/", "-")
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{resource}, Verbs: verbs,
		}},
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Subjects:   framework.Users(user),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
	}
	for _, o := range []client.Object{role, binding} {
		if err := w.admin.Create(ctx, o); err != nil {
			return fmt.Errorf("grant %s what it needs: %w", user, err)
		}
	}
	return nil
}

// unlimited lifts the client's own rate limit: the API server's is the limit.
func unlimited(cfg *rest.Config) *rest.Config {
	cfg.QPS = -1
	return cfg
}

// addServer adds the namespaces, the key and the server "default", all of whose
// limits are left to their defaults.
func (w *world) addServer(ctx context.Context) error {
	w.server = framework.Server(namespace, w.teamtalk.dbProxy, w.teamtalk.router, w.o.sender)
	if err := w.admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		return fmt.Errorf("add the server's namespace: %w", err)
	}
	if err := framework.GrantNamespace(ctx, w.admin, operatorUser, namespace); err != nil {
		return err
	}
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: bareNamespace}},
		framework.KeySecret(namespace, w.o.key),
		w.server,
	} {
		if err := w.admin.Create(ctx, o); err != nil {
			return fmt.Errorf("add the server and its key: %w", err)
		}
	}
	return nil
}

// clear removes all messages of a namespace.
func (w *world) clear(ctx context.Context, in string) error {
	if err := w.admin.DeleteAllOf(ctx, &v1alpha1.TeamTalkMessage{}, client.InNamespace(in)); err != nil {
		return fmt.Errorf("remove the messages of an earlier round: %w", err)
	}
	return nil
}

// stop ends all that the world has started.
func (w *world) stop() {
	if w.operator != nil {
		w.operator.Kill()
		w.operator = nil
	}
	for len(w.ends) > 0 {
		last := len(w.ends) - 1
		w.ends[last]()
		w.ends = w.ends[:last]
	}
}

// sayLog prints the end of what the programs have logged.
func (w *world) sayLog() {
	lines := strings.Split(strings.TrimSpace(w.log.String()), "\n")
	say("the last lines of the logs:\n%s", strings.Join(lines[max(0, len(lines)-30):], "\n"))
}

// until waits for a condition, which is looked at every few milliseconds.
func until(ctx context.Context, what string, condition func(context.Context) (bool, error)) error {
	err := wait.PollUntilContextTimeout(ctx, 5*time.Millisecond, patience, true, condition)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = fmt.Errorf("not within %s", patience)
	}
	if err != nil {
		return fmt.Errorf("wait until %s: %w", what, err)
	}
	return nil
}
