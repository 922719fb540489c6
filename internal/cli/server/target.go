// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/cli/kube"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

// reachLong is part of the help of the commands that connect to TeamTalk.
const reachLong = `The command connects to db_proxy from where it runs. If db_proxy can be reached only inside
the cluster, forward a port to it, and name that with --db-proxy:

  kubectl port-forward -n chat service/db-proxy 10600 &
  %s --db-proxy 127.0.0.1:10600`

// targetFlags select a TeamTalkServer, the way to its db_proxy and, for some commands, one of its senders.
type targetFlags struct {
	server, dbProxy string
	sender          kube.ID
}

func (f *targetFlags) addFlags(a *kube.Access, c *cobra.Command) {
	c.Flags().StringVar(&f.server, "server", v1alpha1.DefaultServerName, "TeamTalkServer, as [namespace/]`name`")
	c.Flags().StringVar(&f.dbProxy, "db-proxy", "",
		"`address` of db_proxy as host:port, instead of the TeamTalkServer's endpoints; for kubectl port-forward")
	_ = c.RegisterFlagCompletionFunc("server", a.Complete(&v1alpha1.TeamTalkServerList{}, 0)) // the flag exists
}

func (f *targetFlags) addSender(c *cobra.Command) {
	c.Flags().Var(&f.sender, "sender", "`id` of a sender of the TeamTalkServer (default its senders.default)")
}

// checkAddress returns the usage error of a flag with an address.
func checkAddress(flag, address string) error {
	if address == "" {
		return nil
	}
	if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
		return kube.Usagef("--%s %q is not an address: use host:port, such as 127.0.0.1:10600", flag, address)
	}
	return nil
}

// target is the TeamTalkServer of a command.
type target struct {
	client client.Client
	server *v1alpha1.TeamTalkServer
	// sender is the user in whose name the command reads: a sender of the server.
	sender uint32
	// addresses are those of db_proxy.
	addresses []string
}

// find reads the TeamTalkServer.
func (f *targetFlags) find(ctx context.Context, a *kube.Access) (*target, error) {
	if err := checkAddress("db-proxy", f.dbProxy); err != nil {
		return nil, err
	}
	name, err := kube.ParseServer(f.server)
	if err != nil {
		return nil, err
	}
	c, namespace, err := a.ClientAndNamespace()
	if err != nil {
		return nil, err
	}
	if name.Namespace == "" {
		name.Namespace = namespace
	}
	s, err := getServer(ctx, a, c, name, "use --server [NAMESPACE/]NAME or -n")
	if err != nil {
		return nil, err
	}
	sender, err := senderOf(s, f.sender)
	if err != nil {
		return nil, err
	}
	t := &target{client: c, server: s, sender: sender, addresses: connection.ConfigOf(s).DBProxy}
	if f.dbProxy != "" {
		t.addresses = []string{f.dbProxy}
	}
	return t, nil
}

// getServer reads a TeamTalkServer. The error names those that the namespace has instead.
func getServer(
	ctx context.Context, a *kube.Access, c client.Client, name types.NamespacedName, advice string,
) (*v1alpha1.TeamTalkServer, error) {
	s := &v1alpha1.TeamTalkServer{}
	err := c.Get(ctx, name, s)
	if !apierrors.IsNotFound(err) {
		return s, err
	}
	text := fmt.Sprintf("namespace %q has no TeamTalkServer %q", name.Namespace, name.Name)
	list := &v1alpha1.TeamTalkServerList{}
	if c.List(ctx, list, client.InNamespace(name.Namespace)) == nil && len(list.Items) > 0 {
		text += ", and has " + listed(list.Items, func(s v1alpha1.TeamTalkServer) string { return strconv.Quote(s.Name) })
	}
	return nil, fmt.Errorf("%s: %s; \"%s\" lists all", text, advice, a.Advise("", kube.Command+" servers -A"))
}

// maxListed is how many names an error lists.
const maxListed = 10

// listed lists names, up to maxListed.
func listed[T any](items []T, name func(T) string) string {
	var names []string
	for _, item := range items[:min(len(items), maxListed)] {
		names = append(names, name(item))
	}
	if more := len(items) - maxListed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names, ", "), more)
	}
	return strings.Join(names, ", ")
}

// sendersOf returns the users of spec.senders, the default one first.
func sendersOf(s *v1alpha1.TeamTalkServer) []uint32 {
	ids := []uint32{uint32(s.Spec.Senders.Default)}
	for _, id := range s.Spec.Senders.Allowed {
		if id != s.Spec.Senders.Default {
			ids = append(ids, uint32(id))
		}
	}
	return ids
}

// senderOf returns the user in whose name a command reads.
func senderOf(s *v1alpha1.TeamTalkServer, id kube.ID) (uint32, error) {
	if id == 0 {
		return uint32(s.Spec.Senders.Default), nil
	}
	if s.Spec.Senders.Check(v1alpha1.UserID(id)) != nil {
		return 0, fmt.Errorf("user %d is not a sender of TeamTalkServer %q: use one of its senders %s, "+
			"or add it to spec.senders", id, s.Name, listed(sendersOf(s), func(id uint32) string { return fmt.Sprint(id) }))
	}
	return uint32(id), nil
}

// notPermittedError says that the user may not read the key.
type notPermittedError struct{ error }

// keys reads the AES keys.
func (t *target) keys(ctx context.Context) (cipher.Keys, error) {
	ref := t.server.Spec.AESKeySecretRef
	secret := &corev1.Secret{}
	err := t.client.Get(ctx, client.ObjectKey{Namespace: t.server.Namespace, Name: ref.Name}, secret)
	switch {
	case apierrors.IsForbidden(err):
		return cipher.Keys{}, notPermittedError{fmt.Errorf("you may not read Secret %q in namespace %q, which has the AES "+
			"key: who may read it may read messages; ask for get on this Secret", ref.Name, t.server.Namespace)}
	case apierrors.IsNotFound(err):
		return cipher.Keys{}, fmt.Errorf("namespace %q has no Secret %q with the AES key: create it, or correct "+
			"aesKeySecretRef of TeamTalkServer %q", t.server.Namespace, ref.Name, t.server.Name)
	case err != nil:
		return cipher.Keys{}, err
	}
	keys, cause := connection.KeysOf(secret.Data, ref)
	if cause != nil {
		return cipher.Keys{}, errors.New(cause.Message)
	}
	return keys, nil
}

// read connects to the first db_proxy that can be reached, and has a function read from it.
func (t *target) read(ctx context.Context, do func(*dbproxy.Client) error) error {
	var faults []string
	for _, address := range t.addresses {
		c, stop, err := dialDBProxy(ctx, address)
		if err == nil {
			defer stop()
			return explainRead(address, do(c))
		}
		faults = append(faults, err.Error())
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return fmt.Errorf("%s: if it can be reached only inside the cluster, use kubectl port-forward and --db-proxy; "+
		"see --help", strings.Join(faults, "; "))
}

// explainRead says what may be wrong with a db_proxy that does not answer.
func explainRead(address string, err error) error {
	const advice = "is it the port of db_proxy_server, and is its database up?"
	switch {
	case errors.Is(err, dbproxy.ErrNoAnswer):
		return fmt.Errorf("db_proxy %s is connected and does not answer: %s", address, advice)
	case errors.Is(err, dbproxy.ErrConnectionLost):
		return fmt.Errorf("db_proxy %s ends the connection instead of an answer: %s", address, advice)
	}
	return err
}

// checkSender returns an error if the sender does not exist: db_proxy shows nothing to it.
func (t *target) checkSender(ctx context.Context, c dbproxy.DirectoryReads) error {
	found, err := c.Users(ctx, t.sender, []uint32{t.sender})
	switch {
	case err != nil:
		return fmt.Errorf("read user %d from db_proxy: %w", t.sender, err)
	case len(found) == 0:
		return fmt.Errorf("db_proxy shows no user %d, in whose name you read: correct spec.senders of TeamTalkServer %q, "+
			"or use another --sender; if the user exists, db_proxy cannot read its database", t.sender, t.server.Name)
	}
	return nil
}
