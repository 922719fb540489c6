// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
)

// Exit codes of the plugin.
const (
	// CodeError: the command failed.
	CodeError = 1
	// CodeUsage: the command line is wrong. Nothing was done.
	CodeUsage = 2
	// CodeNotDelivered: the message has finished, and some recipient does not have it, or may not have it.
	CodeNotDelivered = 3
	// CodeInProgress: the message had not finished in time. It remains, and the operator continues.
	CodeInProgress = 4
	// CodeInterrupted: the user has interrupted the command.
	CodeInterrupted = 130
)

// codeError is an error with an exit code.
type codeError struct {
	error
	code int
}

// Unwrap is for errors.As.
func (e codeError) Unwrap() error { return e.error }

// Errorf returns an error with an exit code.
func Errorf(code int, format string, args ...any) error {
	return codeError{fmt.Errorf(format, args...), code}
}

// UsageError returns an error of the command line.
func UsageError(err error) error { return codeError{err, CodeUsage} }

// Usagef is UsageError with a new error.
func Usagef(format string, args ...any) error { return Errorf(CodeUsage, format, args...) }

// Code returns the exit code for an error.
func Code(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[codeError](err); ok {
		return e.code
	}
	return CodeError
}

// Explain returns one line that says what was wrong, where, and what to do.
func (a *Access) Explain(err error) string {
	return Printable(strings.Join(strings.Fields(a.explain(err)), " "))
}

func (a *Access) explain(err error) string {
	if _, ok := errors.AsType[codeError](err); ok {
		return err.Error()
	}
	status, _ := errors.AsType[*apierrors.StatusError](err)
	request, isRequest := errors.AsType[*url.Error](err)
	file, isFile := errors.AsType[*fs.PathError](err)
	switch {
	case clientcmd.IsEmptyConfig(err), isRequest && status == nil && a.hasNoCluster():
		return "there is no cluster to talk to: set KUBECONFIG to a file that exists, or use --kubeconfig FILE"
	case isFile && file.Path == *a.Config.KubeConfig:
		return fmt.Sprintf("the kubeconfig %q cannot be read: %v: correct --kubeconfig", file.Path, file.Err)
	case clientcmd.IsContextNotFound(err):
		return fmt.Sprintf("the kubeconfig has no context %q: \"kubectl config get-contexts\" lists them", a.ContextName())
	case meta.IsNoMatchError(err):
		return fmt.Sprintf("%s has no TeamTalk resources: install the operator's CRDs (docs/how-to/install.md), or use "+
			"another --context", a.clusterName())
	case isAbsent(err):
		return a.explainAbsent(status)
	case apierrors.IsForbidden(err):
		return err.Error() + ": ask for this permission, or use another --context or namespace"
	case apierrors.IsAlreadyExists(err):
		return err.Error() + ": choose another --name, or leave it out"
	case apierrors.IsUnauthorized(err):
		return a.clusterName() + " does not accept your credentials: renew those of your kubeconfig, or use another --context"
	case isRequest && status == nil:
		return fmt.Sprintf("%s cannot be reached: %v: check the kubeconfig and the network", a.clusterName(), request.Err)
	}
	return err.Error()
}

// clusterName names the cluster of the kubeconfig's context.
func (a *Access) clusterName() string {
	if name := a.ContextName(); name != "" {
		return fmt.Sprintf("the cluster of context %q", name)
	}
	return "the cluster"
}

// hasNoCluster reports whether neither a kubeconfig nor a Pod names a cluster. kubectl takes localhost:8080 then.
func (a *Access) hasNoCluster() bool {
	raw, err := a.Config.ToRawKubeConfigLoader().RawConfig()
	return err == nil && len(raw.Clusters) == 0 && os.Getenv("KUBERNETES_SERVICE_HOST") == ""
}

// isAbsent reports whether an object does not exist.
func isAbsent(err error) bool {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	return ok && apierrors.IsNotFound(err) && status.Status().Details != nil && status.Status().Details.Name != ""
}

// kindOfResource has the kinds whose objects the commands read by name.
var kindOfResource = map[string]string{"teamtalkmessages": "TeamTalkMessage", "teamtalkreceivers": "TeamTalkReceiver"}

// explainAbsent says what does not exist, and where.
func (a *Access) explainAbsent(status *apierrors.StatusError) string {
	name, resource := status.Status().Details.Name, status.Status().Details.Kind
	namespace, err := a.Namespace()
	switch {
	case resource == "namespaces":
		return fmt.Sprintf("%s has no namespace %q: correct -n, or create it", a.clusterName(), name)
	case kindOfResource[resource] == "" || err != nil:
		return status.Error()
	}
	return a.absent(resource, types.NamespacedName{Namespace: namespace, Name: name}).Error()
}

// absent is the error about objects of a resource that do not exist. It names those of the first one's namespace.
func (a *Access) absent(resource string, keys ...types.NamespacedName) error {
	var names []string
	for _, key := range keys {
		if key.Namespace == keys[0].Namespace {
			names = append(names, fmt.Sprintf("%q", key.Name))
		}
	}
	return Errorf(CodeError, "namespace %q of %s has no %s %s: correct the name or -n; \"%s\" lists all",
		keys[0].Namespace, a.clusterName(), kindOfResource[resource], strings.Join(names, ", "),
		a.Advise("", "kubectl get "+resource+" -A"))
}
