// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"net"

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

// targetFlags select a TeamTalkServer, and the way to its db_proxy.
type targetFlags struct {
	server, dbProxy string
}

func (f *targetFlags) addFlags(a *kube.Access, c *cobra.Command) {
	c.Flags().StringVar(&f.server, "server", v1alpha1.DefaultServerName, "TeamTalkServer, as [namespace/]`name`")
	c.Flags().StringVar(&f.dbProxy, "db-proxy", "",
		"`address` of db_proxy as host:port, instead of the TeamTalkServer's endpoints; for kubectl port-forward")
	_ = c.RegisterFlagCompletionFunc("server", a.Complete(&v1alpha1.TeamTalkServerList{}, 0)) // the flag exists
}

// target is the TeamTalkServer of a command.
type target struct {
	client client.Client
	server *v1alpha1.TeamTalkServer
	// addresses are those of db_proxy.
	addresses []string
}

// find reads the TeamTalkServer.
func (f *targetFlags) find(ctx context.Context, a *kube.Access) (*target, error) {
	if f.dbProxy != "" {
		if host, port, err := net.SplitHostPort(f.dbProxy); err != nil || host == "" || port == "" {
			return nil, kube.Usagef("--db-proxy %q is not an address: use host:port, such as 127.0.0.1:10600", f.dbProxy)
		}
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
	s, err := getServer(ctx, c, name)
	if err != nil {
		return nil, err
	}
	t := &target{client: c, server: s, addresses: connection.ConfigOf(s).DBProxy}
	if f.dbProxy != "" {
		t.addresses = []string{f.dbProxy}
	}
	return t, nil
}

func getServer(ctx context.Context, c client.Client, name types.NamespacedName) (*v1alpha1.TeamTalkServer, error) {
	s := &v1alpha1.TeamTalkServer{}
	err := c.Get(ctx, name, s)
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("namespace %q has no TeamTalkServer %q: use --server [NAMESPACE/]NAME or -n; "+
			"\"%s servers -A\" lists all", name.Namespace, name.Name, kube.Command)
	}
	return s, err
}

// connect connects to the first db_proxy that can be reached. The caller calls stop.
func (t *target) connect(ctx context.Context) (c *dbproxy.Client, stop func(), err error) {
	var faults []error
	for _, address := range t.addresses {
		c, stop, err := dialDBProxy(ctx, address)
		if err == nil {
			return c, stop, nil
		}
		faults = append(faults, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, nil, fmt.Errorf("%w: if it can be reached only inside the cluster, use kubectl port-forward and "+
		"--db-proxy; see --help", errors.Join(faults...))
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
		return cipher.Keys{}, fmt.Errorf("%s", cause.Message)
	}
	return keys, nil
}

// sender returns the user in whose name the command reads: a sender of the server.
func (t *target) sender(id kube.ID) (uint32, error) {
	if id == 0 {
		return uint32(t.server.Spec.Senders.Default), nil
	}
	if t.server.Spec.Senders.Check(v1alpha1.UserID(id)) != nil {
		return 0, fmt.Errorf("user %d is not a sender of TeamTalkServer %q: conversations of its senders can be read, "+
			"see its spec.senders", id, t.server.Name)
	}
	return uint32(id), nil
}
